"""Saves a state every so often, in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scheduler.runtime.background import Background


class AutosaveStatus(NamedTuple):
    """How the saving goes.

    Attributes
    ----------
    saves, failures
        How often it went well, and how often it did not.
    last_path, last_saved
        The newest snapshot, and when it was finished, in seconds of `time.time`; None before the first.
    last_error, last_failed
        What went wrong last, and when; None where nothing did.
    """

    saves: int = 0
    failures: int = 0
    last_path: Path | None = None
    last_saved: float | None = None
    last_error: str | None = None
    last_failed: float | None = None


class Autosave:
    """Calls ``save`` every so many seconds until it is stopped. What goes wrong is counted and tried again next time.

    Parameters
    ----------
    save
        Saves once and returns the path.
    every
        Seconds between the begins of two saves.

    Attributes
    ----------
    status
        How it goes.
    """

    def __init__(self, save: Callable[[], Path], every: float) -> None:
        self._save, self._lock, self._pid = save, threading.Lock(), os.getpid()
        self.status = AutosaveStatus()
        self._background = Background("fogline-autosave", self._save_once, every, at_once=False)

    def stop(self, *, save: bool = True) -> AutosaveStatus:
        """End the thread, by default with a last save, and return how it went; a save under way is finished.

        A forked child saves nothing: it has no such thread, and the folder is its parent's.
        """
        if self._pid == os.getpid():
            self._background.stop()
            if save:
                self._save_once()
        return self.status

    def _save_once(self) -> None:
        with self._lock:
            try:
                path = self._save()
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is told, and tried again
                failures = self.status.failures + 1
                self.status = self.status._replace(
                    failures=failures, last_error=str(error) or type(error).__name__, last_failed=time.time()
                )
            else:
                saves = self.status.saves + 1
                self.status = self.status._replace(saves=saves, last_path=path, last_saved=time.time())
