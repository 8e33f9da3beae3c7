"""Bring an artifact's files from where a registry says they are, if place, files and sizes are allowed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

from scheduler.errors import ArtifactError, RegistryError
from scheduler.model.artifact import MAX_ARTIFACT_BYTES, MAX_MANIFEST_BYTES, check_files
from scheduler.model.manifest import GOLDEN, MANIFEST, MEANS, SPEC
from scheduler.model.mlflow_client import load_mlflow, redact_password, registry_call
from scheduler.model.model_cache import is_sound
from scheduler.runtime.durable import sync
from scheduler.runtime.file_lock import locked
from scheduler.spec.bounds import MOST

STORES: Final = ("s3", "gs", "wasbs", "abfss", "dbfs", "hdfs", "viewfs")
"""Object stores and shared file systems: the process reads them under its own account, from which their owner may take
what a registry must not reach."""

SERVED: Final = "mlflow-artifacts"
"""Files that an MLflow server hands out itself."""

HTTP: Final = ("http", "https")
"""Allowed from the registry's own host alone: MLflow sends its credentials to whatever host an address names, and a
registry could have a process call services inside a network."""

LOCAL: Final = ("", "file")
"""A path of this machine: allowed where the registry itself is a file or a database. A server elsewhere has no say in
which files here are read."""

SERVERS: Final = (*HTTP, "databricks", "uc", "databricks-uc")
"""Schemes of registries that are servers; others are files and databases. Databricks goes by its name alone too."""

MOST_FILES: Final = 3 * MOST["heads"] + 4
"""Files of an artifact: three for each head, manifest, spec, golden rows and means of training."""

MOST_LISTED, MOST_DEPTH = 1_000, 5
"""Entries looked through for an artifact, and how deep: mlflow puts it into two folders, beside files of its own."""

LOCK: Final = ".lock"
"""A file of the cache, held while a copy is put into its place; NFS locks nothing that is not open for writing."""

_OF_A_HEAD = re.compile(r"\w[\w.-]*\.(?:forest\.npz|txt|onnx)", re.ASCII)


class Entry(NamedTuple):
    """A file of a registered model: its path below the model's place, and its bytes, None where no store tells."""

    path: str
    size: int | None


def download(uri: str, place: str, registry: str, folder: Path) -> None:
    """Download an artifact beside its target, check its files, and rename it.

    Parameters
    ----------
    uri
        What it is called in messages.
    place
        Where the registry says that the files are.
    registry
        MLflow URI.
    folder
        Where to put it; an unsound copy there is replaced, a sound one that another process brought meanwhile stays.

    Raises
    ------
    RegistryError
        If the place is not allowed, or does not answer. Nothing is fetched.
    ArtifactError
        If the files there are not those of one artifact, are too large, or arrive damaged.
    """
    shown = redact_password(place)
    check_place(uri, place, registry)
    with registry_call(registry, f"the files of {uri} at {shown}"):
        files = _repository(place, registry)
        entries = list(_listed(uri, files))
    if not entries:
        message = f"registry {redact_password(registry)}: expected the files of {uri} at {shown}, found none"
        raise RegistryError(message)
    inside = _artifact_folder(uri, entries)
    check_listing(uri, [entry for entry in entries if entry.path.rpartition("/")[0] == inside])
    _check_regular(uri, place, inside)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder.parent) as stage:
        with registry_call(registry, f"the files of {uri} at {shown}"):
            arrived = Path(files.download_artifacts(inside, stage))
        check_files(arrived)
        _put(arrived, folder, Path(stage) / ".replaced")


def _put(arrived: Path, folder: Path, aside: Path) -> None:
    """Move a checked copy to its place, unless another process has brought a sound one, which may be in use by now."""
    with locked(folder.parent / LOCK):  # between the look and the move nobody else may bring one
        if is_sound(folder):
            return
        with suppress(FileNotFoundError):
            folder.rename(aside)  # an unsound copy, which goes with the stage
        for path in arrived.iterdir():
            sync(path)
        arrived.rename(folder)
        sync(folder.parent)


