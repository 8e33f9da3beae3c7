"""What the tables of history keep, by definition: specs that define it alike share entries.

A history key, a model of latent factors and a kind of change points is defined by what it is made of, not by its name
or its place in a spec. The hash of that definition begins every key of its entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import id_keys
from scheduler.spec import COST, ChangePoints, LatentFactors, Spec, Value


def history_keys(spec: Spec) -> list[str]:
    """Return the definition of each history key: its parts."""
    return _distinct("|".join(parts) for parts in spec.history.keys.values())


def latent_factors(spec: Spec) -> list[str]:
    """Return the definition of each model of latent factors."""
    return _distinct(_latent_factors(spec, model) for model in spec.latent_factors.values())


def change_points(spec: Spec) -> list[str]:
    """Return the definition of each kind of change points."""
    return _distinct(_change_points(spec, kind) for kind in spec.change_points.values())


def values(spec: Spec) -> list[str]:
    """Return the definition of each tracked value."""
    return [_value(spec, value) for value in spec.history.values]


def seeds(definitions: Iterable[str]) -> NDArray[np.uint64]:
    """Return (n,) numbers with which the keys of entries begin, none of them `MISSING_KEY`."""
    return id_keys(list(definitions))


def _latent_factors(spec: Spec, model: LatentFactors) -> str:
    keys = spec.history.keys
    parts = ("|".join(keys[model.client]), "|".join(keys[model.node]), _value(spec, model.value))
    return " ".join((*parts, str(model.rank), model.half_life, model.memory))


def _change_points(spec: Spec, kind: ChangePoints) -> str:
    keys = spec.history.keys
    parts = ("|".join(keys[kind.group]), "|".join(keys[kind.member]), _value(spec, kind.value))
    return " ".join((*parts, f"{kind.tolerance:g}", kind.length, str(kind.shape), f"{kind.same:g}"))


def _value(spec: Spec, text: str) -> str:
    """Return what a tracked value is made of."""
    value = Value.parse(text)
    if value.residual:
        return f"residual of {_latent_factors(spec, spec.latent_factors[value.outcome])}"
    if value.outcome == COST:
        return f"{text} {msgspec.json.encode(spec.cost).decode()}"
    return text


def _distinct(definitions: Iterable[str]) -> list[str]:
    """Return definitions of which those alike are numbered: each has entries of its own."""
    seen: Counter[str] = Counter()
    found = []
    for text in definitions:
        found.append(f"{text} {seen[text]}" if seen[text] else text)
        seen[text] += 1
    return found
