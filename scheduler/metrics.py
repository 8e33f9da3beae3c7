"""What a scheduler counts, for Prometheus. Needs prometheus-client; nothing else of the package imports this module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import name_of_key
from scheduler.decisions.arrays import DROPS, REASONS
from scheduler.decisions.counts import latency_bounds
from scheduler.decisions.record.status import RecordStatus
from scheduler.decisions.record.watch_totals import OTHER, WatchTotals
from scheduler.errors import InputError, MetricsError, shown
from scheduler.history.store import table_counters
from scheduler.rollout.follow import FollowStatus
from scheduler.scheduler import Scheduler
from scheduler.snapshot.autosave import AutosaveStatus

try:
    from prometheus_client import core
    from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry
except ModuleNotFoundError as error:
    message = "metrics: expected prometheus-client to be installed, as by pip install 'fogline[metrics]', found none"
    raise MetricsError(message) from error

UNKNOWN_CARRIER: Final = "unknown"
"""Label of nodes without a carrier."""


class Family(NamedTuple):
    """A metric: its name without the suffix of its kind, its kind, what it says, and its labels."""

    name: str
    kind: Any
    text: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name under which it is found: that of its samples, or what they begin with."""
        return self.name + {core.CounterMetricFamily: "_total", core.InfoMetricFamily: "_info"}.get(self.kind, "")


_COUNTER, _GAUGE = core.CounterMetricFamily, core.GaugeMetricFamily

FAMILIES: Final = (
    Family("fogline_decisions", _COUNTER, "Decisions made", ("version", "reason")),
    Family(
        "fogline_decision_seconds",
        core.HistogramMetricFamily,
        "Time a decision takes in compiled code, waiting for other threads included",
        ("version",),
    ),
    Family("fogline_candidates_dropped", _COUNTER, "Candidates that a filter dropped", ("version", "reason")),
    Family("fogline_outcomes", _COUNTER, "Outcomes that history learned from", ("source",)),
    Family("fogline_reservations_expired", _COUNTER, "Reservations that ended without an outcome"),
    Family("fogline_decisions_forgotten", _COUNTER, "Decisions that left the log before all their outcomes came"),
    Family("fogline_nodes", _GAUGE, "Nodes in the fleet; silent ones are not found by requests", ("state",)),
    Family("fogline_nodes_forgotten", _COUNTER, "Nodes removed because they were silent for too long"),
    Family("fogline_history_entries", _GAUGE, "Entries that history holds"),
    Family("fogline_history_capacity", _GAUGE, "Entries that history has room for, about"),
    Family("fogline_evictions", _COUNTER, "Entries evicted to make room for others", ("table",)),
    Family("fogline_clock_steps_back", _COUNTER, "Times at which the clock of calls was set back"),
    Family("fogline_model", core.InfoMetricFamily, "The model in charge: name, version, fingerprint"),
    Family("fogline_model_in_charge_timestamp_seconds", _GAUGE, "When the model in charge was put there"),
    Family("fogline_arms", _GAUGE, "Models that follow the state, the one in charge included"),
    Family("fogline_registry_checks", _COUNTER, "Questions to the registry that is followed"),
    Family("fogline_registry_swaps", _COUNTER, "Versions put in charge from the registry"),
    Family("fogline_registry_failures", _COUNTER, "Questions, downloads and trials that failed"),
    Family("fogline_registry_refused", _GAUGE, "1 if the version that the alias leads to was refused"),
    Family("fogline_registry_last_check_timestamp_seconds", _GAUGE, "When the registry was asked last"),
    Family("fogline_snapshots", _COUNTER, "Snapshots saved by autosave"),
    Family("fogline_snapshot_failures", _COUNTER, "Snapshots that could not be saved"),
    Family("fogline_snapshot_last_timestamp_seconds", _GAUGE, "When the newest snapshot was finished"),
    Family("fogline_recording", _GAUGE, "1 while decisions are recorded"),
    Family("fogline_record_rows", _COUNTER, "Rows of records on disk", ("table",)),
    Family("fogline_record_rows_dropped", _COUNTER, "Rows dropped because a buffer was full", ("table",)),
    Family("fogline_record_rows_lost", _COUNTER, "Rows that could not be written", ("table",)),
    Family("fogline_record_bytes", _COUNTER, "Bytes of records written"),
    Family("fogline_record_failures", _COUNTER, "Writes of records that failed"),
    Family("fogline_record_lag_seconds", _GAUGE, "Time since all that had happened was on disk"),
    Family(
        "fogline_head_predicted",
        core.SummaryMetricFamily,
        "Predictions of a head whose outcome came; of a quantile head the quantile",
        ("version", "workload", "head"),
    ),
    Family(
        "fogline_head_actual",
        core.SummaryMetricFamily,
        "What came of these; of a quantile head 1 for an outcome at or below the prediction, else 0",
        ("version", "workload", "head"),
    ),
    Family("fogline_outcomes_due", _COUNTER, "Chosen nodes that answered or timed out", ("version", "carrier")),
    Family("fogline_outcomes_missing", _COUNTER, "Chosen nodes that timed out", ("version", "carrier")),
    Family("fogline_outcomes_late", _COUNTER, "Timeouts whose outcome came later", ("version", "carrier")),
)


