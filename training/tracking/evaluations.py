"""Figures and pages of an evaluation, in the run of the model version that was evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.model.artifact import check_files
from scheduler.model.mlflow_client import connect, registry_call, resolve_uri, sqlite_file
from scheduler.model.registry import ModelUri
from training.tracking.mlflow_store import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def log_evaluation(
    source: str | Path,
    *,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    documents: Mapping[str, str | Path],
    registry: str | None = None,
) -> str | None:
    """Log an evaluation to the run of a model's version, and its main figures as tags of the version.

    Parameters
    ----------
    source
        ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, or the folder of an artifact that may be registered.
    metrics
        Figures by name; those that are not finite are left out.
    tags
        Of the version.
    documents
        Files for the run by their place in it: a path is copied, a text is written.
    registry
        As for `training.tracking.runs.track`.

    Returns
    -------
    str or None
        The URI of the version; None for a folder that no registry knows.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such version.
    """
    registry = resolve_uri(registry)
    file = sqlite_file(registry)
    if not str(source).startswith("models:") and file is not None and not file.is_file():
        return None
    client = connect(registry)
    with registry_call(registry, str(source)), store(registry) as mlflow:
        version = find(client, source)
        if version is None or version.run_id is None:
            return None
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        mlflow.log_metrics(
            finite, run_id=version.run_id, model_id=version.model_id or _model_of(client, version.run_id)
        )
        for place, document in documents.items():
            folder, _, name = place.rpartition("/")
            if isinstance(document, Path):
                client.log_artifact(version.run_id, str(document), folder or None)
            else:
                client.log_text(version.run_id, document, f"{folder}/{name}" if folder else name)
        for key, value in tags.items():
            client.set_model_version_tag(version.name, version.version, key, value)
        return f"models:/{version.name}/{version.version}"


def _model_of(client: MlflowClient, run_id: str) -> str | None:
    """Return the id of the model that a run made, which not every store keeps with the version."""
    outputs = client.get_run(run_id).outputs
    return outputs.model_outputs[0].model_id if outputs is not None and outputs.model_outputs else None


def find(client: MlflowClient, source: str | Path) -> ModelVersion | None:
    """Return the version that a URI means, or that is the artifact of a folder; None for a folder that is none."""
    if str(source).startswith("models:"):
        uri = ModelUri.parse(str(source))
        if uri.alias:
            return client.get_model_version_by_alias(uri.name, uri.alias)
        return client.get_model_version(uri.name, uri.version)
    manifest = check_files(Path(source))
    found = client.search_model_versions(f"name = '{manifest.name}' and tags.artifact_digest = '{manifest.digest}'")
    return max(found, key=lambda one: int(one.version), default=None)
