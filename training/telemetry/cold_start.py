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

GROUPS = ("clients", "nodes", "both")
"""Decisions of an evaluation among cold ones: cold clients and all nodes, all clients and cold nodes, both cold."""

_SALTS = {"nodes": 0x6E6F646573, "clients": 0x636C69656E7473}
"""The letters of the two words: a device that is client and node is held out of each by itself."""

_WINDOW = {"nodes": "held_out_nodes", "clients": "held_out_clients"}


class HoldOut(NamedTuple):
    """Shares of the nodes and of the clients that are held out, 0 to below 1."""

    nodes: float = 0.0
    clients: float = 0.0

    @classmethod
    def of(cls, window: Mapping[str, Any]) -> HoldOut:
        """Return what a manifest's window says was held out."""
        return cls(*(float(window.get(_WINDOW[side], 0.0)) for side in cls._fields))

    def to_window(self) -> dict[str, float]:
        """Return what a manifest's window says about it: nothing of a side that is there in full."""
        return {_WINDOW[side]: share for side, share in self._asdict().items() if share > 0.0}


def is_cold(ids: NDArray[Any], side: str, share: float) -> NDArray[np.bool_]:
    """Return which ids of a side, ``nodes`` or ``clients``, are held out.

    By a hash of the id alone, so the answer is the same for every table, now and later. The share of ids
    found is ``share`` only about.
    """
    salted = id_keys(id_keys(ids) ^ np.uint64(_SALTS[side]))
    return salted < np.uint64(share * 2.0**64)


def cold_rows(telemetry: Telemetry, held: HoldOut) -> dict[str, NDArray[np.bool_]]:
    """Return by side which rows of telemetry are of a node, or a client, that is held out."""
    return {
        "nodes": is_cold(telemetry.nodes.ids, "nodes", held.nodes)[telemetry.node],
        "clients": is_cold(telemetry.clients.ids, "clients", held.clients)[telemetry.client],
    }


def hold_out(telemetry: Telemetry, held: HoldOut) -> Telemetry:
    """Return telemetry and its tables without the nodes and clients that are held out.

    Raises
    ------
    InputError
        If a share is not from 0 to below 1.
    DataError
        If nothing is left.
    """
    for side, share in held._asdict().items():
        if not 0.0 <= share < 1.0:
            raise InputError(f"cold {side}: expected a share from 0 to below 1, found {share}")
    if held == HoldOut():
        return telemetry
    cold = cold_rows(telemetry, held)
    keep = ~(cold["nodes"] | cold["clients"])
    if not keep.any():
        raise DataError(f"telemetry: expected rows besides those held out ({held}), found none")
    clients, client = _without(telemetry.clients, is_cold(telemetry.clients.ids, "clients", held.clients))
    nodes, node = _without(telemetry.nodes, is_cold(telemetry.nodes.ids, "nodes", held.nodes))
    rest = telemetry.where(keep)
    return dataclasses.replace(
        rest,
        clients=clients,
        nodes=nodes,
        client=client[rest.client],
        node=node[rest.node],
        n_read=telemetry.n_read - int((~keep).sum()),
        held_out=held.to_window(),
    )


def _without(table: Entities, cold: NDArray[np.bool_]) -> tuple[Entities, NDArray[np.int32]]:
    """Return a table without some rows, and the new place of each old row that stays."""
    rows = np.flatnonzero(~cold)
    places = (np.cumsum(~cold) - 1).astype(np.int32)
    return Entities(ids=table.ids[rows], columns={name: at_rows(c, rows) for name, c in table.columns.items()}), places


def cold_start(telemetry: Telemetry, held: HoldOut, group: str, start: int) -> tuple[Telemetry, NDArray[np.bool_]]:
    """Return telemetry as it is known before decisions among cold ones, and which of its rows these decide on.

    What was held out has no row before slice ``start``.

    Raises
    ------
    InputError
        If there is no such group, or nothing was held out of it.
    """
    if group not in GROUPS:
        raise InputError(f"cold: expected one of {', '.join(GROUPS)}, found {group!r}")
    for side in _WINDOW if group == "both" else (group,):
        if getattr(held, side) == 0.0:
            raise InputError(
                f"cold: expected a model that {side} were held out of (fogline train --cold-{side}), "
                "found one that was trained on all of them"
            )
    cold = cold_rows(telemetry, held)
    known = (telemetry.slice >= start) | ~(cold["nodes"] | cold["clients"])
    wanted = cold["nodes"] & cold["clients"] if group == "both" else cold[group]
    return telemetry.where(known), wanted[known]