class _Samples:
    """Families while they are filled; ``labels`` come with every sample."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._values = list(labels.values())
        self.families: dict[str, Any] = {
            of.name: of.kind(of.name, of.text, labels=[*of.labels, *labels]) for of in FAMILIES
        }

    def add(self, name: str, value: object, *labels: str) -> None:
        """Add a sample of a counter, a gauge or an info metric."""
        self.families[name].add_metric([*labels, *self._values], value)

    def add_time(self, name: str, time: float | None) -> None:
        """Add a time, unless there is none yet."""
        if time is not None:
            self.add(name, time)

    def add_histogram(self, name: str, latencies: np.ndarray, nanoseconds: int, *labels: str) -> None:
        """Add a histogram of nanoseconds, in seconds."""
        bounds = [*(f"{bound / 1e9:.10g}" for bound in latency_bounds().tolist()), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(latencies).tolist(), strict=True))
        self.families[name].add_metric([*labels, *self._values], buckets, nanoseconds / 1e9)

    def add_summary(self, name: str, n: int, total: float, *labels: str) -> None:
        """Add a count and a sum."""
        self.families[name].add_metric([*labels, *self._values], n, total)


class FoglineCollector(Collector):
    """Reads what kernels and threads of a scheduler count, when Prometheus asks; requests cost nothing more.

    It takes no lock and scans no nodes. Without a recording, metrics of records and of predictions have no samples.
    Totals begin with the process, except those of a restored snapshot.

    Parameters
    ----------
    scheduler
        Whose counts.
    labels
        Names and values that all its metrics get, to tell schedulers of one process apart.

    Raises
    ------
    InputError
        If a label has no text, or is one that a metric has already.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._labels = _checked({} if labels is None else labels)

    def describe(self) -> Iterable[core.Metric]:
        """Return the families without samples."""
        return list(_Samples(self._labels).families.values())

    def collect(self) -> Iterable[core.Metric]:
        """Return the families with what is counted now."""
        samples, status = _Samples(self._labels), self._scheduler.status()
        _add_decisions(samples, self._scheduler)
        _add_state(samples, self._scheduler)
        model = {"model": status.model, "version": status.model_version, "fingerprint": status.fingerprint}
        samples.add("fogline_model", model)
        samples.add("fogline_arms", status.arms)
        if status.following is not None:
            _add_following(samples, status.following)
        if status.saving is not None:
            _add_saving(samples, status.saving)
        samples.add("fogline_recording", int(status.recording is not None and status.recording.is_on))
        if status.recording is not None:
            _add_recording(samples, status.recording)
        recorder = self._scheduler.recorder
        if recorder is not None and recorder.totals is not None:
            _add_totals(samples, recorder.totals, self._scheduler)
        return list(samples.families.values())


def register(
    scheduler: Scheduler,
    registry: CollectorRegistry = REGISTRY,
    labels: Mapping[str, str] | None = None,
) -> FoglineCollector:
    """Make a `FoglineCollector` and register it.

    Parameters
    ----------
    scheduler, labels
        As of `FoglineCollector`.
    registry
        Where; by default that of prometheus-client, which its servers show.

    Returns
    -------
    FoglineCollector

    Raises
    ------
    InputError
        As `FoglineCollector`, or if the registry has metrics of a scheduler already.
    """
    collector = FoglineCollector(scheduler, labels)
    try:
        registry.register(collector)
    except ValueError as error:
        message = (
            "registry: expected one without metrics of a scheduler, found some; use a registry for each scheduler, "
            "or one collector that chains several"
        )
        raise InputError(message) from error
    return collector


