"""Telemetry in: a telemetry directory, checked against its spec, as sorted arrays."""

from training.telemetry.check import CheckReport, OutcomeSummary, check_telemetry, data_id
from training.telemetry.read import read_telemetry
from training.telemetry.telemetry import Categories, Columns, Entities, Telemetry, at_rows, concatenated

__all__ = [
    "Categories",
    "CheckReport",
    "Columns",
    "Entities",
    "OutcomeSummary",
    "Telemetry",
    "at_rows",
    "check_telemetry",
    "concatenated",
    "data_id",
    "read_telemetry",
]
