"""All benchmarks: ``python -m benchmarks [forest|scheduler|all] [--nodes N ...] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def forest() -> dict[str, Any]:
    """Run the comparison of tree engines, which stands by itself, and return its report."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "forest.json"
        subprocess.run([sys.executable, HERE / "forest" / "run.py", "--json", out], check=True)
        return json.loads(out.read_text())


def scheduler(sizes: list[int] | None = None) -> dict[str, Any]:
    """Measure the scheduler over fleets of some sizes, print its tables and return its report."""
    from benchmarks import scheduler as figures  # noqa: PLC0415 - numba and lightgbm only where they are measured

    report = figures.run(tuple(sizes or figures.SIZES))
    figures.show(report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("forest", "scheduler", "all"), default="all")
    parser.add_argument(
        "--nodes",
        type=int,
        nargs="+",
        help="sizes of the scheduler's fleets, 20,000 at least: smaller ones run out of uplink",
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    parts = {"forest": forest, "scheduler": lambda: scheduler(options.nodes)}
    report = {name: run() for name, run in parts.items() if options.what in {name, "all"}}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
