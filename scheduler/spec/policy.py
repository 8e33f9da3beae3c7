"""How a spec decides: utility, candidates, ledger and policy."""

from __future__ import annotations

from typing import Literal

from scheduler.spec.section import Section


class Profile(Section, frozen=True):
    """A class of requests, whose columns equal ``when``: weights that replace the default ones, and a ``window``.

    The window replaces that of `scheduler.spec.types.WatchRules`; it changes no decision.
    """

    when: dict[str, str | int]
    heads: dict[str, float] = {}
    load: float | None = None
    price_weight: float | None = None
    window: str | None = None


class Utility(Section, frozen=True):
    """What the policy maximises: a weighted sum of heads, load and price.

    A head with ``given_ok`` counts with the probability of success. ``load`` weighs the share of a node's
    uplink that is reserved, ``price_weight`` the node column ``price``.
    """

    heads: dict[str, float]
    load: float = 0.0
    price_weight: float = 0.0
    price: str | None = None
    profiles: tuple[Profile, ...] = ()


class Tier(Section, frozen=True):
    """Nodes whose categories equal the request's, or whose set holds it; an empty ``match`` is every node.

    Without a ``limit`` a tier may fill all places that earlier tiers left.
    """

    name: str
    match: dict[str, str] = {}
    limit: int | None = None


class Candidates(Section, frozen=True):
    """Where candidates come from if the caller names none: tiers in order, up to ``limit`` candidates in all."""

    limit: int = 256
    tiers: tuple[Tier, ...] = (Tier(name="any"),)


class Ledger(Section, frozen=True):
    """Uplink bookkeeping: a node's capacity and a request's demand (kbit/s), and how long a reservation lasts."""

    capacity: str
    demand: str
    hold: str = "60s"


class Policy(Section, frozen=True):
    """How nodes are chosen by utility, and how other nodes than the best are explored.

    ``explore`` names the rule. ``epsilon`` and ``temperature`` belong to the rules of that name; ``uncertainty_scale``
    and ``uncertainty`` belong to ``ucb``, which adds the uncertainty of a candidate to its utility, and to
    ``thompson``, which takes it as the standard deviation of the utility. The uncertainty is
    ``uncertainty_scale / sqrt(1 + count)``, where ``count`` is the decayed count of outcomes under the history key
    ``count_key``. With ``uncertainty = "leaves"`` it is also multiplied by the standard error that the forest's leaves
    give the utility.

    Three limits hold for every rule. At most the share ``budget`` of all decisions is for another node than the best.
    No decision is for a node whose utility is more than ``max_utility_loss`` below the best one's. The share
    ``newcomer_share`` of the draws is spread evenly over nodes with fewer than ``newcomer_below`` outcomes under the
    history key ``newcomer_key``.

    ``spread`` limits for a node category how many nodes of a slate may have the same value. ``alternatives`` is how
    many further nodes come with a decision, best first, in case the slate's nodes refuse.
    """

    explore: Literal["none", "epsilon", "softmax", "inverse_gap", "ucb", "thompson"] = "none"
    epsilon: float = 0.0
    temperature: float = 1.0
    uncertainty_scale: float = 0.0
    uncertainty: Literal["count", "leaves"] = "count"
    count_key: str = "pair"
    budget: float = 1.0
    max_utility_loss: float | None = None
    newcomer_share: float = 0.0
    newcomer_below: int = 20
    newcomer_key: str = "node"
    max_nodes: int = 1
    spread: dict[str, int] = {}
    alternatives: int = 0

    @property
    def uncertainty_source(self) -> str | None:
        """Return where the rule takes its uncertainty from, None if it uses none."""
        return self.uncertainty if self.explore in ("ucb", "thompson") else None
