"""Metrics of a scheduler for Prometheus, on this machine's loopback.

Run it on the artifact that the demo made, and let Prometheus scrape the address that it prints. `grafana.json` beside
it is a dashboard over what is found there:

    python examples/metrics.py .fogline/demo/artifacts/demo-*

Nodes, clients and outcomes are made up, and the clock is this machine's.
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np
from prometheus_client import start_http_server

from scheduler import Model, Scheduler
from scheduler.metrics import register

N_BOXES, PER_SECOND = 200, 100.0


def main(folder: str, port: int = 9464, seconds: float = math.inf) -> None:
    rng = np.random.default_rng(0)
    sched = Scheduler(Model.load(folder), seed=0)
    sched.warm_up()  # else the first decision compiles, for up to a minute
    boxes = [f"box-{i}" for i in range(N_BOXES)]
    sched.fleet.upsert(boxes, {}, alive_until=time.time() + 60.0)

    # A control plane that has a web server of its own serves `prometheus_client.make_wsgi_app()` in place of this one.
    register(sched)
    server, _ = start_http_server(port, addr="127.0.0.1")
    print(f"http://127.0.0.1:{server.server_port}/metrics", flush=True)

    measured, heard, ends = sched.model.spec.cost.success, time.time(), time.monotonic() + seconds
    while time.monotonic() < ends:
        now = time.time()
        if now - heard > 10.0:
            sched.fleet.heartbeat(boxes, alive_until=now + 60.0)
            heard = now
        d = sched.decide({sched.model.spec.telemetry.client: int(rng.integers(50))}, now=now)
        if d.nodes and rng.random() > 0.02:  # some outcomes never come
            ok = bool(rng.random() > 0.01)
            outcome = {"ok": ok, measured: float(rng.lognormal(3.5, 0.2))} if ok else {"ok": ok}
            sched.observe(d.id, outcome, now=now, node=d.nodes[0])
        time.sleep(1.0 / PER_SECOND)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3, 4):
        sys.exit("usage: python examples/metrics.py ARTIFACT_FOLDER [PORT [SECONDS]]")
    main(sys.argv[1], *map(int, sys.argv[2:3]), *map(float, sys.argv[3:4]))
