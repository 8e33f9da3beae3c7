"""Fetching models from an MLflow registry into a local cache.

mlflow is imported when a registry is asked for and not before. Without a URI the registry is a SQLite file
and a folder under ``.fogline`` in the working directory, no server.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from scheduler.errors import ArtifactError, RegistryDownError, RegistryError
from scheduler.model.artifact import check_files
from scheduler.model.manifest import MANIFEST
from scheduler.model.mlflow_client import connect, load_mlflow, redact_password, registry_call, resolve_uri

CACHE: Final = Path(".fogline/cache")

KEPT: Final = 8
"""Copies of a model kept in the cache: the champion, its challengers and some to roll back to."""

_URI = re.compile(r"models:/(?P<name>\w[\w.-]*)(?:@(?P<alias>\w[\w.-]*)|/(?P<version>\d+))", re.ASCII)


class Fetched(NamedTuple):
    """A model in the cache.

    Attributes
    ----------
    folder
        The artifact, every file's hash checked.
    version
        The registry's number of it.
    fresh
        False where the registry could not be asked and this is the last good copy.
    problem
        Why it could not be asked; empty where it could.
    """

    folder: Path
    version: str
    fresh: bool = True
    problem: str = ""


class ModelUri(NamedTuple):
    """``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; alias or version is empty."""

    name: str
    alias: str
    version: str

    @classmethod
    def parse(cls, uri: str) -> ModelUri:
        """Read a URI; raise `RegistryError` on anything else."""
        match = _URI.fullmatch(uri)
        if match is None:
            message = f"model: expected models:/NAME@ALIAS or models:/NAME/VERSION, found {uri!r}"
            raise RegistryError(message)
        return cls(match["name"], match["alias"] or "", match["version"] or "")

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")


def fetch(
    uri: str,
    registry: str | None = None,
    *,
    cache: Path | None = None,
    last_good: bool = False,
) -> Fetched:
    """Bring a registered model into the cache unless it is there already.

    Parameters
    ----------
    uri
        ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
    registry
        MLflow URI; by default the one under ``.fogline`` in the working directory.
    cache
        Where copies are kept, one folder a version; by default ``.fogline/cache`` in the working directory.
    last_good
        Where the registry does not answer, return what this URI last led to, if a sound copy is there.

    Returns
    -------
    Fetched

    Raises
    ------
    RegistryError
        The registry does not answer, or has no such model, version or alias.
    ArtifactError
        The registered model is no artifact, or arrived damaged.
    """
    model, registry, cache = ModelUri.parse(uri), resolve_uri(registry), cache or CACHE
    note = cache / f"{str(model).removeprefix('models:/').replace('/', '-')}.{_short(registry)}.last"
    try:
        return _fetch(model, registry, cache, note)
    except RegistryDownError as error:
        kept = _last_good(cache, note) if last_good else None
        if kept is None:
            raise
        return kept._replace(fresh=False, problem=str(error))


def _fetch(model: ModelUri, registry: str, cache: Path, note: Path) -> Fetched:
    client = connect(registry)
    with registry_call(registry, str(model)):
        if model.alias:
            found = client.get_model_version_by_alias(model.name, model.alias)
        else:
            found = client.get_model_version(model.name, model.version)
    # A registry that was made anew counts from 1 again: the name alone would find the copy of another model.
    stamp = _short(f"{registry} {found.creation_timestamp}")
    folder = cache / f"{model.name}-{found.version}-{stamp}"
    if not _is_sound(folder):
        with registry_call(registry, f"the place of {model}"):
            place = client.get_model_version_download_uri(model.name, found.version)
        _download(f"models:/{model.name}/{found.version}", place, registry, folder)
    _remember(note, folder)
    _prune(cache, model.name)
    return Fetched(folder, str(found.version))


def _download(uri: str, place: str, registry: str, folder: Path) -> None:
    """Download beside the target, check the files, and rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder.parent) as stage:
        with registry_call(registry, f"the files of {uri} at {redact_password(place)}"):
            load_mlflow().artifacts.download_artifacts(artifact_uri=place, dst_path=stage, tracking_uri=registry)
        manifests = sorted(Path(stage).rglob(MANIFEST))
        if len(manifests) != 1:
            message = f"{uri}: expected one {MANIFEST} among its files, found {len(manifests)}"
            raise ArtifactError(message)
        check_files(manifests[0].parent)
        shutil.rmtree(folder, ignore_errors=True)  # an unsound copy
        manifests[0].parent.rename(folder)


def _is_sound(folder: Path) -> bool:
    try:
        check_files(folder)
    except ArtifactError:
        return False
    return True


def _remember(note: Path, folder: Path) -> None:
    """Write down where a URI led, and that the folder was used."""
    part = note.with_name(f".{note.name}.{os.getpid()}.part")
    part.write_text(folder.name, encoding="utf-8")
    part.replace(note)
    os.utime(folder)


def _last_good(cache: Path, note: Path) -> Fetched | None:
    try:
        folder = cache / Path(note.read_text(encoding="utf-8")).name
    except OSError:
        return None
    return Fetched(folder, folder.name.split("-")[-2]) if _is_sound(folder) else None


def _prune(cache: Path, name: str) -> None:
    """Remove all but the last used copies of a model."""
    pattern = re.compile(rf"{re.escape(name)}-\d+-[0-9a-f]{{8}}")
    used = [(path.stat().st_mtime_ns, path) for path in cache.iterdir() if pattern.fullmatch(path.name)]
    for _, path in sorted(used, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
