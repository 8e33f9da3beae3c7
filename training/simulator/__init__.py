"""Makes up a small edge fleet."""

from training.simulator.fleet import START, Requests, World
from training.simulator.requests import batches
from training.simulator.rule_policy import RULES, RulePile, Sight
from training.simulator.telemetry import write_telemetry

__all__ = ["RULES", "START", "Requests", "RulePile", "Sight", "World", "batches", "write_telemetry"]
