"""Tell whether a new version is better than the champion: by more than chance, and with no guardrail broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.spec import PromotionRules
from training.evaluation.metrics import Picks
from training.evaluation.paired_intervals import Interval, interval, ratio

Outcome: TypeAlias = Literal["better", "not better", "cannot be told"]

BETTER: Final = "better"
NOT_BETTER: Final = "not better"
UNTOLD: Final = "cannot be told"

TAIL = 0.95
"""Quantile of the cost of the champion's successes above which a request counts as one of the tail. Failures have a
guardrail of their own: with them a champion that fails often would have no tail at all."""

MOST_TIMES = 100.0
"""More than so many times the decisions are not asked for: the two are as good as equal."""


class Guard(NamedTuple):
    """What a guardrail says: an outcome in words, and about how many more decisions would tell, as in `Verdict`."""

    outcome: Outcome
    words: str
    more: int | None = None


class Asked(NamedTuple):
    """The requests that two policies decided: (n,) clients and slices, and the seed of the resampling."""

    client: NDArray[np.integer]
    slice: NDArray[np.integer]
    seed: int = 0


class Verdict(NamedTuple):
    """Outcome of a comparison.

    Attributes
    ----------
    outcome
        One of `BETTER`, `NOT_BETTER` and `UNTOLD`.
    reason
        The figures in words.
    more
        About how many more decisions would tell, where it cannot be told and some number would; else None.
    """

    outcome: Outcome
    reason: str
    more: int | None = None


def relative_cost(asked: Asked, new: Picks, old: Picks, confidence: float) -> Interval:
    """Return by which share the mean cost of one policy is above another's on the same requests; negative is better."""
    return relative(asked, new.cost.astype(np.float64), old.cost.astype(np.float64), confidence)


def relative(asked: Asked, new: NDArray[np.float64], old: NDArray[np.float64], confidence: float) -> Interval:
    """Return by which share the sum of (n,) numbers is above that of others, with an interval.

    To first order a request moves the share by its difference less the share of its own (the delta method), so that
    resamples in which the others are all 0 have a figure too. Two sums of 0 are equal.
    """
    total = float(old.sum())
    if total == 0.0:
        share = 0.0 if float(new.sum()) == 0.0 else np.inf
        return Interval(share, share, share)
    share = float(new.sum()) / total - 1.0
    moved = (new - old - share * old) * (old.size / total)
    found = interval(
        np.stack([moved, np.ones(old.size)]), asked.client, asked.slice, ratio, confidence=confidence, seed=asked.seed
    )
    return Interval(share, share + found.low, share + found.high)


def judge(asked: Asked, new: Picks, old: Picks, rules: PromotionRules) -> Verdict:
    """Compare what a new version and the champion picked for the same requests.

    The new version is better if the whole interval of its mean cost lies more than the margin below the champion's and
    both guardrails hold. It is not better if the whole interval lies above that, or if a guardrail is broken by more
    than chance. Else it cannot be told.
    """
    cost = relative_cost(asked, new, old, rules.confidence)
    words = f"mean cost {percent(cost)} against the champion"
    threshold = tail_threshold(old.cost, old.ok)
    shares = (
        ("failures", ~new.ok, ~old.ok, rules.failures),
        (tail_name(threshold), new.cost > threshold, old.cost > threshold, rules.tail),
    )
    guards = [_paired_guard(asked, share, rules.confidence) for share in shares]
    return combined(cost, words, guards, rules.margin, len(asked.client))


def tail_threshold(
    cost: NDArray[np.floating], ok: NDArray[np.bool_], weight: NDArray[np.floating] | None = None
) -> float:
    """Return the cost above which a request counts as one of the tail; see `TAIL`. Without a success, of all."""
    weight = np.ones(cost.size) if weight is None else weight
    some = ok & (weight > 0.0)
    some = some if some.any() else np.ones_like(ok)
    return float(np.quantile(cost[some], TAIL, weights=weight[some], method="inverted_cdf"))


