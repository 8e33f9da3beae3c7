"""Compare model and baselines on the same sightings: is the node seen again, and how fast is it then."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.history.store import new_history
from scheduler.model.model import Model
from training.availability.baselines import Gaps, Groups, Stream, kaplan_meier, running_means
from training.availability.sightings import with_gaps
from training.features.replay import replay
from training.heads.metrics import head_metrics, log_loss, log_odds, squared_error
from training.telemetry import Categories, Telemetry

Floats: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""Figures by predictor and slice of the table: ``all``, and ``new`` for nodes never seen before the judged slices."""

MODEL = "model"
SPEED, NEXT = "speed_kbps", "throughput_kbps"


class Judged(NamedTuple):
    """The sightings of one horizon, and which of them are judged.

    Attributes
    ----------
    telemetry
        All sightings whose horizon has ended, those before the judged ones too.
    at
        (n,) number of each row's snapshot.
    rows
        (n,) bool, whether the row is judged.
    start, fitted
        First snapshot that is judged; the first whose sightings were no longer fitted.
    horizon
        Snapshots.
    """

    telemetry: Telemetry
    at: NDArray[np.int64]
    rows: NDArray[np.bool_]
    start: int
    fitted: int
    horizon: int

    def new(self) -> NDArray[np.bool_]:
        """Return for each judged row whether its node was first seen in the judged snapshots."""
        node = self.telemetry.node
        first = np.full(len(self.telemetry.nodes), np.iinfo(np.int64).max)
        np.minimum.at(first, node, self.at)
        return first[node[self.rows]] >= self.start

    def categories(self) -> dict[str, NDArray[np.int64]]:
        """Return each node's category, from 0 (none), by each category column of the table of nodes."""
        columns = self.telemetry.nodes.columns
        return {n: c.codes.astype(np.int64) + 1 for n, c in columns.items() if isinstance(c, Categories)}

    def groups(self) -> Groups:
        """Return what each row shares with others: its node's categories, its node and its client."""
        node, client = self.telemetry.node.astype(np.int64), self.telemetry.client.astype(np.int64)
        return Groups({name: codes[node] for name, codes in self.categories().items()}, node, client)


def predict(model: Model, judged: Judged) -> dict[str, Floats]:
    """Return each head's value for the judged rows, from the history that stood at each."""
    history = new_history(model.spec)
    x = replay(judged.telemetry, model.spec, model.features, history, keep=judged.rows)
    return model.predict(x)


def presence(judged: Judged, gone: Floats, sightings: pl.DataFrame) -> Scores:
    """Judge probabilities that a node is seen again within the horizon.

    Parameters
    ----------
    gone
        (n_judged,) the model's probability that it is not.
    sightings
        As `training.availability.sightings.read_sightings` returns them; only those before the judged ones are used.
    """
    telemetry = judged.telemetry
    seen = telemetry.ok.astype(np.float64)
    stream = Stream(judged.at, seen, judged.horizon, seen, judged.at < judged.fitted)
    means = running_means(stream, judged.groups(), _probability_loss)
    predicted = {MODEL: 1.0 - gone} | {f"frequency:{name}": mean[judged.rows] for name, mean in means.items()}
    predicted |= _kaplan_meier(judged, sightings)
    outcome = seen[judged.rows]
    slices = {"all": np.ones(outcome.size, np.bool_), "new": judged.new()}
    return {
        name: {which: head_metrics("logistic", p[rows], outcome[rows]) for which, rows in slices.items() if rows.any()}
        for name, p in predicted.items()
    }


def _probability_loss(probability: Floats, outcome: Floats) -> float:
    return log_loss(log_odds(probability), outcome)


def _kaplan_meier(judged: Judged, sightings: pl.DataFrame) -> dict[str, Floats]:
    first = int(judged.telemetry.slice[judged.rows].min())
    past = with_gaps(sightings.filter(pl.col("slice") < first))
    gaps = Gaps(past["gap"].fill_null(past["remaining"]).to_numpy(), past["gap"].is_not_null().to_numpy())
    places = {key: i for i, key in enumerate(judged.telemetry.nodes.ids.tolist())}
    node = np.array([places.get(key, -1) for key in past["node_id"].to_list()])
    asked = judged.telemetry.node[judged.rows]
    found = {"kaplan_meier:global": kaplan_meier(gaps, judged.horizon)(asked)}
    for name, codes in judged.categories().items():
        of_past = np.append(codes, 0)[node]  # the last: a node that the table does not know
        found[f"kaplan_meier:{name}"] = kaplan_meier(gaps, judged.horizon, of_past)(codes[asked])
    return found


def speed(judged: Judged, mean: Floats, log_mean: Floats) -> Scores:
    """Judge the speed at the next sighting, if there is one within the horizon.

    Parameters
    ----------
    mean, log_mean
        (n_judged,) the model's mean in kbit/s, and its mean of log1p.

    Returns
    -------
    Scores
        ``mae_log``, ``rmse_log``, ``bias_log`` of the mean of log1p; ``mae``, ``rmse``, ``bias`` (a ratio of means) of
        the mean in kbit/s.
    """
    telemetry, rows = judged.telemetry, judged.rows
    now = np.asarray(telemetry.node_state[SPEED], np.float64)
    then = telemetry.outcomes[NEXT].astype(np.float64)
    plain, logs = _speed_baselines(judged, now, then), _speed_baselines(judged, np.log1p(now), np.log1p(then))
    plain, logs = {MODEL: mean} | plain, {MODEL: log_mean} | logs
    outcome = then[rows]
    measured = ~np.isnan(outcome)
    slices = {"all": measured, "new": measured & judged.new()}
    return {
        name: {
            which: _speed_figures(plain[name][some], logs[name][some], outcome[some])
            for which, some in slices.items()
            if some.any()
        }
        for name in plain
    }


def _speed_baselines(judged: Judged, now: Floats, then: Floats) -> dict[str, Floats]:
    stream = Stream(judged.at, now, 0, then, judged.at < judged.fitted)
    means = running_means(stream, judged.groups(), squared_error)
    last = np.where(np.isnan(now), means["node"], now)
    found = {"last": last} | {f"mean:{name}": mean for name, mean in means.items()}
    return {name: values[judged.rows] for name, values in found.items()}


def _speed_figures(mean: Floats, log_mean: Floats, outcome: Floats) -> dict[str, float]:
    error = log_mean - np.log1p(outcome)
    figures = head_metrics("log", mean, outcome)
    return {
        "n": float(outcome.size),
        "mae_log": float(np.abs(error).mean()),
        "rmse_log": float(np.sqrt((error**2).mean())),
        "bias_log": float(error.mean()),
        **{name: figures[name] for name in ("mae", "rmse", "bias")},
    }
