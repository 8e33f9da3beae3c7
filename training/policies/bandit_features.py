"""Features of the contextual bandits: averages, and columns of client and node."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.policies.moving_averages import Levels
from training.policies.protocol import BLOCK, Seen, Setting, blocks, seen_before
from training.policies.proximity import distance, knows_carriers, knows_places, same_carrier
from training.telemetry import Telemetry

SHOWN = 0.1
"""Share of the outcomes that averages see while a bandit is fitted. Of 0.02, 0.1, 0.2 and 0.4 the best for LinUCB
on `seattle` (gap closed 0.744, next 0.729); on `hbrp` all lie between 0.959 and 0.962."""

UNSEEN = 0.02
"""Share of the rows, at most, that no bandit is fitted to, because they meet averages of nothing."""

UNKNOWN_DISTANCE = 0.5
"""A sixth of the way around the globe, about the middle of what two places may have."""


class Inputs:
    """Running averages, and the features computed from them.

    Features are 1; averages of the node, of the client and of the pair; the pair's last value; whether the
    pair is new; and, where the spec names them, whether the carriers are equal, and the distance. Averages
    are of the cost's square root (see `training.policies.moving_averages`).

    Attributes
    ----------
    levels
        The averages.
    names
        Of the features.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.levels = Levels.empty(setting)
        self.names = ["one", "node", "client", "pair", "last", "new"]
        self.names += ["carrier"] * knows_carriers(setting) + ["distance"] * knows_places(setting)

    def warm(self, telemetry: Telemetry, rows: int | None = None) -> Iterator[tuple[Seen, NDArray[np.float64]]]:
        """Yield telemetry in blocks with features as of each, then let the averages see everything.

        Until then they see only a share of the outcomes, as they will during evaluation. So a bandit fitted to them
        trusts a pair's last value no more than it deserves; see `SHOWN`.

        Parameters
        ----------
        rows
            How many rows are yielded at most, drawn at random; all by default.

        Yields
        ------
        outcomes and their (n, n_features) features
            In order of arrival, without the first block, which meets empty averages.
        """
        seconds = self._setting.spec.telemetry.slice.seconds
        self.levels.set_spacing(telemetry, seconds)
        seen = seen_before(telemetry)
        rng = np.random.default_rng(self._setting.seed)
        shown = rng.random(len(seen)) < SHOWN
        wanted = rng.random(len(seen)) < (1.0 if rows is None else rows / max(len(seen), 1))
        for block in blocks(len(seen), min(BLOCK, max(1, int(UNSEEN * len(seen))))):
            start = block.start
            if start:
                part = seen.take(start + np.flatnonzero(wanted[block]))
                yield part, self.features(part.client, part.node[:, None])[:, 0]
            self.levels.learn(seen.take(start + np.flatnonzero(shown[block])))
        self.levels = Levels.empty(self._setting)
        self.levels.set_spacing(telemetry, seconds)
        self.levels.learn(seen)

    def features(self, client: NDArray[np.int32], node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return (n, n_candidates, n_features); unknown values are the average of the known ones, or 0."""
        levels = self.levels
        ones = np.ones(node.shape)
        overall = np.nan_to_num(levels.overall.read(np.zeros(1, np.int64)))
        of_client = levels.client.read(client)[:, None]
        columns = [
            ones,
            levels.of_nodes(node),
            np.where(np.isnan(of_client), overall, of_client) * ones,
            levels.of_pairs(levels.pair, client, node),
            levels.of_pairs(levels.last, client, node),
            np.isnan(levels.pair.read(levels.pairs(client[:, None], node))),
        ]
        if knows_carriers(self._setting):
            columns.append(same_carrier(self._setting, client, node))
        if knows_places(self._setting):
            columns.append(np.nan_to_num(distance(self._setting, client, node), nan=UNKNOWN_DISTANCE))
        return np.nan_to_num(np.stack([np.asarray(c, np.float64) for c in columns], axis=2))
