"""What raw scores start from: the offsets of heads as a table for kernels, and of whole feature rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ArtifactError
from scheduler.features.arrays import NODE, PAIR, REQUEST
from scheduler.features.program import Features
from scheduler.model.arrays import MISSING, OWNER, TRANSFORMS
from scheduler.model.manifest import Calibration, Offset
from scheduler.spec import Spec, offset_features


def offset_table(heads: Iterable[Calibration], features: Features) -> NDArray[np.float64]:
    """Return (n_heads, 8) offsets, see `scheduler.model.arrays`, read-only."""
    program = features.program
    owned = {REQUEST: program.request.tolist(), PAIR: program.pair.tolist()}
    rows = []
    for head in heads:
        row = np.full(MISSING + 1, 0.0)
        row[OWNER] = -1.0
        if head.offset is not None:
            at = features.names.index(head.offset.feature)
            owner, one = int(features.owners[at]), head.offset
            numbers = (one.least, one.most, one.intercept, one.slope, one.missing)
            row[:] = (owner, owned[owner].index(at), TRANSFORMS.index(one.transform), *numbers)
        rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, MISSING + 1)
    table.flags.writeable = False
    return table


def offset_values(offset: Offset, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what raw scores start from, by the (n,) values of the offset's feature."""
    z = np.clip(x.astype(np.float64), offset.least, offset.most)
    if offset.transform == "log1p":
        z = np.log1p(z)
    elif offset.transform == "logit":
        z = np.log(z / (1.0 - z))
    return np.asarray(np.where(np.isnan(z), offset.missing, offset.intercept + offset.slope * z))


def row_offsets(heads: Sequence[Calibration], names: Sequence[str], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, n_heads) offsets of whole feature rows ``x``, 0 for heads without."""
    out = np.zeros((len(x), len(heads)))
    for h, head in enumerate(heads):
        if head.offset is not None:
            out[:, h] = offset_values(head.offset, x[:, names.index(head.offset.feature)])
    return out


def check_offsets(path: str, heads: Mapping[str, Calibration], spec: Spec, features: Features) -> None:
    """Raise `ArtifactError` unless each offset is a line in a mean of its head's target that decisions have at hand."""
    for name, head in heads.items():
        if head.offset is None:
            continue
        where, offset = f"{path}: heads.{name}.offset", head.offset
        known = offset_features(spec, spec.heads[name])
        if known.get(offset.feature) != offset.transform:
            means = ", ".join(f"{feature} by {transform}" for feature, transform in known.items()) or "none"
            _refuse(where, f"one of the head's means, {means}", f"{offset.feature} by {offset.transform}")
        if features.owners[features.names.index(offset.feature)] == NODE:
            _refuse(where, "a feature of request or pair", f"{offset.feature}, of the node")
        _check_numbers(where, offset)


def _check_numbers(where: str, offset: Offset) -> None:
    low, high = {"none": (-math.inf, math.inf), "log1p": (-1.0, math.inf), "logit": (0.0, 1.0)}[offset.transform]
    if not (low < offset.least <= offset.most < high):  # false for NaN too
        _refuse(where, f"least and most in order between {low:g} and {high:g}", offset)
    if not all(map(math.isfinite, (offset.intercept, offset.slope, offset.missing))):
        _refuse(where, "finite numbers", offset)


def _refuse(where: str, expected: str, found: object) -> None:
    message = f"{where}: expected {expected}, found {found}"
    raise ArtifactError(message)
