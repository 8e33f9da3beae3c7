"""Registries for tests: a SQLite file whose tables were made once, and an artifact registered in it."""

import shutil
from functools import cache
from pathlib import Path

from tests.artifacts import write_tiny
from training.tracking.runs import DataSet, Registered, track

DATA = DataSet(name="tiny", source="/data/tiny", digest="d" * 64, rows=2_000)


@cache
def _migrated(folder: Path) -> Path:
    """Making mlflow's tables takes seconds; every test copies the file instead."""
    from mlflow import MlflowClient  # noqa: PLC0415

    folder.mkdir()
    path = folder / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}", registry_uri=f"sqlite:///{path}").search_registered_models()
    return path


def new_registry(base: Path, folder: Path) -> str:
    """Return the URI of an empty registry in `folder`; `base` is the same for all tests of a run."""
    folder.mkdir(parents=True)
    shutil.copy(_migrated(base / "migrated"), folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


def register(registry: str, folder: Path, *, seed: int = 0, **changes: object) -> Registered:
    """Write the tiny artifact and register it; another seed makes another model."""
    parts = {"params": {"rounds": 10}, "data": DATA, "registry": registry}
    return track(write_tiny(folder, seed=seed), **(parts | changes))
