"""Reading a telemetry directory: scan, derive, reject, sort, and only then arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.runtime.durable import check_writable, replacing
from scheduler.spec import COST, FAILED, Column, Spec
from training.telemetry.data import Data
from training.telemetry.files.kinds import (
    KNOWN_AFTER,
    NUMBER,
    SLICE_OF_TIME,
    check_types,
    says_when_known,
    slice_column,
)
from training.telemetry.files.scan import NUMBER_OF_FILE
from training.telemetry.raw import source_in_words
from training.telemetry.rules import (
    COLUMN,
    KNOWN,
    MAX_SLICE,
    OUTCOME,
    PROPENSITY,
    Facts,
    any_of,
    derive,
    reasons,
    rules,
)
from training.telemetry.source import clients_of, nodes_of, open_data
from training.telemetry.tables import categories, naming
from training.telemetry.telemetry import Columns, Entities, Telemetry
from training.telemetry.units import check_arrival, check_units, slice_seconds, slice_times

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many steps are done, of how many."""

_STEPS = 4
_CATEGORY = "@category "


def read_telemetry(
    folder: Data,
    spec: Spec,
    *,
    until: int | None = None,
    start: int | None = None,
    rejected_to: Path | None = None,
    progress: Progress | None = None,
) -> Telemetry:
    """Read and check a telemetry directory.

    Parameters
    ----------
    folder
        A telemetry directory: ``telemetry.parquet`` or ``telemetry/**/*.parquet``, ``nodes.parquet`` and
        ``clients.parquet``. Or Parquet and CSV files of any layout, or frames, by the spec's ``[raw]``.
    spec
        Says which columns play which role.
    until
        Rows of this slice and later ones are never looked at.
    start
        Nor are rows of slices before this one.
    rejected_to
        Folder for ``rejected.parquet``: the rejected rows as they were and a column ``reasons``. It is
        replaced at every run, and has no row if none was rejected. None writes nothing.
    progress
        Called after each step.

    Returns
    -------
    Telemetry

    Raises
    ------
    DataError
        If a file, a column or a type is not what the spec says, the outcome that makes up the cost or the price that
        the utility weighs is null everywhere, or no row is left after the checks.
    OSError
        If ``rejected_to`` cannot be written.
    """
    tell = progress or (lambda _done, _of: None)
    if rejected_to is not None:
        check_writable(rejected_to, "rejected rows", is_folder=True)
    opened = open_data(folder, spec)
    clients, nodes = clients_of(opened, spec), nodes_of(opened, spec)
    source = opened.rows(start, until)
    tell(1, _STEPS)
    with naming(*source.files):
        survey = _survey(folder, source.frame, Facts(spec, _keys(clients), _keys(nodes)))
        check_measured(folder, spec, survey.n_rows, survey.n_measured)
        tell(2, _STEPS)
        frame = _accepted(survey)
        tell(3, _STEPS)
        rejected = _rejected(survey, survey.n_rows - frame.height, rejected_to)
    if frame.height == 0:
        counts = ", ".join(f"{name} ({count})" for name, count in rejected.items())
        time = spec.telemetry.time
        made = source_in_words(folder, spec, time) if time and rejected.get("time: null") == survey.n_rows else ""
        raise DataError(f"{folder}: expected at least one good row, found {survey.n_rows} bad ones: {counts}{made}")
    telemetry = _arrays(frame, survey, clients, nodes, rejected)
    _check_arrival(folder, survey, telemetry)
    _check_price(folder, spec, telemetry.nodes.columns | telemetry.node_state)
    tell(4, _STEPS)
    return telemetry


class Part(NamedTuple):
    """Some slices of a telemetry directory, read by themselves.

    Attributes
    ----------
    telemetry
        Their accepted rows, maybe none.
    n_measured
        Rows with a value of the outcome that the cost is made of.
    """

    telemetry: Telemetry
    n_measured: int


def read_part(folder: Data, spec: Spec, *, start: int | None, until: int | None, middles: pl.DataFrame | None) -> Part:
    """Read some slices of a telemetry directory as `read_telemetry` would in reading all.

    Parameters
    ----------
    start, until
        As for `read_telemetry`. Rows without a slice belong to the part without a start.
    middles
        Times of all slices, from `slice_middles`; the rows next to a part's edge are checked against them.

    Raises
    ------
    DataError
        If a file, a column or a type is not what the spec says.
    """
    opened = open_data(folder, spec)
    clients, nodes = clients_of(opened, spec), nodes_of(opened, spec)
    source = opened.rows(start, until)
    frame = source.frame
    if start is not None:
        frame = frame.filter(pl.col(slice_column(spec)).is_not_null())
    with naming(*source.files):
        survey = _survey(folder, frame, Facts(spec, _keys(clients), _keys(nodes), middles))
        accepted = _accepted(survey)
        rejected = _rejected(survey, survey.n_rows - accepted.height, None)
    telemetry = _arrays(accepted, survey, clients, nodes, rejected)
    _check_arrival(folder, survey, telemetry)
    _check_price(folder, spec, telemetry.nodes.columns)  # prices that rows bring may stand in other parts
    return Part(telemetry, survey.n_measured)


