"""Prediction under the published protocol: ``python -m benchmarks.prediction DATA``.

Prints a line of JSON for each method and density: the errors of a slice averaged over slices, their mean and standard
deviation over the draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.prediction.predictor import predict
from benchmarks.prediction.protocol import Cells, Figures, draw, judge, read_slices
from benchmarks.prediction.rivals import amf, service_mean

METHODS = {
    "batch": lambda *a: predict(*a, online=False, progress=_tell),
    "online": lambda *a: predict(*a, online=True, progress=_tell),
    "AMF, own": amf,
    "service mean, own": lambda known, asked, shape, _: service_mean(known, asked, shape),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("data", type=Path, help="telemetry directory")
    parser.add_argument("--density", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one round of draws each")
    parser.add_argument("--cells", type=int, default=40_000, help="at most so many test cells a slice, drawn at random")
    parser.add_argument("--slices", type=int, help="only so many of the first slices")
    options = parser.parse_args()
    slices, shape = read_slices(options.data)
    slices = slices[: options.slices]
    for density in options.density:
        for method in options.method:
            begin = time.process_time()
            rounds = [run(method, slices, shape, density, seed, options.cells) for seed in options.seed]
            figures = {
                name: [round(float(f(values)), 4) for f in (np.mean, np.std)]
                for name, values in zip(Figures._fields, np.transpose(rounds), strict=True)
            }
            line = {"method": method, "density": density, "rounds": len(rounds), "slices": len(slices), **figures}
            print(json.dumps({**line, "cpu_s": round(time.process_time() - begin)}), flush=True)


def run(
    method: str, slices: list[Cells], shape: tuple[int, int], density: float, seed: int, n_cells: int
) -> np.ndarray:
    """Draw, predict and judge once; return the (5,) figures averaged over slices."""
    rng = np.random.default_rng([seed, round(density * 100)])
    drawn = [draw(cells, shape, density, rng) for cells in slices]
    known = [train for train, _ in drawn]
    tests = [Cells(test.at[:n_cells], test.seconds[:n_cells]) for _, test in drawn]  # in random order already
    predicted = METHODS[method](known, [test.at for test in tests], shape, seed)
    return np.mean([judge(test.seconds, p) for test, p in zip(tests, predicted, strict=True)], axis=0)


def _tell(t: int) -> None:
    print(f"\rslice {t}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
