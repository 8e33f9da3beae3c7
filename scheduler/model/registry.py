"""Fetching models from an MLflow registry into a local cache.

mlflow is imported when a registry is asked for and not before. Without a URI the registry is a SQLite file
and a folder under ``.fogline`` in the working directory, no server.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from scheduler.errors import RegistryDownError, RegistryError, RegistryWarning, shown
from scheduler.model import model_cache
from scheduler.model.download import download
from scheduler.model.mlflow_client import connect, registry_call, resolve_uri
from scheduler.model.model_cache import cache_place

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
        match = _URI.fullmatch(uri) if isinstance(uri, str) else None
        if match is None:
            message = f"model: expected models:/NAME@ALIAS or models:/NAME/VERSION, found {shown(uri)}"
            raise RegistryError(message)
        return cls(match["name"], match["alias"] or "", match["version"] or "")

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")


def load_folder(uri: str, registry: str | None, cache: str | Path | None, *, last_good: bool) -> Path:
    """Return the folder of a registered model, as `fetch`, and warn where it is the last good copy.

    Raises
    ------
    RegistryError, ArtifactError
        As `fetch`.
    """
    found = fetch(uri, registry, cache=None if cache is None else Path(cache), last_good=last_good)
    if not found.fresh:
        message = (
            f"{uri}: expected an answer of the registry, found none ({found.problem}); "
            f"version {found.version} serves, the last good copy, in {found.folder}"
        )
        warnings.warn(message, RegistryWarning, stacklevel=3)  # the caller of Model.load
    return found.folder


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
        Where copies are kept, one folder a version; by default ``.fogline/cache`` in the working directory, or where
        that cannot be written another folder; see `cache_place`.
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
    model, registry, cache = ModelUri.parse(uri), resolve_uri(registry), cache_place(cache)
    name = f"{str(model).removeprefix('models:/').replace('/', '-')}.{_short(registry)}.last"
    try:
        return _fetch(model, registry, cache, cache / name)
    except RegistryDownError as error:
        # A cache that came with an image can be read where it cannot be written.
        kept = (model_cache.last_good(place / name) for place in dict.fromkeys((cache, model_cache.CACHE)))
        folder = next((folder for folder in kept if folder is not None), None) if last_good else None
        if folder is None:
            raise
        return Fetched(folder, folder.name.split("-")[-2], fresh=False, problem=str(error))


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
    if not model_cache.is_sound(folder):
        model_cache.check_writable(cache)
        with registry_call(registry, f"the place of {model}"):
            place = client.get_model_version_download_uri(model.name, found.version)
        download(f"models:/{model.name}/{found.version}", place, registry, folder)
    model_cache.remember(note, folder)
    model_cache.prune(cache, model.name)
    return Fetched(folder, str(found.version))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
