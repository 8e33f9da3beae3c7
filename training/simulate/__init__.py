"""A small made-up edge fleet: its telemetry under hand-written rules, and rounds with all outcomes."""

from training.simulate.draw import rounds
from training.simulate.rules import RULES, RulePile, Sight
from training.simulate.world import START, Requests, World
from training.simulate.write import write_telemetry

__all__ = ["RULES", "START", "Requests", "RulePile", "Sight", "World", "rounds", "write_telemetry"]
