"""Combine comparisons over several seeds: means and standard deviations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from scheduler.errors import InputError
from training.evaluation.metrics import Picks, Score
from training.evaluation.results import Comparison, Series
from training.telemetry import concatenated


def pooled(runs: Sequence[Comparison]) -> Comparison:
    """Return comparisons of the same policies on the same data, one a seed, as one.

    Every figure is computed seed by seed, then averaged, so ratios such as ``regret`` are paired: both sides
    of one decided the same requests. ``standard_deviation`` is over the seeds (n - 1 in the
    denominator): that of one seed's figure, not of the mean. Picks follow each other, seed by seed.

    Raises
    ------
    InputError
        If there is none.
    """
    if not runs:
        raise InputError("seeds: expected at least one, found none")
    first = runs[0]
    if len(runs) == 1:
        return first
    return dataclasses.replace(
        first,
        n=sum(run.n for run in runs),
        policies=_over(runs, np.mean),
        notes=tuple(dict.fromkeys(note for run in runs for note in run.notes)),
        standard_deviation=_over(runs, lambda values: np.std(values, ddof=1)),
        seeds=len(runs),
        run=np.repeat(np.arange(len(runs), dtype=np.int32), [run.n for run in runs]),
        picks={
            name: Picks(*map(np.concatenate, zip(*(r.picks[name] for r in runs), strict=True))) for name in first.picks
        },
        client=np.concatenate([run.client for run in runs]),
        slice=np.concatenate([run.slice for run in runs]),
        agreeing=float(np.mean([run.agreeing for run in runs])),
        request=concatenated([run.request for run in runs]),
        series=_series([run.series for run in runs]),
        predicted={h: np.concatenate([run.predicted[h] for run in runs]) for h in first.predicted},
        observed={h: np.concatenate([run.observed[h] for run in runs]) for h in first.observed},
    )


def _over(runs: Sequence[Comparison], statistic: Callable[[list[float]], np.floating]) -> dict[str, Score]:
    figures = [field.name for field in dataclasses.fields(Score)]
    return {
        name: Score(**{f: float(statistic([getattr(run.policies[name], f) for run in runs])) for f in figures})
        for name in runs[0].policies
    }


def _series(parts: Sequence[Series]) -> Series:
    """Add up slice by slice: seeds draw candidates, not slices."""
    return Series(
        start=parts[0].start,
        n_requests=np.sum([part.n_requests for part in parts], axis=0),
        cost={name: np.sum([part.cost[name] for part in parts], axis=0) for name in parts[0].cost},
    )
