"""Compare the forest with the fastest tree engines: same model, same rows, one pinned thread, in one run.

Usage: ``python benchmarks/forest/run.py [--work DIR] [--rounds N] [--core K] [--json FILE] [--shapes S ...]``
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import lightgbm as lgb
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import workload  # noqa: E402

from training.artifacts.onnx_export import to_onnx  # noqa: E402
from training.heads.lightgbm_trees import trees_from_lightgbm  # noqa: E402

ENGINES = {
    "fogline": None,
    "fogline_rebuilt": None,
    "lightgbm": "lightgbm",
    "lightgbm_fast": "lightgbm",
    "lleaves": "lleaves",
    "tl2cgen": "tl2cgen",
    "onnxruntime": "onnxruntime",
    "daal4py": "daal4py",
    "ydf": "ydf",
}
"""Engine -> its environment, as `peers/NAME.txt`; none is this one."""
MISSING = {"lignum": "the package index holds no tree engine of this name (the package there writes JSON logs)"}


def environment(name: str, work: Path) -> Path | str:
    """Python of a peer's environment, made on first use, or why there is none."""
    folder = work / "envs" / name
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, text=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
            subprocess.run([*install, HERE / "peers" / f"{name}.txt"], check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            return f"cannot be installed: {error.stderr.strip().splitlines()[-1]}"
        (folder / "done").prefetch_line()
    return python


def prepare(shape: str, work: Path, rows: np.ndarray) -> None:
    """Model, expected scores and ONNX form of one shape."""
    folder = work / shape
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "expected.npy").exists():
        workload.train(shape, folder / "model.txt")
        booster = lgb.Booster(model_file=folder / "model.txt")
        (folder / "model.onnx").write_bytes(to_onnx(trees_from_lightgbm(booster)))
        np.save(folder / "expected.npy", [booster.predict(batch, raw_score=True) for batch in rows])


def measure(engine: str, python: Path | str, shape: str, work: Path, core: int) -> dict[str, object]:
    """One engine's times on one model, or its error."""
    folder = work / shape
    arguments = [HERE / "engine.py", engine, folder / "model.txt", work / "rows.npy", folder, str(core)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [python, *arguments], capture_output=True, text=True, check=False, env=os.environ | threads, timeout=1800
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def collect(shapes: list[str], work: Path, rounds: int, core: int) -> dict[str, dict[str, dict]]:
    """All rounds of all engines, engine after engine within a round so that noise falls on all."""
    pythons = {None: Path(sys.executable)}
    pythons |= {name: environment(name, work) for name in ENGINES.values() if name}
    results: dict[str, dict[str, dict]] = {shape: {} for shape in shapes}
    for _ in range(rounds):
        for shape in shapes:
            for engine, where in ENGINES.items():
                python = pythons[where]
                one = {"error": python} if isinstance(python, str) else measure(engine, python, shape, work, core)
                print(f"{shape} {engine}: {one.get('error') or round(float(np.median(one['ns_per_row'])), 1)}",
                      file=sys.stderr)  # fmt: skip
                merged = results[shape].setdefault(engine, {"ns_per_row": []})
                merged |= {key: value for key, value in one.items() if key != "ns_per_row"}
                merged["ns_per_row"] += one.get("ns_per_row", [])
    return results


def summary(times: dict) -> dict[str, object]:
    """Median and spread of one engine."""
    out = {key: value for key, value in times.items() if key != "ns_per_row"}
    if times["ns_per_row"]:
        low, middle, high = np.percentile(times["ns_per_row"], [10, 50, 90])
        out |= {"p10": round(low, 1), "median": round(middle, 1), "p90": round(high, 1)}
    return out


def table(report: dict) -> str:
    """A line an engine: median nanoseconds a row, and how many times fogline's."""
    shapes = list(report["shapes"])
    lines = [f"{'ns a row, 256 rows':<20}" + "".join(f"{shape:>22}" for shape in shapes)]
    for engine in ENGINES:
        cells = []
        for shape in shapes:
            one, ours = report["shapes"][shape][engine], report["shapes"][shape]["fogline"].get("median")
            cells.append(f"{one['median']:>12.1f} ({one['median'] / ours:>5.1f}x)" if "median" in one else "failed")
        lines.append(f"{engine:<20}" + "".join(f"{cell:>22}" for cell in cells))
    lines += [f"{name}: {why}" for name, why in report["missing"].items()]
    return "\n".join(lines)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=HERE / "work", help="environments, models and compiled peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--shapes", nargs="+", choices=workload.SHAPES, default=list(workload.SHAPES))
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    rows = workload.rows()
    np.save(work / "rows.npy", rows)
    for shape in options.shapes:
        prepare(shape, work, rows)
    results = collect(options.shapes, work, options.rounds, options.core)
    shapes = {shape: {engine: summary(times) for engine, times in one.items()} for shape, one in results.items()}
    failed = {engine: one["error"] for engines in shapes.values() for engine, one in engines.items() if "error" in one}
    machine = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    report = {"machine": machine, "batch": workload.BATCH, "shapes": shapes, "missing": MISSING | failed}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))


def processor() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
