"""Picks nodes in an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection

from scheduler.errors import InputError
from scheduler.model.model import Model
from training.policies.key_average import KeyAverage
from training.policies.learned import Learned
from training.policies.linucb import LinUCB
from training.policies.low_rank import LowRank
from training.policies.moving_averages import NodeAverage, PairAverage, PairLast
from training.policies.protocol import Policy, Question, Seen, Setting
from training.policies.proximity import Nearest, SameCarrier, knows_carriers, knows_places
from training.policies.thompson import ThompsonNode, ThompsonPair
from training.policies.uniform import Random
from training.policies.vowpal_wabbit import VowpalWabbit

__all__ = [
    "BASELINES",
    "SIMPLE",
    "KeyAverage",
    "Learned",
    "LinUCB",
    "LowRank",
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
    "ThompsonNode",
    "ThompsonPair",
    "VowpalWabbit",
    "all_policies",
    "baselines",
]

BASELINES: dict[str, Callable[[Setting], Policy]] = {
    "random": Random,
    "node_average": NodeAverage,
    "pair_average": PairAverage,
    "pair_last": PairLast,
    "key_average": KeyAverage,
    "nearest": Nearest,
    "same_carrier": SameCarrier,
    "thompson_node": ThompsonNode,
    "thompson_pair": ThompsonPair,
    "low_rank": LowRank,
    "linucb": LinUCB,
    "vowpal_wabbit": VowpalWabbit,
}
"""What makes each baseline. Vowpal Wabbit takes a second for 2,000 decisions, the others for 100,000 or more."""

SIMPLE = ("node_average", "pair_average", "pair_last", "key_average")
"""Baselines that a few lines of anybody's make: a model that does not beat them is not worth its trouble."""


def baselines(setting: Setting, without: Collection[str] = ()) -> dict[str, Policy]:
    """Return the baselines that a setting allows, by name, but some; each learns on its own.

    Raises
    ------
    InputError
        If one to leave out is unknown, or ``random``, against which the others are measured.
    """
    unknown = sorted(set(without) - (BASELINES.keys() - {"random"}))
    if unknown:
        known = ", ".join(name for name in BASELINES if name != "random")
        raise InputError(f"without: expected some of {known}, found {', '.join(unknown)}")
    impossible = {"nearest": not knows_places(setting), "same_carrier": not knows_carriers(setting)}
    return {
        name: make(setting)
        for name, make in BASELINES.items()
        if name not in without and not impossible.get(name, False)
    }


def all_policies(setting: Setting, model: Model, without: Collection[str] = ()) -> dict[str, Policy]:
    """Return the baselines but some, and the learned model."""
    return {**baselines(setting, without), "learned": Learned(setting, model)}
