"""Specs that ship with fogline, found by name."""

from __future__ import annotations

from pathlib import Path

from scheduler.errors import SpecError
from scheduler.spec import Spec, load_spec

_HERE = Path(__file__).resolve().parent
_FOLDERS = (_HERE.parents[1] / "models" / "specs", _HERE)
"""The specs are in models/ of a checkout, or beside this module in an installed wheel."""


def find_spec(name: str) -> Spec:
    """Return the spec of a name such as ``seattle``, or of a path to a TOML file.

    Raises
    ------
    SpecError
        If there is no such spec, or it is wrong.
    """
    return load_spec(spec_file(name))


def spec_file(name: str) -> Path:
    """Return the file of a spec; raise `SpecError` as `find_spec` does where a name means none."""
    if name.endswith(".toml"):
        return Path(name)
    for folder in _FOLDERS:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    raise SpecError(f"spec: expected a path to a TOML file or one of {', '.join(shipped())}, found {name!r}")


def shipped() -> list[str]:
    """Return the names of the specs that ship with fogline."""
    return sorted({path.stem for folder in _FOLDERS for path in folder.glob("*.toml")})
