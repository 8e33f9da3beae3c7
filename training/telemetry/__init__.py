"""Reads a telemetry directory."""

from training.telemetry.check import CheckReport, OutcomeSummary, TableSummary, check_telemetry
from training.telemetry.data import Data, Files, Frames, as_data, data_name, data_of
from training.telemetry.data_id import data_id
from training.telemetry.history_keys import count_keys
from training.telemetry.read import read_telemetry
from training.telemetry.telemetry import Categories, Columns, Entities, Telemetry, at_rows, concatenated

__all__ = [
    "Categories",
    "CheckReport",
    "Columns",
    "Data",
    "Entities",
    "Files",
    "Frames",
    "OutcomeSummary",
    "TableSummary",
    "Telemetry",
    "as_data",
    "at_rows",
    "check_telemetry",
    "concatenated",
    "count_keys",
    "data_id",
    "data_name",
    "data_of",
    "read_telemetry",
]
