"""Wait for what another thread does."""

import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds after which a test gives up. It ends a test that hangs; a machine under load is not to end one."""


def wait_for(condition: Callable[[], object]) -> None:
    """Return once a condition holds; fail where that takes `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"expected within {PATIENCE:g} s what did not come"
        time.sleep(0.01)
