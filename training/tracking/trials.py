"""A search in MLflow: one parent run, and below it one run a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from scheduler.errors import RegistryError
from scheduler.model.mlflow_client import registry_call, resolve_uri
from training.tracking.mlflow_store import exclusive_registry, experiment, store

_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"
_EXPECTED = "an MLflow server that takes a run"
_MOST_RUNS = 50_000
"""As many as MLflow answers at once."""


def _run_name(number: int) -> str:
    return f"trial {number}"


class TrialRuns:
    """The runs of one search, in the experiment of the spec's name.

    Parameters
    ----------
    name
        The spec's.
    registry
        As for `training.tracking.runs.track`.
    parent
        The parent run of an earlier call that this one goes on with; empty for a new one.
    tags
        Of a new parent run.

    Raises
    ------
    RegistryError
        The registry cannot be reached.
    """

    def __init__(self, name: str, registry: str | None, *, parent: str = "", tags: Mapping[str, str]) -> None:
        self._registry = resolve_uri(registry)
        with registry_call(self._registry, _EXPECTED), store(self._registry) as mlflow:
            self._client = mlflow.MlflowClient(tracking_uri=self._registry, registry_uri=self._registry)
            self._experiment = experiment(mlflow, name, self._registry)
        self.parent = parent if parent and self._has(parent) else self._create({_NAME: "tune", **tags})

    def begin(self, number: int, params: Mapping[str, object]) -> str:
        """Open the run of a trial and return its id."""
        run = self._create({_NAME: _run_name(number), _PARENT: self.parent})
        with registry_call(self._registry, _EXPECTED), exclusive_registry(self._registry):
            for name, value in params.items():
                self._client.log_param(run, name, value)
        return run

    def end(self, run: str, objective: str, values: Sequence[float], state: str) -> None:
        """Close a trial's run with its value by fold and their mean; ``state`` is pruned or complete."""
        with registry_call(self._registry, _EXPECTED), exclusive_registry(self._registry):
            for fold, value in enumerate(values):
                self._client.log_metric(run, f"{objective}.fold", value, step=fold)
            if values:
                self._client.log_metric(run, objective, math.fsum(values) / len(values))
            self._client.set_tag(run, "trial_state", state)
            self._client.set_terminated(run, "FINISHED")

    def kill_all_but(self, finished: Iterable[int]) -> None:
        """Note of all trials but those of some numbers that their process ended before they did.

        MLflow is asked for the runs, since a process may be killed before it has noted which run it opened.
        """
        kept = {_run_name(number) for number in finished}
        of_search = f"tags.`{_PARENT}` = '{self.parent}'"
        with suppress(RegistryError), registry_call(self._registry, _EXPECTED), exclusive_registry(self._registry):
            for run in self._client.search_runs([self._experiment], of_search, max_results=_MOST_RUNS):
                if run.data.tags[_NAME] not in kept and run.info.status != "KILLED":
                    self._client.set_terminated(run.info.run_id, "KILLED")

    def close(self, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Note the best trial's parameters and figures with the parent run, and close it."""
        with registry_call(self._registry, _EXPECTED), exclusive_registry(self._registry):
            for name, value in params.items():
                self._client.set_tag(self.parent, f"best.{name}", str(value))
            for name, value in metrics.items():
                self._client.log_metric(self.parent, name, value)
            self._client.set_terminated(self.parent, "FINISHED")

    def _create(self, tags: Mapping[str, str]) -> str:
        with registry_call(self._registry, _EXPECTED), exclusive_registry(self._registry):
            return str(self._client.create_run(self._experiment, tags=dict(tags)).info.run_id)

    def _has(self, run: str) -> bool:
        try:
            with registry_call(self._registry, f"the run {run}"):
                self._client.get_run(run)
        except RegistryError:
            return False
        return True
