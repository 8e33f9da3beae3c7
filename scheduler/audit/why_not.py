"""Why a node does not serve: the stage at which it fell out, or by how much it lost and through which features."""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.audit.explain import as_made, compare, reasons_for
from scheduler.audit.recorded import alternatives_of, find_candidate, n_candidates, node_of, slate_of
from scheduler.audit.redecide import Redecided
from scheduler.audit.sentences import say
from scheduler.audit.values import WhyNot
from scheduler.audit.words import number
from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import Id
from scheduler.decisions.arrays import DROPS
from scheduler.decisions.record.arrays import ADMITTED
from scheduler.decisions.record.values import FullRecord
from scheduler.model.model import Model

STAGES: Final = (
    "not_known",
    "not_found",
    "not_a_candidate",
    "silent",
    "quarantined",
    "full",
    "blocked",
    "lacks_utility",
    "spread",
    "not_covering",
    "drawn_over",
    "lost",
    "alternative",
    "serves",
)
"""Where a node can fall out, in the order of a decision; each is a sentence of that name. ``not_a_candidate`` stands
for the two before it where it is not known which."""


def why_not(record: FullRecord, model: Model, node: Id, *, known: bool | None = None) -> WhyNot:
    """Say why a node does not serve a recorded request.

    Parameters
    ----------
    record, model
        As for `explain`.
    node
        Its id.
    known
        Whether the fleet knew the node, where the caller knows that.

    Returns
    -------
    WhyNot

    Raises
    ------
    InputError
        If the model is not the one that made the record.
    """
    again, c = as_made(record, model), find_candidate(record, node)
    n = n_candidates(record)
    if c is None:
        stage = "not_a_candidate" if known is None else "not_found" if known else "not_known"
        return WhyNot(node, stage, (say(stage, node=node, n=n),), None)
    if record.verdict[c] != ADMITTED:
        stage = DROPS[int(record.verdict[c]) - 1]
        return WhyNot(node, stage, (say(stage, node=node),), None)
    return _of_candidate(record, model, again, c)


def _of_candidate(record: FullRecord, model: Model, again: Redecided, c: int) -> WhyNot:
    """Say why a candidate that no filter dropped does not serve."""
    node, slate = node_of(record, c), slate_of(record, model)
    if c in slate:
        return WhyNot(node, "serves", (say("serves", node=node, place=slate.index(c) + 1),), None)
    if not np.isfinite(record.utility[c]):
        return WhyNot(node, "lacks_utility", (say("lacks_utility", node=node),), None)
    crowded = _crowded(record, model, slate, c)
    if crowded is not None:
        return WhyNot(node, "spread", (say("spread", node=node, what=crowded),), None)
    if not again.feasible[np.flatnonzero(again.candidates == c)[0]]:
        text = say("not_covering", node=node, demand=number(record.demand), free=number(float(record.free[c])))
        return WhyNot(node, "not_covering", (text,), None)
    return _beaten(record, model, slate, c)


def _beaten(record: FullRecord, model: Model, slate: list[int], c: int) -> WhyNot:
    """Say why a candidate that could have begun a slate did not."""
    node, chosen, spare = node_of(record, c), node_of(record, slate[0]), alternatives_of(record, model)
    against = compare(record, model, slate[0], c) if np.isfinite(record.utility[slate[0]]) else None
    if c in spare:
        return WhyNot(node, "alternative", (say("alternative", node=node, place=spare.index(c) + 1),), against)
    if against is None or not record.utility[c] < record.utility[slate[0]]:
        return WhyNot(node, "drawn_over", (say("drawn_over", node=node, chosen=chosen),), against)
    reasons = ", ".join(reasons_for(model, against.parts, against.heads, rising=True, other_first=True))
    gap = number(float(record.utility[slate[0]] - record.utility[c]))
    return WhyNot(
        node,
        "lost",
        (
            say("lost", node=node, chosen=chosen, gap=gap, reasons=reasons or say("no_difference")),
            *against.sentences[1:],
        ),
        against,
    )


def _crowded(record: FullRecord, model: Model, slate: list[int], c: int) -> str | None:
    """Return the node column whose limit kept a candidate out although it is better than one that follows, or None."""
    if not any(record.utility[c] > record.utility[follower] for follower in slate[1:]):
        return None
    columns = model.features.node.key_columns
    for name, most in model.spec.policy.spread.items():
        key = record.node_keys[c, columns[name]]
        if key != np.uint64(MISSING_KEY) and np.sum(record.node_keys[slate, columns[name]] == key) >= most:
            return name
    return None