def slice_middles(folder: Data, spec: Spec, *, start: int | None, until: int | None) -> pl.DataFrame | None:
    """Return `training.telemetry.units.slice_times` of some slices; None where the spec has no time."""
    if spec.telemetry.time is None:
        return None
    opened = open_data(folder, spec)
    clients, nodes = opened.table("clients", {}), opened.table("nodes", {})
    source = opened.rows(start, until)
    with naming(*source.files):
        facts = Facts(spec, _keys(clients), _keys(nodes))
        return slice_times(derive(source.frame, facts, source.frame.collect_schema()))


def slice_counts(folder: Data, spec: Spec, until: int | None) -> dict[int, int]:
    """Return how many rows each slice has, rejected ones included, in the order of slices."""
    source = open_data(folder, spec).rows(None, until)
    slices = pl.col(slice_column(spec)).cast(pl.Int64, strict=False)
    with naming(*source.files):
        known = source.frame.select(slice=slices).filter(pl.col("slice").is_between(0, MAX_SLICE))
        counts = known.group_by("slice").len().collect(engine="streaming").sort("slice")
    return dict(zip(counts["slice"].to_list(), counts["len"].to_list(), strict=True))


def check_measured(folder: Data, spec: Spec, n_rows: int, n_measured: int) -> None:
    """Raise `DataError` where there is no row, or none with the outcome that the cost is made of."""
    if n_rows == 0:
        raise DataError(f"{folder}: expected telemetry rows, found none in the slices asked for")
    if n_measured == 0:
        message = f"{folder}: outcome {spec.cost.success!r}: expected a value where a request succeeded"
        made = source_in_words(folder, spec, spec.cost.success)
        raise DataError(f"{message}, found null in all {n_rows} rows{made}")


def _check_arrival(folder: Data, survey: _Survey, telemetry: Telemetry) -> None:
    in_seconds = says_when_known(survey.spec, survey.raw_columns)
    check_arrival(folder, survey.spec, telemetry.time, telemetry.arrival, in_seconds=in_seconds)


def _check_price(folder: Data, spec: Spec, nodes: Columns) -> None:
    """Raise `DataError` where the utility weighs a price that no node has: it would be the same of every candidate."""
    utility = spec.utility
    prices = nodes.get(utility.price or "")
    weighed = utility.price_weight or any(profile.price_weight for profile in utility.profiles)
    if weighed and isinstance(prices, np.ndarray) and prices.size and np.isnan(prices).all():
        message = f"{folder}: node column {utility.price!r}: expected some prices, which the utility weighs"
        raise DataError(f"{message}, found null in all {len(prices)} of them")


class _Survey(NamedTuple):
    """The rows with their derived columns, the rules, and what a first look found."""

    rows: pl.LazyFrame
    raw_columns: list[str]
    rules: dict[str, pl.Expr]
    spec: Spec
    n_rows: int
    n_measured: int
    slice_seconds: float


def _survey(folder: Data, raw: pl.LazyFrame, facts: Facts) -> _Survey:
    schema = raw.collect_schema()
    spec, roles = facts.spec, facts.spec.telemetry
    if says_when_known(spec, schema):
        check_types(Path(str(folder)), schema, {KNOWN_AFTER: NUMBER})
    rows = derive(raw, facts, schema)
    found = raw.select(n=pl.len(), measured=pl.col(spec.cost.success).count()).collect(engine="streaming")
    n_rows, measured = found.row(0)
    if roles.time is not None and facts.middles is None:
        slices = slice_times(rows)
        check_units(folder, spec, slices)
        facts = facts._replace(middles=slices)
    return _Survey(rows, schema.names(), rules(facts), spec, n_rows, measured, slice_seconds(facts.middles, spec))


def _keys(table: Entities) -> pl.Series:
    return pl.Series(table.ids.tolist(), dtype=pl.Int64 if table.ids.dtype.kind == "i" else pl.String)


