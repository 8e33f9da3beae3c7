"""Decisions recorded and made again: ``python -m benchmarks.replays [--decisions N] [--json FILE]``.

The demo's spec serves the demo's fleet by two models, trained on its telemetry. Decisions are recorded in full, across
20 changes of policy and 5 swaps of models. Records are replayed and compared bit for bit, and removed, whenever they
have grown large, and at the end. An error ends it where one differs, could not be replayed, or is missing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.report import show
from benchmarks.scheduler import machine
from scheduler import Model, Scheduler
from scheduler.audit.replay import replay
from scheduler.policy.compile import with_policy
from scheduler.spec import Policy, Spec, load_spec
from training.pipeline.train import train_model
from training.simulator import START, World, write_telemetry
from training.telemetry import Categories, Entities, read_telemetry

DEMO = Path(__file__).resolve().parents[1] / "models" / "specs" / "demo.toml"

POLICY_CHANGES, SWAPS = 20, 5

BATCH = 16
"""Requests decided by one call, after which outcomes arrive and rings are emptied, which hold 64 full records."""

RULES = (
    Policy(explore="epsilon", epsilon=0.05, alternatives=1),
    Policy(explore="softmax", temperature=40.0, alternatives=1),
    Policy(explore="inverse_gap", temperature=60.0, alternatives=1),
    Policy(explore="ucb", uncertainty_scale=50.0, count_key="client_node", alternatives=1),
    Policy(explore="thompson", uncertainty_scale=50.0, count_key="client_node", alternatives=1),
    Policy(explore="epsilon", epsilon=0.02, newcomer_share=0.1, newcomer_key="node", budget=0.1, alternatives=1),
)


def columns_of(table: Entities) -> dict[str, Any]:
    """Return a table's columns as a scheduler takes them."""
    return {n: c.raw() if isinstance(c, Categories) else c for n, c in table.columns.items()}


def train(world: World, spec: Spec, folder: Path, requests: int) -> list[Model]:
    """Return two models of the demo's telemetry that differ in their seeds."""
    write_telemetry(world, folder / "telemetry", requests=requests)
    telemetry = read_telemetry(folder / "telemetry", spec)
    return [train_model(telemetry, spec, folder / str(seed), seed=seed).model for seed in range(2)]


class Served:
    """Decides the demo's requests, reports what came of them, and records.

    Attributes
    ----------
    n, seconds
        Decisions so far, and seconds that they took.
    """

    def __init__(self, world: World, model: Model, full: float) -> None:
        self.world, self.full, self.n, self.seconds = world, full, 0, 0.0
        self.scheduler = Scheduler(model, seed=7)
        self.scheduler.fleet.upsert(world.nodes.ids, columns_of(world.nodes))
        self.scheduler.clients.upsert(world.clients.ids, columns_of(world.clients))
        self._rng = np.random.default_rng(5)

    def record(self, folder: Path) -> None:
        """Record to a folder from now on."""
        self.scheduler.record(folder, full=self.full, every=5.0, most_bytes=1 << 50)

    def serve(self, n: int) -> None:
        """Decide about ``n`` requests, a batch each second."""
        begin = time.perf_counter()
        for _ in range(0, n, BATCH):
            now = START + 2 * 86_400.0 + self.n / BATCH
            if self.n % (300 * BATCH) == 0:
                self.scheduler.fleet.update(self.world.nodes.ids, {"load": self.world.reported_load(now)})
            asked = self.world.requests_at(np.full(BATCH, now), self._rng)
            request = {name: c.raw() if isinstance(c, Categories) else c for name, c in asked.columns().items()}
            made = self.scheduler.decide_batch({"client_id": self.world.clients.ids[asked.client], **request}, now=now)
            self._observe(asked, made, now)
            self._drain()
            self.n += BATCH
        self.seconds += time.perf_counter() - begin

    def _observe(self, asked: Any, made: Any, now: float) -> None:
        served = np.flatnonzero(made.position[:, 0] >= 0)
        nodes = made.nodes[served, 0]
        found = self.world.outcomes(
            asked.__class__(*(column[served] for column in asked)), nodes.astype(int)[:, None] - 1000
        )
        outcomes = {name: values[:, 0] for name, values in found.items()}
        self.scheduler.observe_batch(made.id[served], outcomes, now=now + 0.5, nodes=nodes.tolist())

    def _drain(self) -> None:
        """Take what waits in the rings, which a benchmark fills faster than any fleet."""
        recorder = self.scheduler.recorder
        with recorder._lock:  # noqa: SLF001
            recorder._drain()  # noqa: SLF001


