"""Read a spec from TOML, or from the JSON in an artifact."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from scheduler.errors import SpecError, shown
from scheduler.spec.bounds import MOST_BYTES
from scheduler.spec.checks import check_spec
from scheduler.spec.renamed import check_renamed
from scheduler.spec.types import Spec
from scheduler.spec.unknown import refuse_unknown

T = TypeVar("T")


def load_spec(path: str | Path) -> Spec:
    """Read and check a spec file.

    Parameters
    ----------
    path
        A TOML file.

    Returns
    -------
    Spec

    Raises
    ------
    SpecError
        If the file cannot be read, has an unknown key or a wrong type, or refers to something undefined. The message
        starts with the file and names the key.
    """
    if not isinstance(path, str | Path) or "\0" in str(path):
        message = f"spec: expected the path of a file, found {shown(path)}"
        raise SpecError(message)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return parse_spec(data.decode())
    except OSError as error:
        message = f"{path}: expected a readable spec file, found {error.strerror}"
        raise SpecError(message) from error
    except (SpecError, UnicodeError) as error:
        message = f"{path}: {error}"
        raise SpecError(message) from error


def parse_spec(text: str) -> Spec:
    """Check the text of a spec file and return the spec; see `load_spec`."""
    _check_text(text, str)
    return _checked(tomllib.loads, text)


def spec_from_json(data: bytes) -> Spec:
    """Read what `Spec.to_json` wrote; raise `SpecError` as `load_spec` does."""
    _check_text(data, bytes)
    return _checked(msgspec.json.decode, data)


def _check_text(content: object, kind: type[str | bytes]) -> None:
    if not isinstance(content, kind):
        message = f"spec: expected {kind.__name__}, found {shown(content)}"
        raise SpecError(message)
    if len(content) > MOST_BYTES:
        message = f"spec: expected at most {MOST_BYTES:,} bytes, found more"
        raise SpecError(message)


def _checked(decode: Callable[[T], object], content: T) -> Spec:
    """Decode a spec and check all of it."""
    try:
        raw = decode(content)
        check_renamed(raw)
        spec = _converted(raw)
    except RecursionError as error:
        message = "spec: expected tables of some levels, found more than can be read"
        raise SpecError(message) from error
    except ValueError as error:  # what is no TOML or JSON, has a wrong type, or an integer of thousands of digits
        raise SpecError(str(error)) from error
    check_spec(spec)
    return spec


def _converted(raw: Any) -> Spec:  # noqa: ANN401 - whatever a TOML or JSON file holds
    try:
        return msgspec.convert(raw, Spec)
    except msgspec.ValidationError as error:
        if "unknown field" in str(error):
            refuse_unknown(raw)
        raise