def _accepted(survey: _Survey) -> pl.DataFrame:
    """Return the good rows in the arrays' types, sorted."""
    spec = survey.spec
    keys = ["@slice", "@client", "@node"]
    if spec.telemetry.time is not None:
        keys.insert(0, "@time")
    if NUMBER_OF_FILE in survey.raw_columns:
        keys.append(NUMBER_OF_FILE)
    wanted = [pl.col(key) for key in [*keys, "@ok"]]
    wanted += [pl.col(OUTCOME + name).fill_null(float("nan")) for name in spec.outcomes]
    wanted += [_cost(spec).alias(OUTCOME + COST)]
    if says_when_known(spec, survey.raw_columns):
        wanted.append(pl.col(KNOWN).fill_null(float("nan")))
    if spec.telemetry.propensity is not None:
        wanted.append(pl.col(PROPENSITY).fill_null(float("nan")))
    for name, column in _own_columns(spec).items():
        if column.type == "category":
            wanted.append(pl.col(name).alias(_CATEGORY + name))
        else:
            wanted.append(pl.col(COLUMN + name).fill_null(float("nan")))
    frame = survey.rows.filter(~any_of(survey.rules)).select(wanted).collect(engine="streaming")
    if _is_sorted([frame[key].to_numpy() for key in keys]):
        return frame
    return frame.sort(keys, maintain_order=True)


def _own_columns(spec: Spec) -> dict[str, Column]:
    return spec.request_columns("telemetry") | spec.node_columns("telemetry")


def _cost(spec: Spec) -> pl.Expr:
    cost = spec.cost
    failure = pl.lit(cost.failure, pl.Float32)
    if cost.failure_column is not None:
        failure = pl.max_horizontal(failure, pl.col(OUTCOME + cost.failure_column))
    return pl.when(pl.col("@ok")).then(pl.col(OUTCOME + cost.success)).otherwise(failure)


def _is_sorted(keys: list[NDArray[np.float64]]) -> bool:
    """Tell whether rows are in lexicographic order, the first key being the most significant."""
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=np.bool_)
    for key in keys:
        if (tied & (key[:-1] > key[1:])).any():
            return False
        tied &= key[:-1] == key[1:]
    return True


def _rejected(survey: _Survey, n_bad: int, folder: Path | None) -> dict[str, int]:
    """Count the rejected rows per rule and set them aside; only then a second look at the files is needed."""
    if folder is not None:
        bad = survey.rows.filter(any_of(survey.rules)).with_columns(reasons(survey.rules))
        kept = dict.fromkeys(
            name for name in [*survey.raw_columns, "reasons"] if name not in (NUMBER_OF_FILE, SLICE_OF_TIME)
        )
        _write(bad.select(*kept), folder / "rejected.parquet")
    if n_bad == 0:
        return {}
    counts = survey.rows.select(rule.sum().alias(name) for name, rule in survey.rules.items())
    found = counts.collect(engine="streaming").row(0, named=True)
    return {name: int(count) for name, count in found.items() if count}


def _write(frame: pl.LazyFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as (part,):
        frame.sink_parquet(part)


def _arrays(
    frame: pl.DataFrame, survey: _Survey, clients: Entities, nodes: Entities, rejected: dict[str, int]
) -> Telemetry:
    """Move the columns out of the frame one by one, so that never both are whole in memory."""
    spec = survey.spec

    def take(name: str) -> NDArray[Any]:
        return frame.drop_in_place(name).to_numpy(writable=True)

    slices, ok = take("@slice"), take("@ok")
    time = take("@time") if spec.telemetry.time is not None else slices * float(spec.telemetry.slice.seconds)
    outcomes = {name: take(OUTCOME + name) for name in (*spec.outcomes, COST)}
    outcomes[FAILED] = (~ok).astype(np.float32)
    known = take(KNOWN) if says_when_known(spec, survey.raw_columns) else None
    own: Columns = {}
    for name, column in _own_columns(spec).items():
        if column.type == "category":
            own[name] = categories(frame.drop_in_place(_CATEGORY + name))
        else:
            own[name] = take(COLUMN + name)
    return Telemetry(
        time=time,
        arrival=_arrival(time, [outcomes[name] for name in spec.telemetry.arrival], known),
        slice=slices,
        client=take("@client"),
        node=take("@node"),
        ok=ok,
        outcomes=outcomes,
        request={name: own[name] for name in spec.request_columns("telemetry")},
        node_state={name: own[name] for name in spec.node_columns("telemetry")},
        clients=clients,
        nodes=nodes,
        rejected=rejected,
        n_read=survey.n_rows,
        propensity=None if spec.telemetry.propensity is None else take(PROPENSITY),
        slice_seconds=survey.slice_seconds,
    )


def _arrival(
    time: NDArray[np.float64], delays_ms: list[NDArray[np.float32]], known_after: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return time plus ``known_after`` seconds, or else the first delay that is not NaN; none delays nothing."""
    delay = np.full(len(time), np.nan, np.float32)
    for delay_ms in delays_ms:
        np.copyto(delay, delay_ms, where=np.isnan(delay))
    delay[np.isnan(delay)] = 0.0
    arrival = delay / np.float64(1000.0)
    arrival += time
    if known_after is not None:
        np.copyto(arrival, time + known_after, where=~np.isnan(known_after))
    return arrival
