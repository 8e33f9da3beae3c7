"""How fast telemetry goes through history: ``python -m benchmarks.replay DATA --spec NAME``.

Thread CPU time of one core, compiled code warm, and the peak memory of the process. Once with no feature row kept,
once with a million kept as training does, once with all rows kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from scheduler.features.program import compile_features
from scheduler.history.store import new_history
from training.features.replay import replay
from training.features.vocabulary import find_vocabulary
from training.specs.builtin import find_spec
from training.telemetry import read_telemetry

KEPT = {"none": 0, "a million": 1_000_000, "all": 2**62}


def main() -> None:
    """Read, warm up, and time each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--spec", required=True)
    arguments = parser.parse_args()
    spec = find_spec(arguments.spec)
    telemetry = read_telemetry(arguments.data, spec)
    features = compile_features(spec, find_vocabulary(telemetry, spec))
    n = len(telemetry)
    few = np.zeros(n, np.bool_)
    few[:10] = True
    replay(telemetry, spec, features, new_history(spec), keep=few, end=-np.inf)  # compiles or loads
    rates = {}
    for name, kept in KEPT.items():
        keep = np.zeros(n, np.bool_)
        keep[np.random.default_rng(0).choice(n, min(kept, n), replace=False)] = True
        begin = time.thread_time()
        replay(telemetry, spec, features, new_history(spec), keep=keep)
        rates[name] = round(n / (time.thread_time() - begin))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = {"rows": n, "features": len(features.names), "rows_per_s_by_kept": rates, "peak_bytes": peak}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
