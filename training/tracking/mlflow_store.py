"""The MLflow store that runs and models go to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from scheduler.model.mlflow_client import load_mlflow, sqlite_file
from scheduler.model.registry_lock import exclusive
from scheduler.model.sqlite_registry import prepare_database

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tells MLflow's pages that the experiment trains models, and is none of language models."""

_URIS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


@contextmanager
def exclusive_registry(registry: str) -> Iterator[None]:
    """Keep other processes of fogline from writing to a registry that is a SQLite file, and make it on first use.

    SQLite lets one process write at a time, and fails where two that read want to write next. Registries of other
    kinds serve several processes by themselves.

    Raises
    ------
    RegistryError
        The database is broken, or other processes keep it locked.
    OSError
        Its folder cannot be written.
    """
    file = sqlite_file(registry)
    if file is None:
        yield
        return
    load_mlflow()
    file.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(file):
        prepare_database(file, create=True)
        yield


@contextmanager
def store(registry: str) -> Iterator[ModuleType]:
    """Give mlflow with its process-wide URIs on the registry; afterwards they are as they were.

    Raises what `exclusive_registry` does.
    """
    mlflow = load_mlflow()
    with exclusive_registry(registry), _uris(mlflow, registry):
        yield mlflow


@contextmanager
def _uris(mlflow: ModuleType, registry: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _URIS}  # mlflow's setters write these too
    mlflow.set_tracking_uri(registry)
    mlflow.set_registry_uri(registry)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*An input example was not provided")
            yield
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
    try:
        return mlflow.create_experiment(name, artifact_location=location, tags=_KIND)
    except mlflow.MlflowException as error:  # of a server, where another process was faster
        found = mlflow.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return found.experiment_id
