"""Read a spec from TOML, or from the JSON in an artifact."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from scheduler.errors import SpecError
from scheduler.spec.checks import check_spec
from scheduler.spec.renamed import check_renamed
from scheduler.spec.types import Spec


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
    try:
        return parse_spec(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path}: expected a readable spec file, found {error.strerror}"
        raise SpecError(message) from error
    except (SpecError, UnicodeDecodeError) as error:
        message = f"{path}: {error}"
        raise SpecError(message) from error


def parse_spec(text: str) -> Spec:
    """Check the text of a spec file and return the spec; see `load_spec`."""
    try:
        raw = tomllib.loads(text)
        check_renamed(raw)
        spec = msgspec.convert(raw, Spec)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SpecError(str(error)) from error
    check_spec(spec)
    return spec


def spec_from_json(data: bytes) -> Spec:
    """Read what `Spec.to_json` wrote; raise `SpecError` as `load_spec` does."""
    try:
        raw = msgspec.json.decode(data)
        check_renamed(raw)
        spec = msgspec.convert(raw, Spec)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SpecError(str(error)) from error
    check_spec(spec)
    return spec
