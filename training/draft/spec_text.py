"""A draft as the text of a spec, with a comment on what was found and decided."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import Table

from scheduler.spec import parse_spec
from training.draft.draft import Draft
from training.draft.names import Names, plain
from training.draft.sections import Sections
from training.draft.times import duration_text

_WIDTH = 110


def spec_text(made: Draft, name: str) -> str:
    """Return the text of a drafted spec.

    Raises
    ------
    SpecError
        If ``name`` is none of a spec.
    """
    names = Names(made)
    sections = Sections(made, names)
    document = tomlkit.document()
    _say(
        document, f"Drafted from {made.data}: {made.n_rows:,} rows, {made.n_clients:,} clients, {made.n_nodes:,} nodes."
    )
    _say(document, "Every choice is a guess by names and values. Read it, correct it, and train with it.")
    document.add("name", tomlkit.item(name))
    document.add("telemetry", _telemetry(made, names))
    if names.raw:
        raw = _table("How raw columns become those of telemetry.", {n: plain(c) for n, c in names.raw.items()})
        document.add("raw", raw)
    document.add("outcomes", _outcomes(made, names))
    document.add("cost", _cost(made, names, sections))
    for side, who in (("request", "known of a request and its client"), ("node", "known of a node")):
        columns = sections.columns(side)
        if columns:
            document.add(side, _table(f"What is {who} before the decision.", columns))
    _left_out(document, made)
    document.add("history", _history(made, sections))
    if sections.latent:
        latent = tomlkit.table(is_super_table=True)
        for key, model in sections.latent_factors().items():
            latent.add(key, _table("", model))
        document.add("latent_factors", latent)
    if made.jumps is not None:
        kinds = tomlkit.table(is_super_table=True)
        about = (
            f"Values hold for {duration_text(made.jumps.length)} or so, and then change for all of a client's nodes."
        )
        kinds.add("client", _table(about, sections.change_points()["client"]))
        document.add("change_points", kinds)
    document.add("features", _features(sections))
    document.add("heads", _heads(sections))
    about = f"A failure weighs what it costs, {made.cost.unit or 'a unit of the cost'} weighs 1. The weight of the"
    about += " logarithm makes of two nodes of equal mean the one better that is mostly better."
    document.add("utility", _table(about, {"heads": sections.utility()}))
    document.add("policy", _table(*_policy(made, sections)))
    document.add("training", _table(_on_training(made), sections.training()))
    evaluated = {"start": made.slices.start, "requests": sections.requests()}
    document.add("evaluation", _table("The last slices judge; training does not look at them.", evaluated))
    text = tomlkit.dumps(document)
    parse_spec(text)
    return text


def _say(to: Any, text: str) -> None:  # noqa: ANN401 - a document or a table
    for line in textwrap.wrap(text, _WIDTH):
        to.add(tomlkit.comment(line))


def _table(comment: str, values: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    if comment:
        _say(table, comment)
    for key, value in values.items():
        table.add(key, _item(value))
    return table


def _item(value: Any) -> Any:  # noqa: ANN401 - any value of a spec
    if isinstance(value, Mapping):
        inline = tomlkit.inline_table()
        for key, one in value.items():
            inline.append(key, _item(one))
        return inline
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - no exponent to write
        return tomlkit.item(float(value) if value < 0 else int(value))
    return tomlkit.item(value)


def _telemetry(made: Draft, names: Names) -> Table:
    slices = made.slices
    table = tomlkit.table()
    if made.roles.client is None:
        _say(table, "No column says who asks: all requests are those of one client.")
    table.add("client", names.client)
    table.add("node", names.node)
    if names.time is not None:
        table.add("time", names.time)
    lasts = f"A slice lasts {duration_text(slices.seconds)}, {slices.why}."
    if made.roles.slice is None:
        _say(table, f"{lasts} They follow from the times.")
        table.add("slice", _item({"seconds": slices.seconds, "origin": slices.origin}))
    else:
        _say(table, lasts)
        table.add("slice", _item({"column": made.roles.slice, "seconds": slices.seconds}))
    if names.ok is not None:
        _say(table, f"Success: {made.success.why}; {made.costs.failed:.2%} of the rows failed.")
        table.add("ok", names.ok)
    else:
        _say(table, f"Success: {made.success.why}.")
    arrival = [names.cost] if made.cost.is_time else []
    arrival += [names.failure] if names.failure is not None else []
    if arrival:
        table.add("arrival", _item(arrival))
    else:
        _say(table, "arrival: no duration was measured, so outcomes are taken to be known at once.")
    return table


def _outcomes(made: Draft, names: Names) -> Table:
    found: dict[str, dict[str, Any]] = {names.cost: {"unit": made.cost.unit, "min": 0}}
    if names.failure is not None:
        found[names.failure] = {"unit": "ms", "min": 0}
    for name, one in zip(names.further, made.further, strict=True):
        found[name] = {"unit": one.unit, "min": 0}
    return _table("", {name: {k: v for k, v in outcome.items() if v != ""} for name, outcome in found.items()})


def _cost(made: Draft, names: Names, sections: Sections) -> Table:
    comment = f"What counts: {made.cost.why}. The median success costs {made.cost_text(made.costs.median)}."
    if sections.fails:
        asked = "as was asked for" if made.options.failure_cost is not None else "more than 99 in 100 successes"
        comment += f" A failure costs {sections.failure_cost():g}, {asked}: say what it is worth avoiding."
    cost: dict[str, Any] = {"success": names.cost, "failure": sections.failure_cost()}
    if names.failure is not None:
        cost["failure_column"] = names.failure
    return _table(comment, cost)


def _left_out(document: tomlkit.TOMLDocument, made: Draft) -> None:
    if made.left_out:
        document.add(tomlkit.nl())
        _say(document, "Not used; what is known before the decision belongs under [request] or [node]:")
        for name, why in made.left_out.items():
            document.add(tomlkit.comment(f"  {name}: {why}"))
        document.add(tomlkit.nl())


def _history(made: Draft, sections: Sections) -> Table:
    memory = made.change.memory
    if memory is None:
        about = "No half of a node's level is lost within the data: it changes slowly."
    else:
        about = f"Of a node's level half is lost after {duration_text(memory)}."
    table = _table(
        f"{about} The shortest half-life follows that, the longest is two fifths of the data.",
        {"values": sections.values(), "half_lives": sections.lives},
    )
    keys = {name: key.parts for name, key in sections.keys().items()}
    table.add("keys", _table("From fine, which say most but know little, to coarse.", keys))
    return table


def _features(sections: Sections) -> Table:
    table = tomlkit.table()
    for number, (comment, features) in enumerate(sections.features().items()):
        if features:
            if number:
                table.add(tomlkit.nl())
            _say(table, comment)
        for name, feature in features.items():
            table.add(name, _item(feature))
    return table


def _heads(sections: Sections) -> Table:
    heads = tomlkit.table(is_super_table=True)
    for name, head in sections.heads().items():
        about = (
            "What is usual rather than what is rare: a failure counts as a slow answer." if name == "typical" else ""
        )
        heads.add(name, _table(about, {key: value for key, value in head.items() if value != ""}))
    return heads


def _policy(made: Draft, sections: Sections) -> tuple[str, dict[str, Any]]:
    about = "What is hardly known is worth a look: a candidate without outcomes gets a quarter of the median cost."
    policy: dict[str, Any] = {"explore": "ucb", "uncertainty_scale": float(f"{0.25 * made.costs.median:.2g}")}
    if sections.alone:
        policy["count_key"] = "node"
    return about, policy


def _on_training(made: Draft) -> str:
    nodes = f"{made.slices.nodes:g} node{'s' if made.slices.nodes != 1 else ''}"
    training = Sections(made, Names(made)).training()
    if "reveal" not in training:
        return (
            f"A client has {nodes} measured in a slice: too few to rehearse serving with, so all outcomes are revealed."
        )
    more = ", and a first model rehearses" if "rehearse" in training else "; there are too few slices to rehearse with"
    return (
        f"A client has {nodes} measured in a slice, and serving sees only the one it picks: so a share of the outcomes "
        f"is revealed{more}. Trees see few features each, as many tell the same."
    )
