"""Telemetry in: a telemetry directory, checked against its spec, as sorted arrays."""

from training.ingest.check import CheckReport, OutcomeSummary, check_telemetry, data_id
from training.ingest.read import read_telemetry
from training.ingest.values import Categories, Columns, Entities, Telemetry, at_rows, concatenated

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
