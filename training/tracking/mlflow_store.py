"""The MLflow store that runs and models go to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from scheduler.model.mlflow_client import load_mlflow, sqlite_file

_URIS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


@contextmanager
def store(registry: str) -> Iterator[ModuleType]:
    """Give mlflow with its process-wide URIs on the registry; afterwards they are as they were."""
    file = sqlite_file(registry)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    mlflow = load_mlflow()
    before = {name: os.environ.get(name) for name in _URIS}  # mlflow's setters write these too
    mlflow.set_tracking_uri(registry)
    mlflow.set_registry_uri(registry)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*An input example was not provided")
            yield mlflow
    finally:
        mlflow.set_tracking_uri(before["MLFLOW_TRACKING_URI"])
        mlflow.set_registry_uri(before["MLFLOW_REGISTRY_URI"])
        if before["MLFLOW_REGISTRY_URI"] is None:
            os.environ.pop("MLFLOW_REGISTRY_URI", None)


def experiment(mlflow: ModuleType, name: str, registry: str) -> str:
    """Return the id of a model's experiment; that of a SQLite registry has its files beside the database."""
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    file = sqlite_file(registry)
    location = None if file is None else file.with_name("artifacts").as_uri()
    return mlflow.create_experiment(name, artifact_location=location)