def _checked(labels: Mapping[str, str]) -> dict[str, str]:
    taken = {label for of in FAMILIES for label in of.labels} | {"model", "fingerprint", "le", "quantile"}
    for name, value in labels.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("__") or name in taken:
            message = f"labels: expected names of letters, digits and _ other than {sorted(taken)}, found {shown(name)}"
            raise InputError(message)
        if not isinstance(value, str):
            message = f"label {name}: expected a text, found {shown(value)}"
            raise InputError(message)
    return dict(labels)


def _add_decisions(samples: _Samples, scheduler: Scheduler) -> None:
    for version, counts in scheduler.state.counts.items():
        for name, n in zip(REASONS, counts.reasons.tolist(), strict=True):
            samples.add("fogline_decisions", n, version, name)
        for name, n in zip(DROPS, counts.dropped.tolist(), strict=True):
            samples.add("fogline_candidates_dropped", n, version, name)
        samples.add_histogram("fogline_decision_seconds", counts.latencies, int(counts.nanoseconds[0]), version)


def _add_state(samples: _Samples, scheduler: Scheduler) -> None:
    counters, state = scheduler.counters(), scheduler.state
    samples.add("fogline_outcomes", counters["outcomes"], "observed")
    samples.add("fogline_outcomes", counters["learned"], "learned")
    samples.add("fogline_reservations_expired", counters["expired"])
    samples.add("fogline_decisions_forgotten", counters["forgotten"])
    for name, n in scheduler.fleet.n_by_presence().items():
        samples.add("fogline_nodes", n, name)
    samples.add("fogline_nodes_forgotten", counters["nodes_forgotten"])
    samples.add("fogline_history_entries", counters["history_entries"])
    samples.add("fogline_history_capacity", counters["history_capacity"])
    for table, (_, evicted) in table_counters(state.history).items():
        samples.add("fogline_evictions", int(evicted), table)
    samples.add("fogline_clock_steps_back", counters["clock_steps_back"])
    samples.add("fogline_model_in_charge_timestamp_seconds", state.in_charge_since)


def _add_following(samples: _Samples, status: FollowStatus) -> None:
    samples.add("fogline_registry_checks", status.checks)
    samples.add("fogline_registry_swaps", status.swaps)
    samples.add("fogline_registry_failures", status.failures)
    samples.add("fogline_registry_refused", int(bool(status.refused)))
    samples.add_time("fogline_registry_last_check_timestamp_seconds", status.last_checked)


def _add_saving(samples: _Samples, status: AutosaveStatus) -> None:
    samples.add("fogline_snapshots", status.saves)
    samples.add("fogline_snapshot_failures", status.failures)
    samples.add_time("fogline_snapshot_last_timestamp_seconds", status.last_saved)


def _add_recording(samples: _Samples, status: RecordStatus) -> None:
    for name, rows in (("", status.written), ("_dropped", status.dropped), ("_lost", status.lost)):
        for table, n in rows.items():
            samples.add(f"fogline_record_rows{name}", n, table)
    samples.add("fogline_record_bytes", status.bytes)
    samples.add("fogline_record_failures", status.failures)
    if status.is_on:
        samples.add("fogline_record_lag_seconds", status.lag)


def _add_totals(samples: _Samples, totals: WatchTotals, scheduler: Scheduler) -> None:
    for head in totals.by_head():
        labels = head.version, head.workload, head.head
        samples.add_summary("fogline_head_predicted", head.n, head.predicted, *labels)
        samples.add_summary("fogline_head_actual", head.n, head.actual, *labels)
    for (version, carrier), (due, missing, late) in _by_carrier(totals, scheduler).items():
        samples.add("fogline_outcomes_due", due, version, carrier)
        samples.add("fogline_outcomes_missing", missing, version, carrier)
        samples.add("fogline_outcomes_late", late, version, carrier)


def _by_carrier(totals: WatchTotals, scheduler: Scheduler) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Return outcomes that were due, missing and late by version and name of carrier: two keys may have one name."""
    found: dict[tuple[str, str], NDArray[np.int64]] = {}
    by_carrier = totals.by_carrier()
    names = scheduler.fleet.categories() if by_carrier else {}
    for version, carrier, *counts in by_carrier:
        name = OTHER if carrier is None else UNKNOWN_CARRIER
        if carrier is not None and carrier != MISSING_KEY:
            name = str(names.get(carrier, name_of_key(carrier)))
        found[version, name] = found.get((version, name), 0) + np.array(counts)
    return found