def tail_name(threshold: float) -> str:
    """Return what the guardrail of the tail is called."""
    return f"requests that cost over {threshold:.4g}"


def combined(cost: Interval, words: str, guards: Sequence[Guard], margin: float, n_decisions: int) -> Verdict:
    """Return the verdict of a relative change, negative is better, and of guardrails with their words."""
    words = "; ".join([words, *(guard.words for guard in guards if guard.words)])
    if any(guard.outcome == NOT_BETTER for guard in guards) or cost.low >= -margin:
        return Verdict(NOT_BETTER, words)
    open_ = [guard.more for guard in guards if guard.outcome == UNTOLD]
    if cost.high < -margin:
        return untold(words, open_) if open_ else Verdict(BETTER, words)
    if not np.isfinite(cost.half):
        return Verdict(UNTOLD, f"{words}; more slices would tell")
    return untold(words, [needed(cost, -margin, n_decisions), *open_])


def untold(words: str, more: Sequence[int | None]) -> Verdict:
    """Return that it cannot be told, with the decisions that would tell all of what is open."""
    most = None if None in more else max(n for n in more if n is not None)
    said = f"{MOST_TIMES:.0f} times as many decisions would not tell"
    return Verdict(UNTOLD, f"{words}; {said if most is None else f'about {most:,} more decisions would tell'}", most)


def needed(found: Interval, bound: float, n_decisions: int) -> int | None:
    """Return about how many more decisions would take an interval off a bound; None where no number in reason would.

    An interval narrows with the root of the decisions, if they come from more slices like these.
    """
    gap = abs(found.value - bound)
    if not np.isfinite(found.half) or found.half > gap * np.sqrt(MOST_TIMES):
        return None
    return max(1, round(n_decisions * ((found.half / gap) ** 2 - 1.0)))


def percent(found: Interval) -> str:
    """Return a relative change with its interval in words, such as ``-3.1 % (-4.0 to -2.2 %)``."""
    if np.isinf(found.value):
        return "above 0"
    if not np.isfinite(found.half):
        return f"{100.0 * found.value:+.1f} % (of one slice, so without an interval)"
    return f"{100.0 * found.value:+.1f} % ({100.0 * found.low:+.1f} to {100.0 * found.high:+.1f} %)"


def percent_range(found: Interval) -> str:
    """Return the interval of a relative change in words, such as ``4 to 9 %``."""
    low, high = (f"{x:.2g}" if x < 10.0 else f"{x:.0f}" for x in (100.0 * found.low, 100.0 * found.high))  # noqa: PLR2004
    return f"{low} to {high} %"


def guard(name: str, found: Interval, shares: tuple[float, float], tolerance: float, n_decisions: int) -> Guard:
    """Judge a share that must not rise: broken by more than chance, above its tolerance maybe by chance, or held.

    Parameters
    ----------
    found
        By how much the new version's share is above the champion's.
    shares
        The new version's share and the champion's, for the words.
    """
    words = f"{name}: {100.0 * shares[0]:.2f} % against {100.0 * shares[1]:.2f} %"
    if found.low > 0.0:
        return Guard(NOT_BETTER, f"{words}, worse by more than chance")
    if found.value > tolerance:
        more = needed(found, 0.0, n_decisions)
        return Guard(UNTOLD, f"{words}, worse by more than {100.0 * tolerance:g} %, maybe by chance", more)
    return Guard(BETTER, words)


def _paired_guard(
    asked: Asked, share: tuple[str, NDArray[np.bool_], NDArray[np.bool_], float], confidence: float
) -> Guard:
    name, new, old, tolerance = share
    columns = np.stack([new.astype(np.float64) - old, np.ones(new.size)])
    found = interval(columns, asked.client, asked.slice, ratio, confidence=confidence, seed=asked.seed)
    return guard(name, found, (float(new.mean()), float(old.mean())), tolerance, new.size)
