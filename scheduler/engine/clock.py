"""The scheduler's clock: the latest time of any call, and which times a call may pass."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ClockError

MAX_SKEW: Final = 5.0
"""Seconds by which a call's time may lie behind the latest one: threads and machines disagree by so much."""

MAX_JUMP: Final = 30 * 86_400.0
"""Seconds by which a call's time may lie ahead of the latest one, or behind it. A fleet may pause for weeks;
milliseconds taken for seconds are ahead by 50,000 years, and a machine that lost its clock is back in 1970."""

INSISTENCE: Final = 16
"""Calls in a row that must agree on a time beyond `MAX_JUMP` before the clock follows them: one wrong caller among
right ones never gets so far, and a scheduler that was idle for months is back after as many calls."""

_UNITS: Final = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))


class Clock:
    """The latest time of any call, in seconds.

    Attributes
    ----------
    latest
        (1,) float64, which kernels raise; -inf before the first call.
    steps_back
        How often a call had a time that lay more than `MAX_SKEW` behind.
    """

    def __init__(self) -> None:
        self.latest = np.full(1, -np.inf)
        self.steps_back = 0
        self._insisted, self._claimed = 0, 0.0

    def is_near(self, now: float) -> bool:
        """Return whether a call's time lies so near to the latest one that `check` accepts it and moves nothing."""
        latest = self.latest.item()
        is_near: bool = latest - MAX_SKEW <= now <= latest + MAX_JUMP
        if is_near:
            self._insisted = 0
        return is_near

    def check(self, now: float) -> None:
        """Accept a call's time, or raise.

        A time more than `MAX_SKEW` behind the latest one sets the clock back: machines' clocks are corrected. A time
        more than `MAX_JUMP` ahead or behind is refused, unless `INSISTENCE` calls in a row agree on it.

        Raises
        ------
        ClockError
            If the time lies too far ahead or behind. The clock has not moved.
        """
        if self.is_near(now):
            return
        latest = self.latest.item()
        if not self.accepts(now):
            self._check_jump(now, latest)
        if now < latest:
            self.steps_back += 1
            self.latest[0] = now

    def check_all(self, times: NDArray[np.float64]) -> None:
        """Accept the times of many calls at once, or raise as `check`.

        The last of them says what time it is. Earlier ones may be as old as they like: outcomes may come late.
        """
        if not times.size:
            return
        latest, steps_back = self.latest.item(), self.steps_back
        self.check(times.max())
        if self.steps_back == steps_back and times.min() < latest - MAX_SKEW:
            self.steps_back += 1

    def accepts(self, now: float) -> bool:
        """Whether `check` would accept a time at once; nothing changes."""
        latest = self.latest.item()
        return latest == -np.inf or abs(now - latest) <= MAX_JUMP

    def _check_jump(self, now: float, latest: float) -> None:
        agrees = abs(now - self._claimed) <= MAX_JUMP
        self._insisted, self._claimed = (self._insisted + 1 if agrees else 1), now
        if self._insisted > INSISTENCE:
            self._insisted = 0
            return
        unit = next((f"; are these {name}?" for name, n in _UNITS if abs(now / n - latest) <= MAX_JUMP), "")
        message = f"now: expected at most {MAX_JUMP:g} s from the latest time of any call, {latest}, found {now}{unit}"
        raise ClockError(message)
