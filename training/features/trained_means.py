"""Means over the telemetry of training, which a model takes along.

A feature row must not know its own outcome, nor one that arrived later. So while telemetry is replayed, the means are
those of what had arrived, and only the model that is written has the means of all. Outcomes that never arrive are in
neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.schema import Vocabulary
from scheduler.features.arrays import FeatureProgram
from scheduler.features.kernels.history_keys import history_key
from scheduler.features.program import Features, compile_features
from scheduler.features.trained_means import MeansByKey, means_by_key, no_means, trained_keys
from scheduler.model.model import Model
from scheduler.runtime.jit import kernel
from scheduler.spec import Spec
from training.features.replay import Ahead, Events, Tables, add_outcome, events_of, lay, scratch, tables_of
from training.features.split import first_served
from training.telemetry import Telemetry
from training.telemetry.slice_starts import slice_starts


class Means(NamedTuple):
    """What models of one dataset take along: means of all telemetry, or of what is known before a rehearsal, if any."""

    all: MeansByKey
    before: MeansByKey


def with_keys(parts: Iterable[Telemetry], spec: Spec, vocabulary: Vocabulary) -> Features:
    """Return a spec's features, with a place for the means of every key of telemetry, and no outcome yet."""
    features = compile_features(spec, vocabulary)
    keys = no_means(spec).keys
    for part in parts if trained_keys(spec) else ():
        found = np.empty((len(part), features.program.trained_keys.size), np.uint64)
        _find_keys(features.program, events_of(part, spec), tables_of(part, features), scratch(features, 0), found)
        keys = np.union1d(keys, found)
    return _empty(spec, vocabulary, keys[keys != MISSING_KEY])


def found_means(
    features: Features, parts: Iterable[Telemetry], spec: Spec, vocabulary: Vocabulary, starts: Mapping[int, float]
) -> Means | None:
    """Return the means that a replay left in features, and those known before a rehearsal; None without any.

    Parameters
    ----------
    features
        Of `with_keys`, after the replay.
    parts
        All telemetry.
    starts
        When each slice that there is begins, in order.
    """
    if not trained_keys(spec):
        return None
    every = means_by_key(features.program.trained)
    if spec.training.rehearse == 0.0:
        return Means(every, every)
    early = _empty(spec, vocabulary, every.keys)
    first = first_served(np.fromiter(starts, np.int32), spec)
    return Means(every, _means_before(first, starts[first], early, parts, spec))


def _means_before(start: int, begin: float, features: Features, parts: Iterable[Telemetry], spec: Spec) -> MeansByKey:
    """Return the means of what slices before one told before a time (seconds).

    The features have no outcome yet, and a place for every key.
    """
    for part in parts:
        learned = (part.slice < start) & (part.arrival < begin)
        events, tables = events_of(part, spec, learned), tables_of(part, features)
        _add_all(features.program, events, tables, scratch(features, len(spec.history.values)))
    return means_by_key(features.program.trained)


def as_of(model: Model, telemetry: Telemetry, start: int) -> Model:
    """Return a model with the means of what is known when a slice begins, in place of those that it took along.

    A model takes along the means of all that it was trained on, slices that only judged it included. Where such slices
    judge it again, they must not be in them.
    """
    if not trained_keys(model.spec) or int(model.manifest.window["last_slice"]) < start:
        return model
    empty = with_keys([telemetry], model.spec, model.vocabulary)
    starts = slice_starts(telemetry, model.spec)
    begin = next((time for number, time in starts.items() if number >= start), np.inf)
    means = _means_before(start, begin, empty, [telemetry], model.spec)
    return replace(model, features=compile_features(model.spec, model.vocabulary, means))


def _empty(spec: Spec, vocabulary: Vocabulary, keys: NDArray[np.uint64]) -> Features:
    width = no_means(spec).rows.shape[1]
    return compile_features(spec, vocabulary, MeansByKey(keys, np.zeros((keys.size, width), np.float32)))


@kernel
def _find_keys(program: FeatureProgram, events: Events, tables: Tables, ahead: Ahead, out: NDArray[np.uint64]) -> None:
    """Write the keys of each row."""
    request, node = ahead.request, ahead.node
    for i in range(out.shape[0]):
        lay(tables, events, i, request, node)
        for t in range(program.trained_keys.size):
            out[i, t] = history_key(program, program.trained_keys[t], request, 0, node, 0)


@kernel
def _add_all(program: FeatureProgram, events: Events, tables: Tables, ahead: Ahead) -> None:
    """Add the outcomes of the kept rows to the program's means."""
    request, node, values = ahead.request, ahead.node, ahead.values
    for n in range(events.kept.size):
        i = events.kept[n]
        lay(tables, events, i, request, node)
        for v in range(values.size):
            values[v] = events.values[i, v]
        add_outcome(program, request, node, values)
