"""Telemetry in: a telemetry directory, checked against its spec, as sorted arrays."""

from training.ingest.check import CheckReport, OutcomeSummary, check_telemetry, data_id
from training.ingest.read import read_telemetry
from training.ingest.values import Categories, Columns, Entities, Telemetry, concatenated

__all__ = [
    "Categories",
    "CheckReport",
    "Columns",
    "Entities",
    "OutcomeSummary",
    "Telemetry",
    "check_telemetry",
    "concatenated",
    "data_id",
    "read_telemetry",
]
