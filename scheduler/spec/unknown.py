"""Names the first key that a spec may not have, and the key that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from scheduler.errors import SpecError
from scheduler.spec.types import Spec


def refuse_unknown(raw: Any) -> None:  # noqa: ANN401 - whatever a TOML or JSON file holds
    """Raise `SpecError` for the first key of a decoded spec that its table does not have; values are not checked."""
    for where, key, known in _unknown("", raw, inspect.type_info(Spec)):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        message = f"{where}{key}: unknown key; {hint}"
        raise SpecError(message)


def _unknown(where: str, raw: Any, kind: inspect.Type) -> Iterator[tuple[str, str, list[str]]]:  # noqa: ANN401
    """Yield the table, the key, and the keys that there are, by the types of the spec."""
    if isinstance(kind, inspect.UnionType):
        kind = _chosen(raw, kind)
    if isinstance(raw, dict) and isinstance(kind, inspect.StructType):
        fields = {field.encode_name: field.type for field in kind.fields}
        known = [*fields, *([kind.tag_field] if kind.tag_field else [])]
        yield from ((where, key, known) for key in raw if key not in known)
        for name, part in fields.items():
            yield from _unknown(f"{where}{name}.", raw.get(name), part)
    elif isinstance(raw, dict) and isinstance(kind, inspect.DictType):
        for name, value in raw.items():
            yield from _unknown(f"{where}{name}.", value, kind.value_type)
    elif isinstance(raw, list) and isinstance(kind, inspect.ListType | inspect.VarTupleType):
        for i, value in enumerate(raw):
            yield from _unknown(f"{where.removesuffix('.')}[{i}].", value, kind.item_type)


def _chosen(raw: Any, union: inspect.UnionType) -> inspect.Type:  # noqa: ANN401
    """Return the one of several types that a table is of: that of its tag, or the only one; of anything else, any."""
    structs = [one for one in union.types if isinstance(one, inspect.StructType)]
    if len(structs) > 1 and isinstance(raw, dict):
        structs = [one for one in structs if one.tag_field and raw.get(one.tag_field) == one.tag]
    return structs[0] if len(structs) == 1 else inspect.AnyType()
