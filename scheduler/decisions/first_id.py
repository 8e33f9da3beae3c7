"""Where a scheduler's decision ids begin: unique over processes and restarts, without asking anybody."""

from __future__ import annotations

import secrets
import time

LAST_ID = 2**63 - 1
"""Ids of decisions are integers of 64 bits."""

RANDOM_BITS = 11
"""Low bits that are drawn at random: two schedulers that begin in the same microsecond differ with 2,047 of 2,048."""

EPOCH_US = 1_577_836_800_000_000
"""2020-01-01 UTC in microseconds; 52 bits of them above the random ones last until 2162."""


def new_first_id() -> int:
    """Return the id that a new scheduler's first decision gets; the next ones count up from it.

    The high bits are the microsecond of the call, so ids of later schedulers are larger. A scheduler would have to make
    2,048 decisions a microsecond to reach the ids of one that began after it.
    """
    microseconds = max(time.time_ns() // 1_000 - EPOCH_US, 0)
    return microseconds << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
