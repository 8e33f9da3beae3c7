"""``fogline why``, ``why-not``, ``what-if`` and ``explain-model``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.errors import InputError
from training.cli.explain_tables import dependence_tables, importance_table, parts_table, rules_table, utilities_table
from training.cli.options import Json, Registry, Seed, Wide, load_model
from training.cli.output import made_by, made_by_in_words, print_json, progress_bar
from training.cli.places import registry_of
from training.cli.table import print_sentence, print_table
from training.specs.builtin import find_spec

if TYPE_CHECKING:
    from scheduler.audit.values import Plain
    from scheduler.columns.ids import Id
    from scheduler.decisions.record.values import FullRecord
    from scheduler.model.model import Model

DecisionId = Annotated[int, typer.Argument(metavar="ID", help="The decision.")]

Records = Annotated[
    Path, typer.Option("--records", "-r", metavar="DIR", help="Folder of records that Scheduler.record writes.")
]

Deciding = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="The version that decided: an artifact's folder, models:/NAME@ALIAS or models:/NAME/VERSION.",
    ),
]


def why(
    decision: DecisionId,
    records: Records,
    model: Deciding,
    registry: Registry = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Explain a decision: the chosen node against the one that would have served without it."""
    from scheduler.audit.explain import explain

    record, deciding = _recorded(records, decision, model, registry)
    found = explain(record, deciding)
    if json:
        print_json(found.to_json())
        return
    for sentence in found.sentences:
        print_sentence(sentence)
    if found.parts:
        print_table(parts_table(found, deciding.spec), wide=wide)


def why_not(
    decision: DecisionId,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node, by its id.")],
    records: Records,
    model: Deciding,
    registry: Registry = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Say at which stage a node fell out, or by how much it lost and through which features."""
    from scheduler.audit.why_not import why_not as find

    record, deciding = _recorded(records, decision, model, registry)
    found = find(record, deciding, _node(record, node))
    if json:
        print_json(found.to_json())
        return
    for sentence in found.sentences:
        print_sentence(sentence)
    if found.against is not None and found.against.parts:
        print_table(parts_table(found.against, deciding.spec), wide=wide)


def what_if(
    decision: DecisionId,
    records: Records,
    model: Deciding,
    other: Annotated[
        str | None, typer.Option("--other", metavar="MODEL", help="Decide under this version instead.")
    ] = None,
    spec: Annotated[
        str | None, typer.Option("--spec", "-s", metavar="SPEC", help="Decide under the policy of this spec.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="CHANGE",
            help="NODE:FEATURE=VALUE gives a candidate another value; no VALUE is missing. May be given several times.",
        ),
    ] = None,
    registry: Registry = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Decide the same request again under another version, another policy or with other values of nodes."""
    from scheduler.audit.what_if import what_if as ask

    record, deciding = _recorded(records, decision, model, registry)
    found = ask(
        record,
        deciding,
        other=None if other is None else load_model(other, registry),
        spec=None if spec is None else find_spec(spec),
        changes=_changes(record, change or []),
    )
    if json:
        print_json(found.to_json())
        return
    for sentence in found.sentences:
        print_sentence(sentence)
    print_table(utilities_table(found), wide=wide)


def explain_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Artifact folder, models:/NAME@ALIAS or models:/NAME/VERSION.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Telemetry to look at it on; may be given several times. Default: the artifact's golden rows.",
        ),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec", "-s", metavar="SPEC", help="The spec that reads the telemetry. Default: the model's own."
        ),
    ] = None,
    registry: Registry = None,
    seed: Seed = 0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Show what a model looks at, how it judges by that, and the few rules that come nearest to it."""
    from training.explanation.model_rules import model_rules

    with progress_bar(json) as progress:
        found = model_rules(
            model,
            registry_of(registry),
            data=data or (),
            spec=None if spec is None else find_spec(spec),
            seed=seed,
            progress=progress,
        )
    if json:
        print_json({**found.to_json(), **made_by(seed)})
        return
    print_sentence(f"{found.model}, on {found.rows:,} {found.source}")
    if found.importance:
        print_table(importance_table(found), wide=wide)
    for table in dependence_tables(found):
        print_table(table, wide=wide)
    if found.surrogate is not None:
        print_table(rules_table(found), wide=wide)
        agreement = found.surrogate
        print_sentence(
            f"These rules explain {agreement.r2:.0%} of the variance of the model's utility and order "
            f"{agreement.order:.0%} of pairs as it does, on {agreement.rows:,} rows that did not make them."
        )
    else:
        print_sentence("Too few rows for rules: name telemetry with --data.")
    print_sentence(made_by_in_words(seed))


def _recorded(folder: Path, decision: int, source: str, registry: str | None) -> tuple[FullRecord, Model]:
    """Return the record of a decision, and the model under the policy that was in force."""
    from scheduler.audit.find import find_full, model_of

    record, arm = find_full(folder, decision)
    return record, model_of(arm, [load_model(source, registry)])


def _node(record: FullRecord, text: str) -> Id:
    """Return the id of a candidate from its text; a number that is none of them is an integer id."""
    for node in record.nodes:
        if node is not None and str(node) == text:
            return node
    try:
        return int(text)
    except ValueError:
        return text


def _changes(record: FullRecord, given: list[str]) -> dict[Id, dict[str, Plain]]:
    """Read ``NODE:FEATURE=VALUE``; a node's id may have a colon, a feature's name has none."""
    changes: dict[Id, dict[str, Plain]] = {}
    for text in given:
        left, is_set, value = text.partition("=")
        node, has_feature, feature = left.rpartition(":")
        if not is_set or not has_feature:
            message = f"--set: expected NODE:FEATURE=VALUE, found {text!r}"
            raise InputError(message)
        changes.setdefault(_node(record, node), {})[feature] = _value(value)
    return changes


def _value(text: str) -> Plain:
    """Return a value as JSON has it, a text otherwise; nothing is missing."""
    import msgspec

    if not text:
        return None
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float | str) else text
