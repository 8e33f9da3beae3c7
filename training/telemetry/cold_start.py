"""Nodes and clients that a model never meets in training, so that an evaluation can tell how it treats new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import id_keys
from scheduler.errors import DataError, InputError
from training.telemetry import Entities, Telemetry, at_rows

COLD_SIDES = ("clients", "nodes", "both")
"""Decisions of an evaluation among cold ones: cold clients and all nodes, all clients and cold nodes, both cold."""

_SALTS = {"nodes": 0x6E6F646573, "clients": 0x636C69656E7473}
"""The letters of the two words: a device that is client and node is left out of each by itself."""

_WINDOW = {"nodes": "cold_nodes", "clients": "cold_clients"}
_WINDOW_BEFORE_4 = {"nodes": "held_out_nodes", "clients": "held_out_clients"}
"""What a manifest's window calls the shares, now and in formats 1 to 3."""


class ColdShares(NamedTuple):
    """Shares of the nodes and of the clients that training leaves out, 0 to below 1."""

    nodes: float = 0.0
    clients: float = 0.0

    @classmethod
    def of(cls, window: Mapping[str, Any]) -> ColdShares:
        """Return what a manifest's window says was left out."""
        shares = ((window.get(_WINDOW[side]), window.get(_WINDOW_BEFORE_4[side])) for side in cls._fields)
        return cls(*(float(share or old or 0.0) for share, old in shares))

    def __str__(self) -> str:
        """Return the shares in words, for messages."""
        return f"cold nodes (share {self.nodes:g}) and cold clients (share {self.clients:g})"

    def to_window(self) -> dict[str, float]:
        """Return what a manifest's window says about it: nothing of a side that is there in full."""
        return {_WINDOW[side]: share for side, share in self._asdict().items() if share > 0.0}


def is_cold(ids: NDArray[Any], side: str, share: float) -> NDArray[np.bool_]:
    """Return which ids of a side, ``nodes`` or ``clients``, are cold.

    By a hash of the id alone, so the answer is the same for every table, now and later. The share of ids
    found is ``share`` only about.
    """
    hashes = _mixed(ids) if ids.dtype.kind in "iu" else id_keys(ids)
    return _mixed(hashes ^ np.uint64(_SALTS[side])) < np.uint64(share * 2.0**64)


def _mixed(ids: NDArray[Any]) -> NDArray[np.uint64]:
    """Return integers hashed by the splitmix64 finaliser, those above any signed one twice.

    Models on disk were trained without those that this hash says are cold: it must never change.
    """
    mixed = _splitmix(ids.astype(np.int64, copy=False).view(np.uint64))
    if ids.dtype.kind == "u":
        beyond = ids > np.uint64(2**63 - 1)
        mixed[beyond] = _splitmix(mixed[beyond])
    return mixed


def _splitmix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = bits + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def cold_rows(telemetry: Telemetry, shares: ColdShares) -> dict[str, NDArray[np.bool_]]:
    """Return by side which rows of telemetry are of a cold node, or a cold client."""
    return {
        "nodes": is_cold(telemetry.nodes.ids, "nodes", shares.nodes)[telemetry.node],
        "clients": is_cold(telemetry.clients.ids, "clients", shares.clients)[telemetry.client],
    }


def without_cold(telemetry: Telemetry, shares: ColdShares) -> Telemetry:
    """Return telemetry and its tables without the cold nodes and clients.

    Raises
    ------
    InputError
        If a share is not from 0 to below 1.
    DataError
        If nothing is left.
    """
    for side, share in shares._asdict().items():
        if not 0.0 <= share < 1.0:
            raise InputError(f"cold {side}: expected a share from 0 to below 1, found {share}")
    if shares == ColdShares():
        return telemetry
    cold = cold_rows(telemetry, shares)
    keep = ~(cold["nodes"] | cold["clients"])
    if not keep.any():
        raise DataError(f"telemetry: expected rows besides those of {shares}, found none")
    clients, client = _without(telemetry.clients, is_cold(telemetry.clients.ids, "clients", shares.clients))
    nodes, node = _without(telemetry.nodes, is_cold(telemetry.nodes.ids, "nodes", shares.nodes))
    rest = telemetry.where(keep)
    return dataclasses.replace(
        rest,
        clients=clients,
        nodes=nodes,
        client=client[rest.client],
        node=node[rest.node],
        n_read=telemetry.n_read - int((~keep).sum()),
        cold_shares=shares.to_window(),
    )


def _without(table: Entities, cold: NDArray[np.bool_]) -> tuple[Entities, NDArray[np.int32]]:
    """Return a table without some rows, and the new place of each old row that stays."""
    rows = np.flatnonzero(~cold)
    places = (np.cumsum(~cold) - 1).astype(np.int32)
    return Entities(ids=table.ids[rows], columns={name: at_rows(c, rows) for name, c in table.columns.items()}), places


def cold_start(telemetry: Telemetry, shares: ColdShares, among: str, start: int) -> tuple[Telemetry, NDArray[np.bool_]]:
    """Return telemetry as it is known before decisions among cold ones, and which of its rows these decide on.

    Cold ones have no row before slice ``start``.

    Raises
    ------
    InputError
        If ``among`` is none of `COLD_SIDES`, or nothing of it was left out of training.
    """
    if among not in COLD_SIDES:
        raise InputError(f"cold: expected one of {', '.join(COLD_SIDES)}, found {among!r}")
    for side in ColdShares._fields if among == "both" else (among,):
        if getattr(shares, side) == 0.0:
            raise InputError(
                f"cold: expected a model whose training left {side} out (fogline train --cold-{side}), "
                "found one that was trained on all of them"
            )
    cold = cold_rows(telemetry, shares)
    known = (telemetry.slice >= start) | ~(cold["nodes"] | cold["clients"])
    wanted = cold["nodes"] & cold["clients"] if among == "both" else cold[among]
    return telemetry.where(known), wanted[known]
