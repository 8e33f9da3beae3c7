"""Keys of specs that were renamed; a spec with an old name is refused with the new name in the message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler.errors import SpecError

SECTIONS = {"factors": "latent_factors", "regimes": "change_points"}
POLICY = {
    "doubt": "uncertainty",
    "width": "uncertainty_scale",
    "known_by": "count_key",
    "guard": "max_utility_loss",
    "vetting": "newcomer_share",
    "vetted": "newcomer_below",
    "vetted_by": "newcomer_key",
}
UTILITY = {"money": "price_weight"}
RULES = {"bonus": "ucb"}
OPERATIONS = {"factors": "latent_factors", "regime": "change_point"}


def check_renamed(raw: Any) -> None:  # noqa: ANN401 - whatever a TOML or JSON file holds
    """Raise `SpecError` if a decoded spec has a key or a value under its old name."""
    for where, found, names in _named(raw):
        if found in names:
            message = f"{where}: expected {names[found]!r}, the new name of {found!r}, found {found!r}"
            raise SpecError(message)


def _named(raw: Any) -> Iterator[tuple[str, Any, dict[str, str]]]:  # noqa: ANN401
    """Yield the place of a name, the name, and the old names that it must not be."""
    spec = _table(raw)
    policy, utility = _table(spec.get("policy")), _table(spec.get("utility"))
    profiles = utility.get("profiles")
    yield from (("spec", key, SECTIONS) for key in spec)
    yield from (("policy", key, POLICY) for key in policy)
    yield "policy.explore", _text(policy.get("explore")), RULES
    for where, part in (("utility", utility), *((f"utility.profiles[{i}]", p) for i, p in _numbered(profiles))):
        yield from ((where, key, UTILITY) for key in _table(part))
    for name, feature in _table(spec.get("features")).items():
        yield f"features.{name}.op", _text(_table(feature).get("op")), OPERATIONS


def _table(value: Any) -> dict[str, Any]:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else ""


def _numbered(value: Any) -> list[tuple[int, Any]]:  # noqa: ANN401
    return list(enumerate(value)) if isinstance(value, list) else []
