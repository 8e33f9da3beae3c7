"""The scheduler inside a process of its own: a fleet, requests, and the outcomes that come back.

Run it on the artifact that the demo made:

    python examples/embed.py .fogline/demo/artifacts/demo-*

The boxes are made up. A fifth of them are bad, which no column tells: only outcomes can.
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np

from scheduler import Model, Scheduler

N_BOXES, N_REQUESTS, N_LOGGED = 200, 4_000, 2_000
START = 1_704_300_000.0  # any clock in seconds will do, as long as it goes forward


def main(folder: str) -> None:
    rng = np.random.default_rng(0)
    model = Model.load(folder)  # hashes, spec and golden rows are checked before anything is served
    sched = Scheduler(model, seed=0)

    # State in. Columns are those of the spec's [node] and [request]; what is left out counts as missing.
    boxes = [f"box-{i}" for i in range(N_BOXES)]
    regions = rng.choice(["east", "south"], N_BOXES)
    sched.fleet.upsert(
        boxes,
        {
            "isp": rng.choice(["north", "cable"], N_BOXES).tolist(),
            "region": regions.tolist(),
            "uplink_kbps": rng.choice([8_000.0, 16_000.0], N_BOXES),
            "price_per_gb": np.full(N_BOXES, 0.02),
            "load": rng.random(N_BOXES) * 0.3,
        },
        alive_until=START + 60.0,
    )
    sched.clients.upsert([17, 18], {"isp": ["north", "cable"], "region": ["east", "south"]})
    bad = set(rng.choice(boxes, N_BOXES // 5, replace=False).tolist())

    # A warm start: what was logged in the hours before, by whatever served then.
    logged = rng.choice(boxes, N_LOGGED).tolist()
    worked = rng.random(N_LOGGED) > np.where([box in bad for box in logged], 0.5, 0.01)
    sched.learn_batch(
        {"client_id": rng.choice([17, 18], N_LOGGED), "workload": ["live"] * N_LOGGED},
        logged,
        {"ok": worked, "latency_ms": np.where(worked, rng.lognormal(3.5, 0.2, N_LOGGED), np.nan)},
        now=np.sort(rng.uniform(START - 3_600.0, START, N_LOGGED)),
    )

    to_bad = np.zeros(N_REQUESTS, np.bool_)
    for i in range(N_REQUESTS):
        now = START + 0.1 * i
        if i % 300 == 0:
            sched.fleet.heartbeat(boxes, alive_until=now + 60.0)  # heartbeats
        request = {"client_id": 17 + i % 2, "workload": "live", "bitrate_kbps": 2_000.0}
        d = sched.decide(request, now=now)  # no candidates: the spec's tiers find them
        if not d.nodes:
            continue  # the origin serves; d.reason says why
        box = d.nodes[0]
        to_bad[i] = box in bad
        ok = bool(rng.random() > (0.5 if box in bad else 0.01))
        latency = float(rng.lognormal(3.5 if box not in bad else 5.0, 0.2))
        outcome = {"ok": ok, "latency_ms": latency} if ok else {"ok": ok, "fail_ms": 3_000.0}
        sched.observe(d.id, outcome, now=now + 0.05)

    print(f"model {model.name}-{model.version}")
    print(f"last decision: {d}")
    print(f"bad boxes: {len(bad) / N_BOXES:.0%} of the fleet, {to_bad.mean():.1%} of the decisions")
    print(sched.counters())

    # A restart that forgets nothing.
    with tempfile.TemporaryDirectory() as state:
        sched.save(state)
        sched = Scheduler.restore(state, model)
    print(f"restored: {sched.counters()['history_entries']} entries of history, {len(sched.fleet)} boxes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/embed.py ARTIFACT_FOLDER")
    main(sys.argv[1])
