"""Policies that pick nodes in an evaluation: simple statistics, a linear bandit, and the learned model."""

from __future__ import annotations

from scheduler.model import Model
from training.baselines.averages import NodeAverage, PairAverage, PairLast
from training.baselines.chance import Random
from training.baselines.learned import Learned
from training.baselines.linucb import LinUCB
from training.baselines.places import Nearest, SameCarrier, knows_carriers, knows_places
from training.baselines.policy import Policy, Question, Seen, Setting

__all__ = [
    "Learned",
    "LinUCB",
    "Nearest",
    "NodeAverage",
    "PairAverage",
    "PairLast",
    "Policy",
    "Question",
    "Random",
    "SameCarrier",
    "Seen",
    "Setting",
    "all_policies",
    "baselines",
]


def baselines(setting: Setting) -> dict[str, Policy]:
    """Return the baselines that a setting allows, by name; each learns on its own."""
    policies: dict[str, Policy] = {
        "random": Random(setting),
        "node_average": NodeAverage(setting),
        "pair_average": PairAverage(setting),
        "pair_last": PairLast(setting),
    }
    if knows_places(setting):
        policies["nearest"] = Nearest(setting)
    if knows_carriers(setting):
        policies["same_carrier"] = SameCarrier(setting)
    policies["linucb"] = LinUCB(setting)
    return policies


def all_policies(setting: Setting, model: Model) -> dict[str, Policy]:
    """Return the baselines and the learned model."""
    return {**baselines(setting), "learned": Learned(setting, model)}
