"""Follows a model in a registry: a new version is fetched, verified, tried and put in charge, or refused and told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

from scheduler.engine.arm import Arm
from scheduler.engine.arm_control import ArmControl, prepare_tried
from scheduler.errors import ArtifactError, ForestError, InputError, SpecError
from scheduler.model.artifact import check_files
from scheduler.model.model import Model
from scheduler.model.registry import Fetched, ModelUri, fetch
from scheduler.runtime.background import Background
from scheduler.spec import Spec

FINAL: Final = (ArtifactError, SpecError, ForestError, InputError)
"""Errors that say that a version can never serve here. Any other may be the machine's, and gone at the next turn."""


class FollowStatus(NamedTuple):
    """How the following goes.

    Attributes
    ----------
    uri
        What is followed.
    version
        The registry's number of the version in charge; empty before the first that was put in charge from there.
    checks, swaps, failures
        How often the registry was asked, a version was put in charge, and something went wrong.
    last_checked, last_swapped
        When, in seconds of `time.time`; None before the first.
    last_error, last_failed
        What went wrong last, and when; None where nothing did.
    refused
        The version that was refused last and has not been replaced since; empty where there is none. It is not tried
        again.
    """

    uri: str
    version: str = ""
    checks: int = 0
    swaps: int = 0
    failures: int = 0
    last_checked: float | None = None
    last_swapped: float | None = None
    last_error: str | None = None
    last_failed: float | None = None
    refused: str = ""


class Follower:
    """Asks a registry every so often, in a thread of its own, and swaps when the alias leads to another version.

    Whatever goes wrong is counted, kept as the last error, and leaves the model that runs in charge. The arm that was
    in charge before a swap is kept for the way back until the next one.

    Parameters
    ----------
    control
        Whose arms are swapped.
    uri
        ``models:/NAME@ALIAS``.
    every
        Seconds between two questions.
    registry, cache
        As of `scheduler.model.registry.fetch`.
    spec
        A policy of one's own for every version, as for `scheduler.Scheduler`.

    Attributes
    ----------
    status
        How it goes.
    """

    def __init__(
        self,
        control: ArmControl,
        uri: str,
        every: float,
        registry: str | None,
        cache: Path | None,
        spec: Spec | None,
    ) -> None:
        self._control, self._registry, self._cache, self._spec = control, registry, cache, spec
        self._uri = str(ModelUri.parse(uri))
        self._earlier: Arm | None = None
        self._folder: Path | None = None
        self.status = FollowStatus(self._uri)
        self._background = Background("fogline-follow", self._check, every, at_once=True)

    def stop(self) -> FollowStatus:
        """End the thread and return how it went; a swap under way is finished."""
        self._background.stop()
        return self.status

    def _check(self) -> None:
        self.status = self.status._replace(checks=self.status.checks + 1, last_checked=time.time())
        try:
            found = fetch(self._uri, self._registry, cache=self._cache)
            if found.folder != self._folder:
                self._follow(found)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told, and asked for again
            self._note_failure(error)

    def _follow(self, found: Fetched) -> None:
        """Put a version in charge that was fetched; it is not tried again where it is refused."""
        self._folder = found.folder
        try:
            if check_files(found.folder).digest != self._control.model.manifest.digest:
                self._swap(Model.load(found.folder))
        except Exception as error:
            if _is_final(error):
                self.status = self.status._replace(refused=found.version)
            else:
                self._folder = None
            raise
        self.status = self.status._replace(version=found.version, refused="")

    def _swap(self, model: Model) -> None:
        control = self._control
        arm = prepare_tried(control.state, model, self._spec)
        try:
            earlier = control.swap(arm)
        except BaseException:
            control.release(arm)
            raise
        if self._earlier is not None and self._earlier in control.state.arms and self._earlier is not earlier:
            control.release(self._earlier)
        self._earlier = earlier
        self.status = self.status._replace(swaps=self.status.swaps + 1, last_swapped=time.time())

    def _note_failure(self, error: BaseException) -> None:
        text = str(error) or type(error).__name__
        failures = self.status.failures + 1
        self.status = self.status._replace(failures=failures, last_error=text, last_failed=time.time())


def _is_final(error: Exception) -> bool:
    """Return whether an error is the version's: a file that could not be read is none."""
    return isinstance(error, FINAL) and not isinstance(error.__context__, OSError)
