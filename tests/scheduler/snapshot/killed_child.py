"""Decides, observes, saves and records until it is killed, and keeps a diary of what it has done; a child process."""

import os
import sys
import time

from scheduler import Model
from tests.scheduler.snapshot.conftest import request_of, used


def main(model, folder, diary, every):
    sched = used(Model.load(model), remember=512, first_id=5_000)
    sched.record(f"{folder}/records", every=float(every), full=0.01)
    sched.save(f"{folder}/snapshots")
    sched.autosave(f"{folder}/snapshots", every=0.15)
    handle = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    i = 40
    while True:
        decision = sched.decide(request_of(i), now=float(i))
        for node in decision.nodes[:1] if i % 4 else ():
            outcome = {"ok": i % 5 != 0, "rtt_ms": 10.0 + i % 7, "speed": 2.0}
            sched.observe(decision.id, outcome, now=i + 0.5, node=node)
            os.write(handle, b"%d %r %d\n" % (decision.id, time.monotonic(), i))
        time.sleep(0.0005)
        i += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
