"""Arguments of the benchmarks that decide requests of measured data."""

from __future__ import annotations

import argparse
from pathlib import Path

from scheduler.errors import InputError
from training.evaluation.evaluate import first_slice
from training.specs.builtin import find_spec


def add_requests(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark be told which requests of which data are decided."""
    parser.add_argument("data", type=Path, help="telemetry directory")
    parser.add_argument("--spec", type=find_spec, required=True, help="a spec's file or shipped name")
    parser.add_argument("--from", dest="start", type=int, help="first slice to decide; default: the spec's")
    parser.add_argument("--requests", type=int, help="requests of a client in a slice; default: the spec's")
    parser.add_argument("--seeds", type=int, default=3)


def parse_requests(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments; what is not said of the requests is as in the spec."""
    options = parser.parse_args()
    try:
        options.start = first_slice(options.spec, options.start)
    except InputError as error:
        parser.error(str(error))
    options.requests = options.requests or options.spec.evaluation.requests
    return options
