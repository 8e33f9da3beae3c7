"""Reach an MLflow registry: its URI, its client, and named errors where it does not answer."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Final, NoReturn

from scheduler.errors import ArtifactError, RegistryBrokenError, RegistryBusyError, RegistryDownError, RegistryError
from scheduler.model.sqlite_registry import prepare_database
from scheduler.runtime.forks import ForkedLock

if TYPE_CHECKING:
    from mlflow import MlflowClient


DEFAULT: Final = "sqlite:///.fogline/mlflow.db"

_PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""By default mlflow retries for minutes; a scheduler has a last good copy and wants to know now."""

_SILENCE: Final = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class _Settings:
    """Settings of the process that mlflow knows no other way to: lent to it, and taken back after the last call.

    Parameters
    ----------
    defaults, forced
        Environment variables to set unless they are set, and in any case.
    loggers
        Names of loggers that are to speak of errors only.
    """

    def __init__(
        self, defaults: Mapping[str, str], forced: Mapping[str, str] = MappingProxyType({}), loggers: Sequence[str] = ()
    ) -> None:
        self._defaults, self._forced, self._loggers = defaults, forced, loggers
        self._lock, self._users = ForkedLock(), 0
        self._before: dict[str, str | None] = {}
        self._levels: dict[str, int] = {}

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Have the settings made; several threads may, and what was there before comes back with the last."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._make()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._take_back()

    def _make(self) -> None:
        new = {key: value for key, value in self._defaults.items() if key not in os.environ} | dict(self._forced)
        self._before = {key: os.environ.get(key) for key in new}
        self._levels = {name: logging.getLogger(name).level for name in self._loggers}
        os.environ.update(new)
        for name in self._loggers:
            logging.getLogger(name).setLevel(logging.ERROR)

    def _take_back(self) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        for key, value in self._before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


_UNREPORTED: Final = _Settings({"MLFLOW_DISABLE_TELEMETRY": "true"})
_QUIET: Final = _Settings(_PATIENCE, _SILENCE, ("mlflow", "alembic"))

_BROKEN: Final = ("malformed", "file is not a database")
_LOCKED: Final = "database is locked"
"""What SQLite says of a damaged file, and of one that others write to."""

_ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def registry_uri(option: str | None, environ: Mapping[str, str]) -> str:
    """Return which registry to use: an option, what MLflow's own variables say, or the default.

    For command lines, which pass ``os.environ``; nothing else in the library looks at these variables.
    """
    return option or environ.get("MLFLOW_REGISTRY_URI") or environ.get("MLFLOW_TRACKING_URI") or DEFAULT


def resolve_uri(registry: str | None) -> str:
    """Return a registry's URI, the default for None; the path of a SQLite file becomes absolute.

    mlflow keeps its connections by URI: a relative path would go on meaning the file of an earlier directory.
    """
    file = sqlite_file(registry or DEFAULT)
    return registry or DEFAULT if file is None else f"sqlite:///{file}"


def sqlite_file(registry: str) -> Path | None:
    """Return the file of a registry that is one, None for any other."""
    path = registry.removeprefix("sqlite:///")
    return None if path == registry else Path(path).resolve()


def connect(registry: str) -> MlflowClient:
    """Return a client of an existing registry; raise `RegistryError` where there is none or it is broken."""
    file = sqlite_file(registry)
    if file is not None and not file.is_file():
        _down(registry, "a database", "no such file; train a model or name another registry")
    mlflow = load_mlflow()
    with registry_call(registry, "an MLflow registry"):
        if file is not None:
            prepare_database(file)
        return mlflow.MlflowClient(tracking_uri=registry, registry_uri=registry)


def load_mlflow() -> ModuleType:
    """Import mlflow, its usage reports off unless the user has decided on them.

    Raises
    ------
    RegistryError
        It is not installed.
    """
    try:
        # Whether it reports usage is decided while it is imported.
        with _UNREPORTED.lent(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about its own type hints
            import mlflow.artifacts
            import mlflow.pyfunc
    except ImportError as error:
        message = f"registry: expected mlflow to be installed, as by fogline[registry], found {error}"
        raise RegistryError(message) from error
    return mlflow


def redact_password(registry: str) -> str:
    """Return a registry's URI without the password in it."""
    return re.sub(r"//[^/@]*@", "//***@", registry)


@contextmanager
def registry_call(registry: str, expected: str) -> Iterator[None]:
    """Ask a registry without patience or chatter; whatever goes wrong becomes a `RegistryError`."""
    with _QUIET.lent():
        try:
            yield
        except (RegistryError, ArtifactError, MemoryError):
            raise
        except Exception as error:  # mlflow lets through what its store and transport raise
            code = getattr(error, "error_code", "")
            found = str(error).strip().partition("\n")[0] or type(error).__name__
            if code in _ABSENT:
                message = f"registry {redact_password(registry)}: expected {expected}, found none ({found})"
                raise RegistryError(message) from error
            _down(registry, expected, f"no answer ({redact_password(found)})", error, _kind(found))


def _kind(found: str) -> type[RegistryDownError]:
    """Return the error for what a store said."""
    if any(words in found for words in _BROKEN):
        return RegistryBrokenError
    return RegistryBusyError if _LOCKED in found else RegistryDownError


def _down(
    registry: str,
    expected: str,
    found: str,
    cause: Exception | None = None,
    kind: type[RegistryDownError] = RegistryDownError,
) -> NoReturn:
    message = f"registry {redact_password(registry)}: expected {expected}, found {found}"
    raise kind(message) from cause
