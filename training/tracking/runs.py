"""From an artifact to a registered version: one tracked run and one model version."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from scheduler.model.artifact import check_files, read_artifact
from scheduler.model.manifest import Contents, Manifest
from scheduler.model.mlflow_client import load_mlflow, registry_call, resolve_uri
from training.tracking.mlflow_store import experiment, store
from training.tracking.signature import example, signature
from training.tracking.versions import UNDECIDED, Promotion, create_version, find_version, keep_version

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
    promotion
        What was decided about the champion as it was registered.
    known
        Whether this very model, of the same data, had been registered before.
    """

    name: str
    version: str
    run_id: str
    promotion: Promotion = UNDECIDED
    known: bool = False

    @property
    def uri(self) -> str:
        """What `Model.load` takes."""
        return f"models:/{self.name}/{self.version}"


def track(  # noqa: PLR0913 - the parts of a run
    artifact: str | Path,
    *,
    params: Mapping[str, object],
    data: DataSet,
    plots: Sequence[Path] = (),
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    registry: str | None = None,
    name: str | None = None,
    decide: Callable[[str | None], Promotion] = lambda _: UNDECIDED,
) -> Registered:
    """Log a run with an artifact as its model, and register the model under the artifact's name.

    The registry's version is its next number; the artifact's own stands in the tag ``artifact_version``. The version is
    registered last, with all its tags, and gets the alias champion if that was decided; if that fails it is taken back.
    An artifact that was registered before, trained on the same data, stays the version that it is: nothing is made.

    Parameters
    ----------
    artifact
        A folder that `training.artifacts.write.write_artifact` wrote.
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
    name
        The registered model's name; by default the artifact's.
    decide
        Called with the champion's version, None where there is none; says whether the new version becomes champion.
        By default that is left to `training.pipeline.promotion.promote`.

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
    artifact, registry = Path(artifact), resolve_uri(registry)
    manifest = check_files(artifact)
    load_mlflow()  # before it is told to be quiet, as it sets its own logging up when it is imported
    contents, name = read_artifact(artifact), name or manifest.name
    figures = {name: value for name, value in {**manifest.metrics, **(metrics or {})}.items() if _is_finite(value)}
    labels = {
        "artifact_version": manifest.version,
        "artifact_digest": manifest.digest,
        "fingerprint": manifest.fingerprint,
        "data_digest": data.digest,
        **(tags or {}),
    }
    text = describe(contents, data)
    with registry_call(registry, "an MLflow server that takes a run"), store(registry) as mlflow:
        before = find_version(mlflow.MlflowClient(), name, labels)
        if before is not None:
            promotion = keep_version(mlflow.MlflowClient(), name, str(before.version), decide)
            return Registered(name, str(before.version), str(before.run_id), promotion, known=True)
        with mlflow.start_run(
            experiment_id=experiment(mlflow, name, registry),
            run_name=f"{name}-{manifest.version}",
            description=text,
            tags=labels,
        ) as run:
            mlflow.log_params({**_flat("window", manifest.window), **_room(manifest), **params})
            mlflow.log_metrics(figures)
            _log_data(mlflow, run.info.run_id, data, manifest)
            for plot in plots:
                mlflow.log_artifact(str(plot), "plots")
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module="scheduler.model.pyfunc",
                data_path=str(artifact),
                pip_requirements=_requirements(),
                signature=signature(contents),
                input_example=example(contents),
            )
        version, promotion = create_version(mlflow.MlflowClient(), name, info, labels, decide, text)
    return Registered(name, version, run.info.run_id, promotion)


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


def describe(contents: Contents, data: DataSet) -> str:
    """Return what a run and a version are, in Markdown: what the spec is about, the data, the window, the heads."""
    manifest, spec = contents.manifest, contents.spec
    window = manifest.window
    slices = f"slices {window['first_slice']} to {window['last_slice']}" if "last_slice" in window else "all slices"
    lines = [
        f"**{manifest.name}-{manifest.version}**{f': {spec.about}' if spec.about else ''}",
        f"Trained on {data.rows:,} rows of `{data.name}` ({data.digest[:12]}), {slices}.",
        f"{len(spec.features)} features; heads: {', '.join(manifest.heads)}.",
        *([f"Settings: {spec.training.tuned}."] if spec.training.tuned else []),
    ]
    return "\n\n".join(lines)


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


def _room(manifest: Manifest) -> dict[str, object]:
    """Return how large each table of running statistics was, and the share of keys that it had no room for."""
    tables = manifest.tables.items()
    return {f"{name}.capacity": use.capacity for name, use in tables} | {
        f"{name}.evicted_share": use.share for name, use in tables
    }
