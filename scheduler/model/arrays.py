"""Codes of the links between raw scores and expected values."""

from __future__ import annotations

from typing import Final

(LINK_LOGISTIC, LINK_LOG, LINK_IDENTITY) = range(3)

LINKS: Final = ("logistic", "log", "identity")
