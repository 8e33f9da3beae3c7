"""Why a decision is what it is: the chosen node against the one that would have served without it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scheduler.audit.contributions import Contributions, contributions
from scheduler.audit.flips import flips, head_flips
from scheduler.audit.recorded import (
    candidates_left,
    check_fits,
    n_candidates,
    node_of,
    plain_value,
    slate_of,
    whole_row,
)
from scheduler.audit.redecide import Redecided, decide_again
from scheduler.audit.sentences import say
from scheduler.audit.values import Explanation, Flip, HeadPart, Part, Plain
from scheduler.audit.words import counts_of, feature_value, head_value, number, percent, same, signed, with_unit
from scheduler.decisions.arrays import DROPS, EXPLORED, ORIGIN_ALL_DROPPED, ORIGIN_NO_CANDIDATES, REASONS
from scheduler.decisions.record.values import FullRecord
from scheduler.errors import InputError
from scheduler.model.model import Model
from scheduler.policy.compile import compile_policy

LOAD, PRICE = "utility.load", "utility.price"
"""Names of the parts of the utility that no model predicts; no feature has a name with a dot."""

UTILITY_TOLERANCE = 1e-9
"""Of a utility decided again, relative to 1 + its size: the same kernels give the same bits, and an artifact of the
same trees may have been written anew."""

SHOWN = 5
"""Features, and single changes, that sentences name; the others are in the values alone."""


def explain(record: FullRecord, model: Model) -> Explanation:
    """Explain a recorded decision.

    The chosen node is the first of the slate. It is compared with the best of the candidates outside the slate that
    could have begun one; after exploration with the best of all.

    Parameters
    ----------
    record
        A full record.
    model
        The model that made it, under its policy; see `scheduler.policy.compile.with_policy`.

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        If the model is not the one that made the record.
    """
    again, slate = as_made(record, model), slate_of(record, model)
    if not slate:
        return _whole(record, model, [_origin(record, model)], None, None)
    chosen, other = slate[0], rival(record, slate, again)
    if other is None:
        return _whole(record, model, [_alone(record, chosen)], chosen, None)
    if not np.isfinite(record.utility[[chosen, other]]).all():
        return _whole(record, model, [_without_utility(record, chosen, other)], chosen, other)
    return compare(record, model, chosen, other)


def as_made(record: FullRecord, model: Model) -> Redecided:
    """Decide a recorded request once more under the model and the policy that made it.

    Raises
    ------
    InputError
        If the model, or its policy, did not make the record.
    """
    check_fits(record, model)
    again = decide_again(record, model)
    found, expected = again.utility, record.utility[again.candidates]
    # Differences of infinities are NaN, and NaN is not above the tolerance.
    with np.errstate(invalid="ignore"):
        is_wrong = np.abs(found - expected) > UTILITY_TOLERANCE * (1.0 + np.abs(expected))
    if (is_wrong | (np.isfinite(found) != np.isfinite(expected))).any():
        message = (
            f"policy: expected the one under which decision {record.id} was made, found that of {model.name}-"
            f"{model.version}, under which its utilities differ from the recorded ones"
        )
        raise InputError(message)
    return again


def rival(record: FullRecord, slate: list[int], again: Redecided) -> int | None:
    """Return the candidate that the chosen one is compared with, None if there is none."""
    passed = slate[:1] if record.reason == EXPLORED else slate
    others = again.candidates[again.feasible]
    others = others[~np.isin(others, passed)]
    return int(others[np.argmax(record.utility[others])]) if others.size else None


def compare(record: FullRecord, model: Model, chosen: int, other: int) -> Explanation:
    """Explain why one candidate has a higher utility than another; both have one."""
    policy = compile_policy(model)
    found = contributions(record, model, policy, chosen, other)
    parts = tuple(_parts(record, model, found, chosen, other))
    gap = float(record.utility[chosen] - record.utility[other])
    changes = flips(record, model, policy, chosen, other) if gap > 0.0 else ()
    limits = list(head_flips(record, model, policy, chosen, other)) if gap > 0.0 else [None] * len(model.heads)
    heads = tuple(
        HeadPart(
            head,
            model.spec.heads[head].unit,
            float(record.values[chosen, h]),
            float(record.values[other, h]),
            float(found.heads[h]),
            limits[h],
        )
        for h, head in enumerate(model.heads)
    )
    first = _headline(record, model, parts, heads, gap, (chosen, other))
    sentences = [
        first,
        *_difference(record, model, parts, chosen, other),
        *_flips(record, model, changes, heads, other),
    ]
    whole = _whole(record, model, sentences, chosen, other)
    return whole._replace(heads=heads, parts=parts, flips=changes)


def _whole(
    record: FullRecord, model: Model, sentences: list[str], chosen: int | None, other: int | None
) -> Explanation:
    """Return an explanation with what is the same for all: drops after the first sentence, slate and draw."""
    dropped = {name: int(n) for name, n in zip(DROPS, record.dropped, strict=True) if n}
    if dropped:
        sentences[0] = f"{sentences[0]}; {say('dropped', counts=counts_of(dropped))}"
    slate = tuple(node_of(record, c) for c in slate_of(record, model))
    return Explanation(
        decision=record.id,
        time=record.time,
        model=f"{model.name}-{model.version}",
        reason=REASONS[record.reason],
        propensity=float(record.propensity),
        sentences=(sentences[0], *_slate_and_draw(record, slate), *sentences[1:]),
        slate=slate,
        chosen=None if chosen is None else node_of(record, chosen),
        other=None if other is None else node_of(record, other),
        utility=(_finite(record, chosen), _finite(record, other)),
        heads=(),
        parts=(),
        flips=(),
        candidates=n_candidates(record),
        dropped=dropped,
    )


def _slate_and_draw(record: FullRecord, slate: tuple[object, ...]) -> Iterator[str]:
    if len(slate) > 1:
        yield say("slate", n=len(slate), demand=number(record.demand), nodes=", ".join(map(str, slate)))
    if record.reason == EXPLORED:
        left = record.utility[candidates_left(record)]
        gap = float(left.max() - record.utility[record.position[0]])
        yield say("draw", probability=number(record.propensity), gap=number(gap))


def _finite(record: FullRecord, c: int | None) -> float | None:
    return None if c is None or not np.isfinite(record.utility[c]) else float(record.utility[c])


def _origin(record: FullRecord, model: Model) -> str:
    n = n_candidates(record)
    if record.reason == ORIGIN_NO_CANDIDATES:
        return say("origin_no_candidates")
    if record.reason == ORIGIN_ALL_DROPPED:
        return say("origin_all_dropped", n=n)
    left, places = candidates_left(record).size, model.spec.policy.max_nodes
    return say("origin_no_uplink", places=places, n=left, demand=number(record.demand))


def _alone(record: FullRecord, chosen: int) -> str:
    n = candidates_left(record).size
    if n == 1:
        return say("one_candidate", chosen=node_of(record, chosen))
    return say("no_rival", chosen=node_of(record, chosen), n=n - 1)


def _without_utility(record: FullRecord, chosen: int, other: int) -> str:
    if np.isfinite(record.utility[chosen]):
        return say("no_rival_utility", chosen=node_of(record, chosen), other=node_of(record, other))
    return say("no_utility", chosen=node_of(record, chosen))


def _parts(record: FullRecord, model: Model, found: Contributions, chosen: int, other: int) -> Iterator[Part]:
    """Yield the parts of the difference, the largest first."""
    x, z = (whole_row(record, model, c) for c in (chosen, other))
    parts = [
        Part(name, plain_value(model, f, x[f]), plain_value(model, f, z[f]), float(found.features[f]))
        for f, name in enumerate(model.features.names)
        if differ(x[f], z[f])
    ]
    if found.load != 0.0:
        shares = record.load / np.maximum(record.capacity, 1.0)
        parts.append(Part(LOAD, float(shares[chosen]), float(shares[other]), found.load))
    if found.price != 0.0:
        parts.append(Part(PRICE, float(record.price[chosen]), float(record.price[other]), found.price))
    yield from sorted(parts, key=lambda part: -abs(part.share))


def differ(a: np.float32, b: np.float32) -> bool:
    """Return whether two values of a feature differ; two missing ones do not."""
    return not (a == b or (np.isnan(a) and np.isnan(b)))


def _headline(
    record: FullRecord,
    model: Model,
    parts: tuple[Part, ...],
    heads: tuple[HeadPart, ...],
    gap: float,
    pair: tuple[int, int],
) -> str:
    chosen, other = (node_of(record, c) for c in pair)
    if gap == 0.0:
        return say("equal", chosen=chosen, other=other)
    reasons = ", ".join(reasons_for(model, parts, heads, rising=gap > 0.0)) or say("no_difference")
    return say("best" if gap > 0.0 else "explored", chosen=chosen, other=other, reasons=reasons)


def reasons_for(
    model: Model, parts: tuple[Part, ...], heads: tuple[HeadPart, ...], *, rising: bool, other_first: bool = False
) -> list[str]:
    """Return in words the feature and the head of the largest parts above 0, or below 0 if not ``rising``.

    The chosen node's values come first, or those of the other one.
    """
    sign = 1.0 if rising else -1.0
    reasons = []
    for part in [part for part in parts if sign * part.share > 0.0][:1]:
        what = same(model.spec, part.feature)
        values = [part_value(model, part.feature, x) for x in (part.chosen, part.other)]
        if what is not None and part.chosen is True and not other_first:
            reasons.append(say("same", what=what))
        else:
            reasons.append(_against(part.feature, values, other_first=other_first))
    for head in sorted(heads, key=lambda one: -sign * one.share)[:1]:
        if sign * head.share > 0.0:
            values = [head_value(model.spec, head.head, x) for x in (head.chosen, head.other)]
            reasons.append(_against(head.head, values, other_first=other_first))
    return reasons


def _against(what: str, values: list[str], *, other_first: bool) -> str:
    value, than = reversed(values) if other_first else values
    return say("against", what=what, value=value, than=than)


def part_value(model: Model, feature: str, value: Plain) -> str:
    """Return a value of a part in words; load is a share of the uplink."""
    if isinstance(value, float) and feature == LOAD:
        return percent(value)
    if isinstance(value, float) and feature == PRICE and model.spec.utility.price is not None:
        return with_unit(value, model.spec.node[model.spec.utility.price].unit)
    return feature_value(model.spec, feature, value)


def _difference(record: FullRecord, model: Model, parts: tuple[Part, ...], chosen: int, other: int) -> Iterator[str]:
    a, b = float(record.utility[chosen]), float(record.utility[other])
    yield say("utilities", value=number(a), than=number(b), gap=number(a - b))
    for part in [part for part in parts[:SHOWN] if part.share != 0.0]:
        value, than = (part_value(model, part.feature, x) for x in (part.chosen, part.other))
        yield say("part", share=signed(part.share), feature=part.feature, value=value, than=than)
    rest = parts[SHOWN:]
    if rest:
        yield say("rest", share=signed(sum(part.share for part in rest)), n=len(rest))


def _flips(
    record: FullRecord, model: Model, changes: tuple[Flip, ...], heads: tuple[HeadPart, ...], other: int
) -> Iterator[str]:
    node, spec = node_of(record, other), model.spec
    if not record.utility[other] < record.utility[record.position[0]]:
        return
    if not changes:
        yield say("no_flip", other=node)
    for flip in changes[:SHOWN]:
        now, value = (feature_value(spec, flip.feature, x) for x in (flip.now, flip.value))
        yield say("flip", other=node, feature=flip.feature, condition=flip.condition, value=value, now=now)
    for head in heads:
        if head.flip is not None:
            now, value = (head_value(spec, head.head, x) for x in (head.other, head.flip))
            condition = "below" if head.flip < head.other else "above"
            yield say("flip_head", other=node, head=head.head, condition=condition, value=value, now=now)
