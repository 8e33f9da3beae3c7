"""Codes of the links between raw scores and expected values, and the columns of the table of offsets."""

from __future__ import annotations

from typing import Final

(LINK_LOGISTIC, LINK_LOG, LINK_IDENTITY) = range(3)

LINKS: Final = ("logistic", "log", "identity")

(NO_TRANSFORM, LOG1P, LOGIT) = range(3)

TRANSFORMS: Final = ("none", "log1p", "logit")

(OWNER, PLACE, TRANSFORM, LEAST, MOST, INTERCEPT, SLOPE, MISSING) = range(8)
"""Columns of the table of offsets, a row a head: the owner of the feature, -1 for a head without offset, its place
among the owner's features, and the numbers of `scheduler.model.manifest.Offset`."""
