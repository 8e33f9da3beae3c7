"""What off-policy evaluation takes: logged decisions as plain arrays, and what the target policy would have done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from training.evaluation.paired_intervals import Floats

SERVED_BY_ORIGIN = "no node was chosen"
"""Why a decision is left out for which the target policy, or the log, has no node."""


class LoggedCandidates(NamedTuple):
    """The candidates of all decisions one after the other, from which a model of the cost predicts.

    Attributes
    ----------
    begin
        (n + 1,) int64: the candidates of decision i are the rows from ``begin[i]`` and before ``begin[i + 1]``.
    chosen
        (n,) int64 row of the candidate that was logged.
    x
        (n_rows, n_features) float32 features, NaN where unknown.
    target
        (n_rows,) probability with which the target policy draws each candidate; they sum to 1 in each decision.
    logging
        (n_rows,) probability with which the log drew each candidate; None where only that of the chosen one is known.
    """

    begin: NDArray[np.int64]
    chosen: NDArray[np.int64]
    x: NDArray[np.float32]
    target: Floats
    logging: Floats | None = None


class LoggedDecisions(NamedTuple):
    """Decisions with a known outcome, and the probability with which a target policy takes the same ones.

    Attributes
    ----------
    cost
        (n,) what came of each decision.
    propensity, target
        (n,) probabilities of the logged choice, of the whole slate if there are several nodes: those of the policy
        that logged it, above 0, and of the target policy.
    client, slice
        (n,) numbers; intervals take whole clients and whole slices for what is drawn anew.
    candidates
        For the direct method and all that builds on it; None without features, or for slates of several nodes.
    left_out
        By reason, how many recorded decisions are not among these.
    """

    cost: Floats
    propensity: Floats
    target: Floats
    client: NDArray[np.integer]
    slice: NDArray[np.integer]
    candidates: LoggedCandidates | None = None
    left_out: Mapping[str, int] = MappingProxyType({})


class JudgedDecision(NamedTuple):
    """One recorded decision, and what the target policy would do among the same m candidates.

    Attributes
    ----------
    cost, client, slice
        As in `LoggedDecisions`.
    chosen
        The candidates that were logged, in the order of the slate.
    propensity, target
        Probability of the whole slate in the log, and that with which the target draws the same one, see
        `training.evaluation.ope.estimators.slate_probability`.
    x
        (m, n_features) float32 features of the candidates.
    first, logging
        (m,) probabilities with which the target and the log draw each candidate for the first place; the latter None
        where it is not known.
    """

    cost: float
    client: int
    slice: int
    chosen: NDArray[np.integer]
    propensity: float
    target: float
    x: NDArray[np.float32]
    first: Floats
    logging: Floats | None = None


def joined_decisions(judged: Sequence[JudgedDecision]) -> LoggedDecisions:
    """Return decisions as columns.

    The candidates are left out if any slate has several nodes: a model of a single node's cost does not tell the cost
    of a slate.
    """
    columns = [np.array([one[k] for one in judged]) for k in (0, 1, 2, 4, 5)]
    cost, client, slices, propensity, target = columns
    candidates = None
    if judged and all(one.chosen.size == 1 for one in judged):
        begin = np.concatenate([[0], np.cumsum([one.first.size for one in judged])])
        known = [one.logging for one in judged if one.logging is not None]
        candidates = LoggedCandidates(
            begin,
            begin[:-1] + np.array([one.chosen[0] for one in judged]),
            np.concatenate([one.x for one in judged]),
            np.concatenate([one.first for one in judged]),
            np.concatenate(known) if len(known) == len(judged) else None,
        )
    return LoggedDecisions(cost, propensity, target, client, slices, candidates)


def check_decisions(logged: LoggedDecisions) -> None:
    """Raise `DataError` unless there are decisions, and all numbers are what `LoggedDecisions` says."""
    if not logged.cost.size:
        raise DataError("off-policy evaluation: expected decisions with a propensity and an outcome, found none")
    if not np.isfinite(logged.cost).all():
        raise DataError(
            f"off-policy evaluation: expected finite costs, found {np.sum(~np.isfinite(logged.cost))} others"
        )
    for name, values, least in (
        ("propensity", logged.propensity, np.nextafter(0.0, 1.0)),
        ("target", logged.target, 0),
    ):
        wrong = ~((values >= least) & (values <= 1.0))
        if wrong.any():
            what = "above 0 and at most 1" if least else "from 0 to 1"
            raise DataError(f"off-policy evaluation: {name}: expected numbers {what}, found {values[wrong][0]:g}")
