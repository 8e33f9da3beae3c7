"""State that outlives the process: saved while decisions go on, restored, carried over to another model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Self, Unpack

from scheduler.engine.arm import Arm
from scheduler.engine.record_control import RecordControl
from scheduler.engine.request import check_time
from scheduler.engine.settings import CheckedSettings, Settings, check_settings
from scheduler.engine.state import State
from scheduler.errors import InputError, SnapshotError, shown
from scheduler.model.model import Model
from scheduler.policy.compile import check_model, with_policy
from scheduler.runtime.background import check_every
from scheduler.snapshot.autosave import Autosave
from scheduler.snapshot.carried import Carried
from scheduler.snapshot.catch_up import CaughtUp, add_records, learn
from scheduler.snapshot.folder import check_folder
from scheduler.snapshot.save import IN_MEMORY, KEEP, Saved, copy_of, fill, read_newest, save
from scheduler.spec import Spec


class SnapshotControl(RecordControl):
    """Saves and restores a state; `scheduler.Scheduler` is one."""

    def save(self, folder: str | Path, *, keep: int = KEEP) -> Path:
        """Write a snapshot of the state while others decide and change; none of them waits for more than 5 ms.

        A snapshot has nodes, clients, sets of categories, history, open decisions, reservations, counters and clock. It
        holds all that was told before the call, all outcomes up to one moment of it, and else what is told meanwhile in
        part. It is written beside its place, made durable, and renamed: a process that is killed leaves the earlier
        ones as they were.

        Parameters
        ----------
        folder
            Of snapshots; made where it is missing. Several processes may share one.
        keep
            How many of the newest snapshots stay, 1 or more.

        Returns
        -------
        Path
            The new snapshot.

        Raises
        ------
        SnapshotError
            If the folder cannot be written or has no room. Earlier snapshots stay.
        """
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
            message = f"keep: expected an integer of 1 or more, found {shown(keep)}"
            raise InputError(message)
        return save(self.state, check_folder(folder), keep)

    def autosave(self, folder: str | Path, *, every: float, keep: int = KEEP) -> Autosave:
        """Save every so many seconds in a thread of its own, until the returned `Autosave` is stopped.

        What goes wrong is counted, kept as the status's last error, and tried again at the next turn.

        Parameters
        ----------
        folder, keep
            As of `save`.
        every
            Seconds, more than 0.
        """
        return Autosave(partial(self.save, check_folder(folder), keep=keep), check_every(every))

    @classmethod
    def restore(
        cls,
        folder: str | Path,
        model: Model,
        spec: Spec | None = None,
        *,
        now: float | None = None,
        adapt: bool = False,
        records: str | Path | None = None,
        **settings: Unpack[Settings],
    ) -> Self:
        """Return a scheduler that goes on where the newest whole snapshot of a folder was saved.

        With records it goes on where these end: what came after the snapshot and was recorded is made up for, so that a
        process that was killed has lost the seconds that were not written yet. History is then, bit for bit, what it
        was. Decisions made after the snapshot are known again, but nothing is reserved for them; see `caught_up`.

        Reservations expire as they would have. Outcomes of decisions that were open are taken; ids of new ones begin
        anew, so that they meet those of no other process.

        Parameters
        ----------
        folder
            Of snapshots.
        model, spec
            As of `Scheduler`.
        now
            The time in seconds, by default that of the last call before the snapshot.
        adapt
            Take a snapshot of another fingerprint too: what both specs define alike is carried over, what is new starts
            empty; see `carried`.
        records
            The folder that `record` wrote to. Several schedulers may write there: only what the one that was saved
            recorded counts, and those that were restored from it one after another.
        settings
            As of `Scheduler`; those left out are as they were saved.

        Raises
        ------
        SnapshotError
            If the folder has no whole snapshot, or one of another fingerprint. Where the newest one is damaged and an
            older one is whole, that is used, with a `SnapshotWarning`.
        RecordError
            If there is no folder of records, or ids were hashed in it.
        """
        check_model(model)
        model = model if spec is None else with_policy(model, spec)
        saved = read_newest(check_folder(folder))
        if not adapt and saved.spec.fingerprint() != model.spec.fingerprint():
            found = f"{saved.spec.fingerprint()} ({saved.spec.name})"
            message = f"{saved.path}: expected a snapshot of fingerprint {model.spec.fingerprint()}, found {found}"
            raise SnapshotError(message)
        kept: Settings = {**saved.settings, **settings}
        checked, time = check_settings(kept), None if now is None else check_time(now)
        if records is None:
            return cls._from(saved, model, checked, time)
        if saved.spec.fingerprint() != model.spec.fingerprint():
            message = (
                "records: expected none with a model of another fingerprint, because they have other keys, found some"
            )
            raise InputError(message)
        told = add_records(saved, check_folder(records))
        scheduler = cls._from(told.saved, model, checked, time)
        scheduler.state.lock.write(learn, scheduler.state, told)
        scheduler.state.follows = told.life
        scheduler._caught_up = told.caught_up  # noqa: SLF001 - of its own class
        return scheduler

    def adapt(self, model: Model, spec: Spec | None = None, **settings: Unpack[Settings]) -> Self:
        """Return a scheduler of a model with another fingerprint that knows what this one's state knows.

        What both specs define alike is carried over: columns, history keys with their statistics, latent factors,
        change points, open decisions. What is new starts empty; see `carried`. This scheduler goes on meanwhile, and
        what it is told from now on the new one does not know.

        Parameters
        ----------
        model, spec
            As of `Scheduler`.
        settings
            As of `Scheduler`; those left out are as they are here.
        """
        check_model(model)
        model = model if spec is None else with_policy(model, spec)
        kept: Settings = {**self.state.settings, "first_id": None, **settings}  # type: ignore[typeddict-item]
        return self._from(copy_of(self.state), model, check_settings(kept), None)

    @property
    def carried(self) -> Carried | None:
        """What was carried over when the state was restored or adapted, and what started empty; None for a new one."""
        return self._carried

    @property
    def caught_up(self) -> CaughtUp | None:
        """What a restored state took from records; None where it was restored without, or is new."""
        return self._caught_up

    _carried: Carried | None = None
    _caught_up: CaughtUp | None = None

    def _begin(self, state: State, model: Model) -> None:
        """Decide by a model over a state."""
        self.state = state
        state.join(Arm(model, state.index, state.lock))

    @classmethod
    def _from(cls, saved: Saved, model: Model, settings: CheckedSettings, now: float | None) -> Self:
        state = State(model.spec, model.features, **settings)
        carried = fill(state, saved, now)
        state.follows = int(saved.columns["life"][0]) if "life" in saved.columns and saved.path != IN_MEMORY else 0
        state.log.begin_ids(settings["first_id"])
        scheduler = cls.__new__(cls)
        scheduler._begin(state, model)  # noqa: SLF001 - of its own class
        scheduler._carried = carried  # noqa: SLF001
        return scheduler
