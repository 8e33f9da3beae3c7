"""A spec's text with other settings: comments, order and everything else stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Table


def with_training(text: str, settings: Mapping[str, Any], comment: Sequence[str] = ()) -> str:
    """Return a spec's text with other values in ``[training]``.

    Parameters
    ----------
    text
        Of a spec.
    settings
        Values by key; those of a table, such as ``lightgbm``, are put into it key by key.
    comment
        Lines that come first.
    """
    document = tomlkit.parse(text)
    if "training" not in document:
        document.add("training", tomlkit.table())
    training = document["training"]
    for key, value in settings.items():
        _put(training, key, value)
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment)
    return head + tomlkit.dumps(document)


def _put(table: Any, key: str, value: Any) -> None:  # noqa: ANN401 - any table of TOML, any value
    if not isinstance(value, Mapping):
        table[key] = value
        return
    if key not in table:
        table[key] = tomlkit.inline_table()
    inner = table[key]
    if isinstance(inner, Table | InlineTable):
        for name, one in value.items():
            inner[name] = one
