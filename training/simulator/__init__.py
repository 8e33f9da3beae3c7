"""Makes up a small edge fleet."""

from training.simulator.fleet import START, Requests, World
from training.simulator.requests import rounds
from training.simulator.rule_policy import RULES, RulePile, Sight
from training.simulator.telemetry import write_telemetry

__all__ = ["RULES", "START", "Requests", "RulePile", "Sight", "World", "rounds", "write_telemetry"]
