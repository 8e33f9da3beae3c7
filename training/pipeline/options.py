"""Options of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from training.telemetry.cold_start import ColdShares


class TrainingOptions(NamedTuple):
    """Options of a training run, besides its data and spec.

    Attributes
    ----------
    registry
        MLflow URI.
    until
        Rows of this slice and later ones are never looked at.
    out
        Folder of artifacts.
    seed
        Fixes every random draw.
    threads
        For LightGBM; 0 for one a core.
    promote
        Make the new version champion whatever the comparison's result.
    cold_shares
        Nodes and clients that are left out of everything, tables and all.
    cluster
        Address of a Dask scheduler whose workers read, replay and fit; see `training.distributed.connect`.
    scratch
        Folder for a cluster's intermediate files, which all workers must see.
    """

    registry: str
    until: int | None = None
    out: Path = Path("models/artifacts")
    seed: int = 0
    threads: int = 0
    promote: bool = False
    cold_shares: ColdShares = ColdShares()
    cluster: str | None = None
    scratch: Path = Path(".fogline/scratch")
