"""Pauses of a thread that works for long in Python, so that others decide meanwhile."""

from __future__ import annotations

import time
from typing import Final

PAUSE: Final = 5e-5
"""Seconds: about as long as a thread takes to wake up. One that gives up the interpreter and asks for it at once has it
again before any other is awake."""


def yield_interpreter() -> None:
    """Let a thread that waits for the interpreter have it."""
    time.sleep(PAUSE)
