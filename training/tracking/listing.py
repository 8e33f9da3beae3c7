"""What a registry holds: models, their versions, figures, windows, and what was promoted when and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from scheduler.errors import InputError, RegistryError
from scheduler.model.mlflow_client import connect, registry_call, resolve_uri
from scheduler.model.registry import ModelUri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_WINDOW = "window."


class VersionInfo(NamedTuple):
    """A version of a registered model.

    Attributes
    ----------
    name, version, aliases
        As in ``models:/NAME/VERSION`` and ``models:/NAME@ALIAS``.
    artifact, created
        Version of the artifact; when it was registered, as a date in UTC.
    promotion, reason, promoted
        What became of the alias champion, why, and when that was decided; empty where it is not known.
    window
        Rows and slices it was trained on.
    metrics
        Figures of training, and of evaluations that were logged.
    evaluated
        On what it was evaluated last; empty if it never was.
    data, run_id, description
        Hash of the telemetry, the tracked run, and what it is.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    artifact: str
    created: str
    promotion: str
    reason: str
    promoted: str
    window: dict[str, str]
    metrics: dict[str, float]
    evaluated: str
    data: str
    run_id: str
    description: str

    @property
    def uri(self) -> str:
        """Return what `Model.load` takes."""
        return f"models:/{self.name}/{self.version}"


def list_versions(registry: str | None = None, name: str | None = None) -> list[VersionInfo]:
    """Return the versions of all registered models, or of one, the newest first.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such model.
    """
    registry = resolve_uri(registry)
    client = connect(registry)
    with registry_call(registry, "registered models"):
        names = [model.name for model in client.search_registered_models()]
        if name is not None and name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise RegistryError(f"model: expected one of {known}, found {name!r}")
        found = [_info(client, v) for n in sorted(names) if name in (None, n) for v in _versions(client, n)]
    return sorted(found, key=lambda one: (one.name, -int(one.version)))


def one_version(source: str, registry: str | None = None) -> VersionInfo:
    """Return a version by ``NAME``, ``NAME/VERSION``, ``NAME@ALIAS`` or a URI of these; a name means its newest.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such version.
    InputError
        If the text is none of these.
    """
    registry, text = resolve_uri(registry), source.removeprefix("models:/")
    if "/" not in text and "@" not in text:
        versions = list_versions(registry, text)
        if not versions:
            raise RegistryError(f"model: expected a version of {text}, found none")
        return versions[0]
    try:
        uri = ModelUri.parse(f"models:/{text}")
    except RegistryError as error:
        message = f"model: expected NAME, NAME/VERSION or NAME@ALIAS, found {text!r}"
        raise InputError(message) from error
    client = connect(registry)
    with registry_call(registry, f"the version {uri}"):
        version = (
            client.get_model_version_by_alias(uri.name, uri.alias)
            if uri.alias
            else client.get_model_version(uri.name, uri.version)
        )
        return _info(client, version)


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    return list(client.search_model_versions(f"name = '{name}'"))


def _info(client: MlflowClient, version: ModelVersion) -> VersionInfo:
    # What a search finds has no aliases.
    whole, run = client.get_model_version(version.name, version.version), _run(client, version)
    params: Mapping[str, str] = run[0]
    tags = whole.tags
    return VersionInfo(
        name=whole.name,
        version=str(whole.version),
        aliases=tuple(sorted(whole.aliases)),
        artifact=tags.get("artifact_version", ""),
        created=datetime.fromtimestamp(whole.creation_timestamp / 1e3, UTC).strftime("%Y-%m-%d %H:%M"),
        promotion=tags.get("promotion", ""),
        reason=tags.get("promotion_reason", ""),
        promoted=tags.get("promotion_time", ""),
        window={key.removeprefix(_WINDOW): value for key, value in params.items() if key.startswith(_WINDOW)},
        metrics=dict(run[1]),
        evaluated=tags.get("evaluated", ""),
        data=tags.get("data_digest", ""),
        run_id=str(whole.run_id or ""),
        description=whole.description or "",
    )


def _run(client: MlflowClient, version: ModelVersion) -> tuple[Mapping[str, str], Mapping[str, float]]:
    """Return parameters and metrics of a version's run; nothing where it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        data = client.get_run(str(version.run_id)).data
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}, {}
    return data.params, data.metrics
