"""A spec as TOML: Python reads that format, but does not write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from scheduler.spec import Spec, parse_spec

_BARE = re.compile(r"[\w-]+", re.ASCII)


def spec_to_toml(spec: Spec, comment: str = "") -> str:
    """Return the text of a spec file that reads back as the same spec.

    Every key is written, those with their default value too.

    Parameters
    ----------
    comment
        Comment lines before the spec.
    """
    parts = _present(msgspec.to_builtins(spec))
    plain = {key: value for key, value in parts.items() if not isinstance(value, dict)}
    lines = [*(f"# {line}".rstrip() for line in comment.splitlines()), *_entries(plain)]
    for key, value in parts.items():
        if isinstance(value, dict):
            lines += ["", f"[{_key(key)}]", *_entries(value)]
    text = "\n".join(lines) + "\n"
    if parse_spec(text) != spec:
        raise AssertionError(f"expected text that reads back as the spec {spec.name}, found {text}")
    return text


def _entries(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _value(value: object) -> str:
    """Return a value in one line; JSON's texts, numbers and booleans are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_entries(value)) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _present(value: Any) -> Any:  # noqa: ANN401 - any value of a spec
    """Leave out None, which TOML cannot express."""
    if isinstance(value, dict):
        return {key: _present(one) for key, one in value.items() if one is not None}
    return [_present(one) for one in value] if isinstance(value, list | tuple) else value
