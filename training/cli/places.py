"""Registries and files of a call, checked before its work begins."""

from __future__ import annotations

import os
import ssl
from http.client import HTTPException
from importlib.metadata import entry_points
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from scheduler.errors import InputError, RegistryDownError
from scheduler.model.mlflow_client import connect, redact_password, registry_uri, sqlite_file
from scheduler.runtime.durable import check_writable

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "file", "databricks")
"""What MLflow tracks runs with, besides what plugins add, and a folder where it still takes one."""

_PATIENCE_S = 10.0
"""As long as MLflow's own client waits."""


def registry_of(option: str | None) -> str:
    """Return the registry that a call means.

    Raises
    ------
    InputError
        If its URI is of no kind that MLflow knows.
    """
    uri = registry_uri(option, os.environ)
    scheme = uri.partition(":")[0].partition("+")[0] if ":" in uri else ""
    if scheme and scheme not in SCHEMES and scheme not in entry_points(group="mlflow.tracking_store").names:
        expected = f"expected a URI that begins with {', '.join(SCHEMES)}"
        raise InputError(f"registry {redact_password(uri)}: {expected}, found {scheme!r}")
    return uri


def registry_to_write(option: str | None) -> str:
    """Return the registry that a call means, once it is likely that it takes a run.

    Raises
    ------
    InputError
        As `registry_of`.
    RegistryDownError
        If it is a server that does not answer.
    RegistryError
        If it is a folder, which MLflow takes no more unless it is told to.
    OSError
        If it is a file that cannot be written.
    """
    uri = registry_of(option)
    file = sqlite_file(uri)
    if file is not None:
        check_writable(file, "the registry")
    elif uri.startswith(("http:", "https:")):
        _check_answer(uri)
    elif ":" not in uri or uri.startswith("file:"):
        connect(uri)
    return uri


def check_folder(path: Path, what: str) -> None:
    """Raise an error if files cannot be made in a folder, which may be missing.

    Raises
    ------
    InputError
        If there is a file in its place.
    OSError
        If nothing can be made there.
    """
    if path.is_file():
        raise InputError(f"{path}: expected a folder, found a file")
    check_writable(path, what, is_folder=True)


def _check_answer(uri: str) -> None:
    """Raise `RegistryDownError` where no server is; what to make of an answer is left to MLflow's client."""
    try:
        with urlopen(Request(_without_user(uri), method="HEAD"), timeout=_PATIENCE_S):  # noqa: S310 - http or https
            pass
    except HTTPError:
        return
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLError):
            return
        found = f"no answer ({getattr(reason, 'strerror', None) or reason})"
        expected = "expected an MLflow server that takes a run"
        raise RegistryDownError(f"registry {redact_password(uri)}: {expected}, found {found}") from error


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
