"""Base of all parts of a spec."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the TOML file: frozen, keyword-only, refusing unknown keys."""
