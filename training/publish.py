"""From an artifact to a registered version: one tracked run, one model version, and who may be champion."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from scheduler.artifact import Manifest, check_files
from scheduler.registry import asking, connect, load_mlflow, locate, sqlite_file

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

__all__ = [
    "CHAMPION",
    "Comparison",
    "DataSet",
    "Promotion",
    "Registered",
    "champion",
    "experiment",
    "promote",
    "store",
    "track",
]

CHAMPION = "champion"

_URIS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")

REQUIREMENTS = ("fogline", "msgspec", "numba", "numpy")
"""What a logged model needs; stated, because mlflow takes tens of seconds to find it out."""


class DataSet(NamedTuple):
    """Which telemetry a model was trained on.

    Attributes
    ----------
    name, source
        What it is called, and where it lay.
    digest
        A hash of its content.
    rows
        Rows that were used.
    """

    name: str
    source: str
    digest: str
    rows: int


class Registered(NamedTuple):
    """A registered model version.

    Attributes
    ----------
    name, version
        The registry's name and number of it, as in ``models:/NAME/VERSION``.
    run_id
        The tracked run.
    """

    name: str
    version: str
    run_id: str

    @property
    def uri(self) -> str:
        """What `Model.load` takes."""
        return f"models:/{self.name}/{self.version}"


class Comparison(NamedTuple):
    """One figure of the same evaluation for the new version and for the champion.

    Attributes
    ----------
    metric
        What was measured, such as ``mean cost``.
    challenger, champion
        The figures of the new version and of the champion.
    lower_is_better
        Which way is better.
    """

    metric: str
    challenger: float
    champion: float
    lower_is_better: bool = True

    @property
    def better(self) -> bool:
        """Whether the new version beats the champion; never true of NaN."""
        gain = self.champion - self.challenger
        return (gain if self.lower_is_better else -gain) > 0


class Promotion(NamedTuple):
    """Whether the alias moved, and why or why not."""

    moved: bool
    reason: str


def track(  # noqa: PLR0913 - the parts of a run
    artifact: str | Path,
    *,
    params: Mapping[str, object],
    data: DataSet,
    plots: Sequence[Path] = (),
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    registry: str | None = None,
) -> Registered:
    """Log a run with an artifact as its model, and register the model under the artifact's name.

    The registry's version is its next number; the artifact's own stands in the tag ``artifact_version``.

    Parameters
    ----------
    artifact
        A folder that `training.artifact.write_artifact` wrote.
    params
        How it was trained.
    data
        On what.
    plots
        Pictures to keep with the run.
    tags
        More tags for run and version.
    metrics
        Figures besides those in the artifact's manifest; those that are not finite are left out.
    registry
        MLflow URI, for tracking and registry alike; by default a SQLite file and a folder under ``.fogline``
        in the working directory.

    Returns
    -------
    Registered

    Raises
    ------
    ArtifactError
        The artifact is damaged.
    RegistryError
        The registry cannot be reached.
    """
    artifact, registry = Path(artifact), locate(registry)
    manifest = check_files(artifact)
    figures = {name: value for name, value in {**manifest.metrics, **(metrics or {})}.items() if _is_finite(value)}
    labels = {
        "artifact_version": manifest.version,
        "artifact_digest": manifest.digest,
        "fingerprint": manifest.fingerprint,
        "data_digest": data.digest,
        **(tags or {}),
    }
    with store(registry) as mlflow, asking(registry, "an MLflow server that takes a run"):
        with mlflow.start_run(experiment_id=experiment(mlflow, manifest.name, registry), tags=labels) as run:
            mlflow.log_params({**_flat("window", manifest.window), **params})
            mlflow.log_metrics(figures)
            _log_data(mlflow, run.info.run_id, data, manifest)
            for plot in plots:
                mlflow.log_artifact(str(plot), "plots")
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module="scheduler.pyfunc",
                data_path=str(artifact),
                pip_requirements=_requirements(),
                signature=_signature(manifest),
            )
        version = _register(mlflow, manifest.name, info, labels)
    return Registered(manifest.name, version, run.info.run_id)


def champion(name: str, registry: str | None = None) -> str | None:
    """Return the number of the version in charge, None where there is none yet.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such model.
    """
    registry = locate(registry)
    client = connect(registry)
    with asking(registry, f"the model {name}"):
        found = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if found is None else str(found)


def promote(
    name: str,
    version: str,
    *,
    better: Comparison | None = None,
    obstacle: str = "",
    force: bool = False,
    registry: str | None = None,
) -> Promotion:
    """Give a version the alias ``champion`` if it deserves it, and tag the version with the reason.

    Parameters
    ----------
    name, version
        As `track` returned them.
    better
        Offline evaluation of this version and of the champion on the same requests.
    obstacle
        Why there is none although there is a champion; becomes part of the reason.
    force
        Promote in any case.
    registry
        See `track`.

    Returns
    -------
    Promotion

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such version.
    """
    registry = locate(registry)
    current = champion(name, registry)
    promotion = _judge(version, current, better, obstacle, force=force)
    client = connect(registry)
    with asking(registry, f"models:/{name}/{version}"):
        tags = {"promotion": "moved" if promotion.moved else "kept", "promotion_reason": promotion.reason}
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        if promotion.moved:
            client.set_registered_model_alias(name, CHAMPION, version)
    return promotion


def _judge(version: str, current: str | None, better: Comparison | None, obstacle: str, *, force: bool) -> Promotion:
    if current == version:
        return Promotion(moved=False, reason=f"version {version} is the champion already")
    figures = obstacle or "no comparison was made"
    if better is not None:
        way = "lower" if better.lower_is_better else "higher"
        figures = f"{better.metric} {better.challenger:.6g} against {better.champion:.6g}, {way} is better"
    if current is None:
        return Promotion(moved=True, reason="there was no champion")
    if force:
        return Promotion(moved=True, reason=f"promotion was asked for; version {current} was champion; {figures}")
    if better is not None and better.better:
        return Promotion(moved=True, reason=f"better than version {current}: {figures}")
    if better is None and obstacle:
        return Promotion(moved=False, reason=f"{obstacle}; use --promote")
    return Promotion(moved=False, reason=f"not better than version {current}: {figures}")


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


def _register(mlflow: ModuleType, name: str, info: ModelInfo, labels: Mapping[str, str]) -> str:
    """Make a logged model the next version of its name, which is made on first use."""
    client = mlflow.MlflowClient()
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name)
    made = client.create_model_version(
        name, info.model_uri, run_id=info.run_id, tags=dict(labels), model_id=info.model_id
    )
    return str(made.version)


def _log_data(mlflow: ModuleType, run_id: str, data: DataSet, manifest: Manifest) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {"num_rows": data.rows, "window": manifest.window}
    entity = Dataset(
        name=data.name,
        digest=data.digest[:36],  # what mlflow's databases hold
        source_type="local",
        source=msgspec.json.encode({"uri": data.source}).decode(),
        profile=msgspec.json.encode(profile).decode(),
    )
    tag = InputTag(key="mlflow.data.context", value="training")
    mlflow.MlflowClient().log_inputs(run_id, [DatasetInput(entity, [tag])])


def _signature(manifest: Manifest) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    # Declared as double, a column of int64 would be refused; `scheduler.pyfunc` checks for numbers itself.
    any_number = AnyType()  # type: ignore[no-untyped-call]
    return ModelSignature(
        inputs=Schema([ColSpec(any_number, name) for name in manifest.features]),
        outputs=Schema([ColSpec(DataType.double, name) for name in manifest.heads]),
    )


def _requirements() -> list[str]:
    found = []
    for name in REQUIREMENTS:
        try:
            found.append(f"{name}=={installed(name)}")
        except PackageNotFoundError:  # a checkout that was never installed
            found.append(name)
    return found


def _flat(prefix: str, values: Mapping[str, object]) -> dict[str, object]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
