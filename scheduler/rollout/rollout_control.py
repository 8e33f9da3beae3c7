"""New versions while decisions go on: follow an alias of the registry, and tell how it goes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from scheduler.decisions.record.status import RecordStatus
from scheduler.errors import InputError, shown
from scheduler.model.registry import ModelUri
from scheduler.policy.compile import with_policy
from scheduler.rollout.follow import Follower, FollowStatus
from scheduler.runtime.background import check_every
from scheduler.snapshot.autosave import Autosave, AutosaveStatus
from scheduler.snapshot.folder import check_folder
from scheduler.snapshot.save import KEEP
from scheduler.snapshot.snapshot_control import SnapshotControl
from scheduler.spec import Spec


class Status(NamedTuple):
    """What runs, and how what runs beside it goes.

    Attributes
    ----------
    model, model_version, fingerprint
        Of the model in charge.
    arms
        How many arms follow the state, the one in charge included.
    following
        Of the last `Scheduler.follow`; None where nothing is followed.
    saving
        Of the last `Scheduler.autosave`; None where nothing is saved by itself.
    recording
        Of the last `Scheduler.record`; None where nothing was recorded.
    """

    model: str
    model_version: str
    fingerprint: str
    arms: int
    following: FollowStatus | None
    saving: AutosaveStatus | None
    recording: RecordStatus | None


class RolloutControl(SnapshotControl):
    """Follows a registry and tells how it goes; `scheduler.Scheduler` is one."""

    _follower: Follower | None = None
    _autosave: Autosave | None = None

    def follow(
        self,
        uri: str,
        *,
        every: float,
        registry: str | None = None,
        cache: str | Path | None = None,
        spec: Spec | None = None,
    ) -> Follower:
        """Follow an alias of a registry in a thread of its own, in place of what was followed until now.

        The registry is asked at once and then every so often. A new version is downloaded beside the one that runs,
        verified (hashes, fingerprint, golden rows), tried on known clients, and put in charge between two decisions.
        Whatever goes wrong is counted and kept as the last error of `status`; the running model stays in charge.

        Parameters
        ----------
        uri
            ``models:/NAME@ALIAS``.
        every
            Seconds between two questions, more than 0.
        registry, cache
            MLflow URI, and where copies are kept, which several processes may share; as for `Model.load`.
        spec
            A policy for every version in place of its own, as for `Scheduler`.

        Returns
        -------
        Follower
            Call ``stop`` to end it.

        Raises
        ------
        RegistryError
            If the URI is none.
        """
        seconds = check_every(every)
        if not isinstance(registry, str | None):
            message = f"registry: expected a URI, found {shown(registry)}"
            raise InputError(message)
        if spec is not None:
            with_policy(self.model, spec)  # raises where it does not fit
        uri, folder = str(ModelUri.parse(uri)), None if cache is None else check_folder(cache)
        if self._follower is not None:
            self._follower.stop()
        self._follower = Follower(self, uri, seconds, registry, folder, spec)
        return self._follower

    def autosave(self, folder: str | Path, *, every: float, keep: int = KEEP) -> Autosave:
        """Save every so many seconds, in place of an autosave that runs; see `SnapshotControl.autosave`."""
        before, self._autosave = self._autosave, super().autosave(folder, every=every, keep=keep)
        if before is not None:
            before.stop(save=False)
        return self._autosave

    def status(self) -> Status:
        """Return what runs, and how following and saving go."""
        model, follower, saving = self.model, self._follower, self._autosave
        return Status(
            model=model.name,
            model_version=model.version,
            fingerprint=model.spec.fingerprint(),
            arms=len(self.state.arms),
            following=None if follower is None else follower.status,
            saving=None if saving is None else saving.status,
            recording=None if self.recorder is None else self.recorder.status,
        )

    def close(self) -> None:
        """End following, saving and recording; the scheduler goes on deciding.

        An `Autosave` saves, and a `Recorder` writes what has happened.
        """
        if self._follower is not None:
            self._follower.stop()
        if self._autosave is not None:
            self._autosave.stop()
        if self.recorder is not None:
            self.recorder.stop()