def check_place(uri: str, place: str, registry: str) -> None:
    """Refuse a place that a registry may not send a process to.

    Raises
    ------
    RegistryError
        If its scheme is not allowed, or not from this registry.
    """
    (scheme, host), (own_scheme, own_host) = _address(place), _address(registry)
    if own_scheme in SERVERS or registry in SERVERS:
        allowed = scheme in STORES or (scheme == SERVED and host in ("", own_host))
        allowed = allowed or (scheme in HTTP and host == own_host)
        kinds = f"{', '.join((SERVED, *HTTP))} on its own host, {', '.join(STORES)}"
    else:
        allowed = scheme in STORES or (scheme in LOCAL and host in ("", "localhost"))
        kinds = f"a path, {', '.join(STORES)}"
    if not allowed:
        expected = f"the files of {uri} at an address of these kinds: {kinds}"
        message = f"registry {redact_password(registry)}: expected {expected}; found {redact_password(place)}"
        raise RegistryError(message)


def check_listing(uri: str, entries: Iterable[Entry]) -> None:
    """Refuse files that are not those of an artifact, or more bytes than one may have, before any is fetched.

    Raises
    ------
    ArtifactError
        Naming the file, or the bytes.
    """
    total, n_files = 0, 0
    for path, size in entries:
        name = path.rpartition("/")[2]
        if name not in (MANIFEST, SPEC, GOLDEN, MEANS) and _OF_A_HEAD.fullmatch(name) is None:
            _refuse(uri, "the files of an artifact alone", name)
        if size is None:
            _refuse(uri, f"a size of {name}", "none")
        if name == MANIFEST and size > MAX_MANIFEST_BYTES:
            _refuse(uri, f"at most {MAX_MANIFEST_BYTES:,} bytes of {name}", f"{size:,}")
        total, n_files = total + size, n_files + 1
    if n_files > MOST_FILES:
        _refuse(uri, f"at most {MOST_FILES} files", n_files)
    if total > MAX_ARTIFACT_BYTES + MAX_MANIFEST_BYTES:
        _refuse(uri, f"at most {MAX_ARTIFACT_BYTES + MAX_MANIFEST_BYTES:,} bytes in all", f"{total:,}")


def _refuse(uri: str, expected: str, found: object) -> NoReturn:
    message = f"{uri}: expected {expected}, found {found}"
    raise ArtifactError(message)


def _address(uri: str) -> tuple[str, str]:
    """Return scheme and host of a URI; a path has neither."""
    parts = urlsplit(uri)
    return parts.scheme.lower(), (parts.hostname or "").lower()


def _repository(place: str, registry: str) -> Any:  # noqa: ANN401 - a class of mlflow's for each scheme
    load_mlflow()
    registry_of_schemes = import_module("mlflow.store.artifact.artifact_repository_registry")
    return registry_of_schemes.get_artifact_repository(place, tracking_uri=registry)


def _listed(uri: str, files: Any) -> Iterator[Entry]:  # noqa: ANN401
    """Yield all files below a place, folder by folder; raise `ArtifactError` where there are too many."""
    waiting: list[tuple[str | None, int]] = [(None, 0)]
    n_listed = 0
    while waiting:
        folder, depth = waiting.pop(0)
        for entry in files.list_artifacts(folder):
            n_listed += 1
            if n_listed > MOST_LISTED or depth > MOST_DEPTH:
                _refuse(uri, f"one {MANIFEST} among {MOST_LISTED:,} files and folders, {MOST_DEPTH} deep", "more")
            if entry.is_dir:
                waiting.append((entry.path, depth + 1))
            else:
                yield Entry(entry.path, entry.file_size)


def _artifact_folder(uri: str, entries: list[Entry]) -> str:
    """Return the path of the folder that holds the one manifest."""
    manifests = [path for path, _ in entries if path.rpartition("/")[2] == MANIFEST]
    if len(manifests) != 1:
        _refuse(uri, f"one {MANIFEST} among its files", len(manifests))
    return manifests[0].rpartition("/")[0]


def _check_regular(uri: str, place: str, inside: str) -> None:
    """Refuse a local folder with what is no regular file: a device has no size and no end."""
    if _address(place)[0] not in LOCAL:
        return
    for path in (Path(unquote(urlsplit(place).path)) / inside).iterdir():
        if not path.is_file():
            _refuse(uri, f"{path.name} as a regular file", "something else")
