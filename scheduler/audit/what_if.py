"""What would have been decided under another version, another policy, or with other values of the nodes' features."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import numpy as np

from scheduler.audit.batches import one_recorded
from scheduler.audit.explain import as_made
from scheduler.audit.recorded import candidates_left, find_candidate, node_of
from scheduler.audit.redecide import Redecided, decide_again
from scheduler.audit.sentences import say
from scheduler.audit.values import Outcome, Plain, WhatIf
from scheduler.audit.words import head_value, names_of, number
from scheduler.columns.ids import Id
from scheduler.decisions.arrays import REASONS
from scheduler.decisions.record.arrays import ADMITTED
from scheduler.decisions.record.values import FullRecord
from scheduler.errors import InputError, UnknownNodeError, shown
from scheduler.features.arrays import REQUEST
from scheduler.model.model import Model
from scheduler.policy.compile import compile_policy, with_policy
from scheduler.policy.kernels.utility import profile
from scheduler.spec import NodeColumn, Spec

_NEAREST = 3
"""Names of features that an unknown one is answered with; models have a hundred."""


def what_if(
    record: FullRecord,
    model: Model,
    *,
    other: Model | None = None,
    spec: Spec | None = None,
    changes: Mapping[Id, Mapping[str, Plain]] | None = None,
) -> WhatIf:
    """Decide a recorded request again in another way, and say what changes.

    The candidates are those that were left, with the same draw and the same free uplink. Nodes that were dropped stay
    dropped: of them the record holds no features.

    Parameters
    ----------
    record, model
        As for `explain`.
    other
        Another version, of the same fingerprint; by default the same.
    spec
        Gives the policy, the utility and the rest that `with_policy` takes from it; of the same fingerprint.
    changes
        By node, values of its features by name: numbers, categories, or None for missing.

    Returns
    -------
    WhatIf

    Raises
    ------
    InputError
        If the model is not the one that made the record; if a fingerprint differs; if a node was no candidate that was
        left (`UnknownNodeError`), or a feature or its value is none of a node; if the policy needs what the record does
        not have, such as prices.
    """
    before = as_made(record, model)
    by = model if other is None else other
    if by.spec.fingerprint() != model.spec.fingerprint():
        expected, found = model.spec.fingerprint(), by.spec.fingerprint()
        message = f"other: expected the fingerprint of {model.name}-{model.version}, {expected}, found {found}"
        raise InputError(message)
    by = by if spec is None else with_policy(by, spec)
    check_known(record, model, by)
    after = decide_again(changed(record, by, changes or {}), by)
    first, second = outcome_of(record, model, before), outcome_of(record, by, after)
    sentences = tuple(_sentences(by, first, second, before, after))
    return WhatIf(record.id, first.slate != second.slate, sentences, first, second)


def check_known(record: FullRecord, model: Model, by: Model) -> None:
    """Raise `InputError` if another policy needs what the record does not have, because its own did not need it.

    Parameters
    ----------
    record, model
        The record, and the model with the policy that made it.
    by
        The model with the other policy.
    """
    left = candidates_left(record)
    columns = {
        "load": record.load,
        "prices": record.price,
        "counts of outcomes": record.n_outcomes,
        "counts of each node's outcomes": record.n_own_outcomes,
    }
    for name in _needs(record, by) - _needs(record, model):
        if left.size and np.isnan(columns[name][left]).all():
            message = (
                f"spec {by.spec.name}: expected a policy that needs what was recorded, found one that needs {name}, "
                f"which decision {record.id} was made without"
            )
            raise InputError(message)


def _needs(record: FullRecord, model: Model) -> set[str]:
    """Return what a model's policy reads of the candidates besides their scores."""
    policy = compile_policy(model)
    p = profile(policy, one_recorded(record).request, 0)
    needed = {
        "load": policy.load[p] != 0.0,
        "prices": policy.price >= 0 and policy.price_weight[p] != 0.0,
        "counts of outcomes": policy.count_key >= 0,
        "counts of each node's outcomes": policy.newcomer_key >= 0,
    }
    return {name for name, is_needed in needed.items() if is_needed}


def changed(record: FullRecord, model: Model, changes: Mapping[Id, Mapping[str, Plain]]) -> FullRecord:
    """Return a record with other values of some nodes' features."""
    program, names = model.features.program, list(model.features.names)
    x_node, x_pair = record.x_node.copy(), record.x_pair.copy()
    for node, values in changes.items():
        c = find_candidate(record, node)
        if c is None or record.verdict[c] != ADMITTED:
            message = f"changes: expected a candidate that no filter dropped, found {shown(node)}"
            raise UnknownNodeError(message)
        for name, value in values.items():
            if name not in names or model.features.owners[names.index(name)] == REQUEST:
                own = [n for n, owner in zip(names, model.features.owners, strict=True) if owner != REQUEST]
                near = ", ".join(difflib.get_close_matches(str(name), own, n=_NEAREST, cutoff=0.0))
                message = f"changes: expected a feature of the node or pair, found {shown(name)}; nearest are {near}"
                raise InputError(message)
            f = names.index(name)
            x_node[c, program.node == f] = x_pair[c, program.pair == f] = _feature(model, f, value)
    return record._replace(x_node=x_node, x_pair=x_pair)


def _feature(model: Model, f: int, value: Plain) -> np.float32:
    name = model.features.names[f]
    feature = model.spec.features[name]
    if value is None:
        return np.float32(np.nan)
    if f in model.features.categorical and isinstance(feature, NodeColumn):
        known = list(model.vocabulary[f"node.{feature.column}"])
        if value not in known:
            message = f"changes: expected a category of {name} that the model knows, found {shown(value)}"
            raise InputError(message)
        return np.float32(known.index(value))  # type: ignore[arg-type]
    if isinstance(value, str):
        message = f"changes: expected a number for {name}, found {shown(value)}"
        raise InputError(message)
    return np.float32(value)


def outcome_of(record: FullRecord, model: Model, again: Redecided) -> Outcome:
    """Return what a decision made once more came to."""
    out, places = again.out, model.spec.policy.max_nodes
    slate = tuple(node_of(record, int(c)) for c in out.position[0, :places] if c >= 0)
    utility: dict[Id | None, float | None] = {
        node_of(record, int(c)): float(u) if np.isfinite(u) else None
        for c, u in zip(again.candidates, again.utility, strict=True)
    }
    heads = dict(zip(model.heads, out.values[0, 0].tolist(), strict=True)) if slate else {}
    reason = REASONS[int(out.reason[0])]
    return Outcome(f"{model.name}-{model.version}", slate, reason, float(out.propensity[0]), utility, heads)


def _sentences(model: Model, before: Outcome, after: Outcome, first: Redecided, second: Redecided) -> Iterator[str]:
    if before.slate == after.slate:
        yield say("unchanged", nodes=names_of(after.slate))
    else:
        yield say("instead", after=names_of(after.slate), before=names_of(before.slate))
    for node in dict.fromkeys([*after.slate[:1], *before.slate[:1]]):
        a, b = before.utility.get(node), after.utility.get(node)
        if a is not None and b is not None and a != b:
            yield say("utility_changes", node=node, before=number(a), after=number(b))
        at = list(before.utility).index(node)
        for h, head in enumerate(model.heads):
            was, will = (head_value(model.spec, head, float(one.values[at, h])) for one in (first, second))
            if was != will:
                yield say("head_changes", node=node, head=head, before=was, after=will)
    if before.propensity != after.propensity:
        yield say("propensity_changes", before=number(before.propensity), after=number(after.propensity))
