"""Baselines that go by where client and node are, in the world or in the network."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from training.policies.moving_averages import NodeAverage
from training.policies.protocol import Question, Seen, Setting, least
from training.telemetry import Categories, Entities, Telemetry


def knows_places(setting: Setting) -> bool:
    """Return whether the spec names place columns that the tables of clients and nodes hold."""
    return setting.spec.evaluation.place is not None and _in_tables(setting, *setting.spec.evaluation.place)


def knows_carriers(setting: Setting) -> bool:
    """Return whether the spec names a carrier column that the tables of clients and nodes hold."""
    return setting.spec.evaluation.carrier is not None and _in_tables(setting, setting.spec.evaluation.carrier)


def _in_tables(setting: Setting, *names: str) -> bool:
    return all(name in setting.clients.columns and name in setting.nodes.columns for name in names)


def distance(setting: Setting, client: NDArray[np.int32], node: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return how far each candidate is from its client, (n, n_candidates), NaN where unknown.

    It is the straight line through the globe as a share of its diameter, which orders places as kilometres
    do.
    """
    lat, lon = setting.spec.evaluation.place or ("", "")
    here = [np.radians(_numbers(setting.clients, name))[client, None] for name in (lat, lon)]
    there = [np.radians(_numbers(setting.nodes, name))[node] for name in (lat, lon)]
    up = np.sin((there[0] - here[0]) / 2.0) ** 2
    along = np.sin((there[1] - here[1]) / 2.0) ** 2
    return np.sqrt(up + np.cos(here[0]) * np.cos(there[0]) * along)


def same_carrier(setting: Setting, client: NDArray[np.int32], node: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which candidates have the client's carrier, (n, n_candidates); an unknown one equals none."""
    of_clients, of_nodes = _carrier_codes(setting)
    return (of_nodes[node] == of_clients[client, None]) & (of_nodes[node] >= 0)


def _carrier_codes(setting: Setting) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the carriers of both tables in the nodes' codes, -1 where unknown or no node has it."""
    name = setting.spec.evaluation.carrier or ""
    of_clients, of_nodes = _categories(setting.clients, name), _categories(setting.nodes, name)
    number = {value: code for code, value in enumerate(of_nodes.values)}
    translate = np.array([*(number.get(value, -1) for value in of_clients.values), -1], np.int32)
    return translate[of_clients.codes], of_nodes.codes


# The spec's checks have seen to the columns' types.
def _numbers(table: Entities, name: str) -> NDArray[np.float64]:
    return cast("NDArray[np.float64]", table.columns[name])


def _categories(table: Entities, name: str) -> Categories:
    return cast("Categories", table.columns[name])


class Nearest:
    """Picks the nearest node; one of unknown place only where no place is known."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def warm(self, telemetry: Telemetry) -> None:
        """Learn nothing."""

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return the columns of the least distances."""
        return least(distance(self._setting, question.client, question.candidates), question.candidates)

    def learn(self, seen: Seen) -> None:
        """Learn nothing."""


class SameCarrier(NodeAverage):
    """Picks the least node average among nodes of the client's carrier, or among all where there is none."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._setting = setting

    def expected(self, question: Question, node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return averages of nodes, those of other carriers above all of the client's own."""
        average = np.nan_to_num(super().expected(question, node))
        own = same_carrier(self._setting, question.client, node)
        return average + np.where(own, 0.0, average.max(initial=0.0) + 1.0)
