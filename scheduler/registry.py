"""Fetching models from an MLflow registry into a local cache.

mlflow is imported when a registry is asked for and not before. Without a URI the registry is a SQLite file
and a folder under ``.fogline`` in the working directory, no server.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from scheduler.artifact import MANIFEST, check_files
from scheduler.errors import ArtifactError, RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "CACHE",
    "DEFAULT",
    "Fetched",
    "ModelUri",
    "RegistryDownError",
    "asking",
    "connect",
    "fetch",
    "hidden",
    "load_mlflow",
    "locate",
    "registry_uri",
    "sqlite_file",
]

DEFAULT: Final = "sqlite:///.fogline/mlflow.db"
CACHE: Final = Path(".fogline/cache")

KEPT: Final = 8
"""Copies of a model kept in the cache: the champion, its challengers and some to roll back to."""

_PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""By default mlflow retries for minutes; a scheduler has a last good copy and wants to know now."""

_SILENCE: Final = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
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


class RegistryDownError(RegistryError):
    """The registry did not answer, as opposed to: it has no such model."""


def registry_uri(option: str | None, environ: Mapping[str, str]) -> str:
    """Return which registry to use: an option, what MLflow's own variables say, or the default.

    For command lines, which pass ``os.environ``; nothing else in the library looks at these variables.
    """
    return option or environ.get("MLFLOW_REGISTRY_URI") or environ.get("MLFLOW_TRACKING_URI") or DEFAULT


def locate(registry: str | None) -> str:
    """Return a registry's URI, the default for None; the path of a SQLite file becomes absolute.

    mlflow keeps its connections by URI: a relative path would go on meaning the file of an earlier directory.
    """
    file = sqlite_file(registry or DEFAULT)
    return registry or DEFAULT if file is None else f"sqlite:///{file}"


def sqlite_file(registry: str) -> Path | None:
    """Return the file of a registry that is one, None for any other."""
    path = registry.removeprefix("sqlite:///")
    return None if path == registry else Path(path).resolve()


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
    model, registry, cache = ModelUri.parse(uri), locate(registry), cache or CACHE
    note = cache / f"{str(model).removeprefix('models:/').replace('/', '-')}.{_short(registry)}.last"
    try:
        return _fetch(model, registry, cache, note)
    except RegistryDownError as error:
        kept = _last_good(cache, note) if last_good else None
        if kept is None:
            raise
        return kept._replace(fresh=False, problem=str(error))


def connect(registry: str) -> MlflowClient:
    """Return a client of an existing registry; raise `RegistryError` where there is none."""
    file = sqlite_file(registry)
    if file is not None and not file.is_file():
        _down(registry, "a database", "no such file; train a model or name another registry")
    mlflow = load_mlflow()
    with asking(registry, "an MLflow registry"):
        return mlflow.MlflowClient(tracking_uri=registry, registry_uri=registry)


def load_mlflow() -> ModuleType:
    """Import mlflow, its usage reports off unless the user has decided on them.

    Raises
    ------
    RegistryError
        It is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about its own type hints
            import mlflow.artifacts
            import mlflow.pyfunc
    except ImportError as error:
        message = f"registry: expected mlflow to be installed, as by fogline[registry], found {error}"
        raise RegistryError(message) from error
    return mlflow


def hidden(registry: str) -> str:
    """Return a registry's URI without the password in it."""
    return re.sub(r"//[^/@]*@", "//***@", registry)


@contextmanager
def asking(registry: str, expected: str) -> Iterator[None]:
    """Ask a registry without patience or chatter; whatever goes wrong becomes a `RegistryError`."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    added = {key: value for key, value in _PATIENCE.items() if key not in os.environ}
    added.update(_SILENCE)
    before = {key: os.environ.get(key) for key in added}
    os.environ.update(added)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except (RegistryError, ArtifactError):
        raise
    except Exception as error:  # mlflow lets through what its store and transport raise
        code = getattr(error, "error_code", "")
        found = str(error).strip().partition("\n")[0] or type(error).__name__
        if code in _ABSENT:
            message = f"registry {hidden(registry)}: expected {expected}, found none ({found})"
            raise RegistryError(message) from error
        _down(registry, expected, f"no answer ({hidden(found)})", error)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _down(registry: str, expected: str, found: str, cause: Exception | None = None) -> NoReturn:
    message = f"registry {hidden(registry)}: expected {expected}, found {found}"
    raise RegistryDownError(message) from cause


def _fetch(model: ModelUri, registry: str, cache: Path, note: Path) -> Fetched:
    client = connect(registry)
    with asking(registry, str(model)):
        if model.alias:
            found = client.get_model_version_by_alias(model.name, model.alias)
        else:
            found = client.get_model_version(model.name, model.version)
    # A registry that was made anew counts from 1 again: the name alone would find the copy of another model.
    stamp = _short(f"{registry} {found.creation_timestamp}")
    folder = cache / f"{model.name}-{found.version}-{stamp}"
    if not _is_sound(folder):
        with asking(registry, f"the place of {model}"):
            place = client.get_model_version_download_uri(model.name, found.version)
        _download(f"models:/{model.name}/{found.version}", place, registry, folder)
    _remember(note, folder)
    _prune(cache, model.name)
    return Fetched(folder, str(found.version))


def _download(uri: str, place: str, registry: str, folder: Path) -> None:
    """Download beside the target, check the files, and rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder.parent) as stage:
        with asking(registry, f"the files of {uri} at {hidden(place)}"):
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
