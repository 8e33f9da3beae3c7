"""Reads a telemetry directory."""

from training.telemetry.check import CheckReport, OutcomeSummary, TableSummary, check_telemetry, data_id
from training.telemetry.history_keys import count_keys
from training.telemetry.read import read_telemetry
from training.telemetry.telemetry import Categories, Columns, Entities, Telemetry, at_rows, concatenated

__all__ = [
    "Categories",
    "CheckReport",
    "Columns",
    "Entities",
    "OutcomeSummary",
    "TableSummary",
    "Telemetry",
    "at_rows",
    "check_telemetry",
    "concatenated",
    "count_keys",
    "data_id",
    "read_telemetry",
]