def phases(spec: Spec, models: list[Model]) -> list[tuple[Model | None, Spec]]:
    """Return a model to swap in, or None to stay, and the spec in force, for each stretch between two changes."""
    found: list[tuple[Model | None, Spec]] = [(models[0], spec)]
    for k in range(POLICY_CHANGES + SWAPS):
        rule = RULES[k % len(RULES)]
        utility = msgspec.structs.replace(spec.utility, load=-20.0 - k)
        changed = msgspec.structs.replace(spec, policy=rule, utility=utility)
        is_swap = k % (POLICY_CHANGES // SWAPS + 1) == POLICY_CHANGES // SWAPS
        found.append((models[len(found) % 2] if is_swap else None, changed))
    return found


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Record and replay, and return the figures."""
    world, spec = World(0), load_spec(DEMO)
    spec = msgspec.structs.replace(spec, policy=msgspec.structs.replace(spec.policy, alternatives=1))
    models = [with_policy(model, spec) for model in train(world, spec, folder, options.requests)]
    served = Served(world, models[0], options.full)
    totals = {"decided": 0, "identical": 0, "replay seconds": 0.0, "bytes": 0, "folders": 0}
    records, stretches = folder / "records", phases(spec, models)
    served.record(records)
    for k, (model, changed) in enumerate(stretches):
        if k and model is not None:
            scheduler = served.scheduler
            scheduler.release(scheduler.swap(model, changed))
        elif k:
            served.scheduler.set_policy(changed)
        served.serve(options.decisions // len(stretches))
        if size_of(records) > options.gigabytes * 1e9 or k == len(stretches) - 1:
            check(served, records, models, totals)
            if k < len(stretches) - 1:
                served.record(records)
    n, seconds = totals["decided"], totals["replay seconds"]
    return {
        "machine": machine(),
        "decisions": served.n,
        "in full": n,
        "identical": totals["identical"],
        "policy changes": POLICY_CHANGES,
        "swaps": SWAPS,
        "folders": totals["folders"],
        "bytes a decision": round(totals["bytes"] / served.n),
        "recorded a second": round(served.n / served.seconds),
        "replayed a second": round(n / seconds),
    }


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def check(served: Served, records: Path, models: list[Model], totals: dict[str, Any]) -> None:
    """End the recording, replay it, add to the totals, and remove it; exit where anything differs or is missing."""
    status = served.scheduler.recorder.stop()
    if any(status.dropped.values()) or any(status.lost.values()):
        sys.exit(f"dropped {status.dropped}, lost {status.lost}")
    begin = time.perf_counter()
    report = replay(records, models)
    totals["replay seconds"] += time.perf_counter() - begin
    if not report.is_identical or report.decided != status.written["full"]:
        sys.exit(f"{report.decided} of {status.written['full']} replayed, {report.identical} identical: {report}")
    totals["decided"] += report.decided
    totals["identical"] += report.identical
    totals["bytes"] += size_of(records)
    totals["folders"] += 1
    print(f"{served.n:,} decisions, {totals['identical']:,} in full replayed, identical", file=sys.stderr)
    shutil.rmtree(records)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replays", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--full", type=float, default=1.0, help="share recorded in full")
    parser.add_argument("--requests", type=int, default=100_000, help="of the telemetry that the models are trained on")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of records, after which they are replayed")
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="replays-") as folder:
        show(run(options, Path(folder)), options.json)


if __name__ == "__main__":
    main()
