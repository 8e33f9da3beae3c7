"""The database of a registry that is a SQLite file: made and upgraded whole or not at all, and named if it is broken.

mlflow makes and upgrades a database in many steps, and two processes that do so at once, or one that is killed, leave
a database that nobody can open. So it is made beside its place and moved there, and upgraded as a copy.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import quote

from scheduler.errors import RegistryBrokenError, RegistryDownError
from scheduler.model.registry_lock import exclusive

_SQLITE_SECONDS = 20.0
"""How long to wait for a transaction of others, as mlflow does."""


class _Schema(NamedTuple):
    """What stands in a database: its tables, and the revision of mlflow's schema, empty where there is none."""

    tables: frozenset[str]
    revision: str


def prepare_database(file: Path, *, create: bool = False) -> None:
    """See to it that a database is whole and of this mlflow's schema; upgrade an older one.

    A database that is whole is only read, so that many processes may do this at once, and in a folder where nothing
    can be written.

    Parameters
    ----------
    file
        An absolute path.
    create
        Make the database where there is none, or an empty file.

    Raises
    ------
    RegistryDownError
        If there is no database, and none may be made.
    RegistryBrokenError
        If the file is no database, or was left half made or half upgraded, or is of a newer mlflow.
    RegistryBusyError
        If other processes are at it for too long.
    """
    if _is_whole(file):
        return
    with exclusive(file):
        if _is_whole(file):  # another process was faster
            return
        _remove_leftovers(file)
        schema = _read_schema(file)
        if not schema.tables:
            if not create:
                found = "an empty one; train a model or name another registry"
                raise RegistryDownError(f"{_name(file)}: expected a database, found {found}")
            _create(file)
        elif schema.revision in _known_revisions():
            _upgrade(file, schema)
        else:
            _refuse(file, schema)
        if not _is_whole(file):
            _refuse(file, _read_schema(file))


def _is_whole(file: Path) -> bool:
    schema = _read_schema(file)
    return schema.revision == _latest_revision() and schema.tables >= _expected_tables()


def _read_schema(file: Path) -> _Schema:
    """Return what stands in a database; nothing for a file that is not there."""
    if not file.exists():
        return _Schema(frozenset(), "")
    try:
        with _open(file) as database:
            tables = frozenset(
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            )
            known = "alembic_version" in tables
            revisions = database.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
    except sqlite3.OperationalError:  # locked, or not to be opened: no fault of its content
        raise
    except sqlite3.DatabaseError as error:
        message = f"{_name(file)}: expected a SQLite database, found {error}; move {file} away, or restore it"
        raise RegistryBrokenError(message) from error
    return _Schema(tables, " ".join(sorted(revision for (revision,) in revisions)))


@contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    """Open an existing database; what a killed process left of a transaction is rolled back as it is read."""
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=_SQLITE_SECONDS)) as database:
        yield database


def _create(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _stage(file) as part:
        store = SqlAlchemyStore(f"sqlite:///{part}", file.with_name("artifacts").as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        part.replace(file)


def _upgrade(file: Path, schema: _Schema) -> None:
    """Upgrade a copy, keep another, and write the upgraded one over the database in one transaction of SQLite."""
    with _stage(file) as part:
        with _open(file) as database, closing(sqlite3.connect(part)) as copy:
            database.backup(copy)
        kept = file.with_name(f"{file.name}.schema-{schema.revision}")
        shutil.copyfile(part, kept)
        try:
            _upgrade_to_latest(part)
        except Exception as error:  # noqa: BLE001 - alembic lets through what its scripts and SQLite raise
            kept.unlink()
            _refuse(file, schema, error)
        with closing(sqlite3.connect(part)) as upgraded, _open(file) as database:
            upgraded.backup(database)


@contextmanager
def _stage(file: Path) -> Iterator[Path]:
    """Give a path in a folder beside a database; the folder goes, whatever happens, or with the next process here."""
    with tempfile.TemporaryDirectory(prefix=_prefix(file), dir=file.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy warns of mlflow's tables
        yield Path(folder) / file.name


def _remove_leftovers(file: Path) -> None:
    """Remove what processes left that were killed as they made or upgraded the database. Needs the lock."""
    for folder in file.parent.glob(f"{_prefix(file)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(file: Path) -> str:
    return f".{file.name}.part-"


def _refuse(file: Path, schema: _Schema, cause: Exception | None = None) -> NoReturn:
    """Name a database that cannot be used."""
    missing = sorted(_expected_tables() - schema.tables)
    if schema.revision == _latest_revision():
        found = f"none of the tables {', '.join(missing)}"
    elif schema.revision in _known_revisions():
        why = f"its creation or an upgrade was broken off ({_first_line(cause)})"
        found = f"schema {schema.revision}, which cannot be upgraded: {why}"
    elif schema.revision:
        found = f"schema {schema.revision}, which is of another version of MLflow"
    else:
        found = f"{len(schema.tables)} tables without a schema: its creation was broken off, or it is not MLflow's"
    message = (
        f"{_name(file)}: expected a whole MLflow database of schema {_latest_revision()}, found {found}; "
        f"restore a copy of {file}, or move it away to begin a new registry"
    )
    raise RegistryBrokenError(message) from cause


def _first_line(error: Exception | None) -> str:
    return str(error).strip().partition("\n")[0]


def _name(file: Path) -> str:
    return f"registry sqlite:///{file}"


@cache  # mlflow loads all its scripts of migrations to find it, in 0.03 s
def _latest_revision() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())  # type: ignore[no-untyped-call]


def _known_revisions() -> set[str]:
    """Return the revisions that this mlflow can upgrade from."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    config = _get_alembic_config("")  # type: ignore[no-untyped-call]
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _expected_tables() -> frozenset[str]:
    from mlflow.store.db.base_sql_model import Base

    return frozenset(Base.metadata.tables)


def _upgrade_to_latest(file: Path) -> None:
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(f"sqlite:///{file}")  # type: ignore[no-untyped-call]
    try:
        _upgrade_db(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()
