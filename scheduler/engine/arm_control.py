"""Which model decides: arms are prepared, put in charge and released while decisions go on."""

from __future__ import annotations

from scheduler.decisions.decision import Decision
from scheduler.engine.arm import Arm
from scheduler.engine.state import State
from scheduler.engine.trial import check_trial
from scheduler.engine.warm_up import warm_arm
from scheduler.model.model import Model
from scheduler.policy.compile import check_arm, check_model, check_swap, with_policy
from scheduler.runtime.not_copied import NotCopied
from scheduler.spec import Spec


class ArmControl(NotCopied):
    """Prepares, swaps and releases the arms of a state; `scheduler.Scheduler` is one.

    Attributes
    ----------
    state
        What the arms decide over.
    """

    _INSTEAD = "`save` it and `restore` the snapshot"

    state: State

    @property
    def model(self) -> Model:
        """The model in charge, under the policy in force."""
        return self.state.arms[0].model

    def prepare(self, model: Model, spec: Spec | None = None) -> Arm:
        """Make an arm of another model that decides over the same state, beside the one in charge.

        Its forest rows are computed and its code is warmed while decisions and changes go on; no step holds a lock
        longer than a millisecond. From then on its rows follow every change. Pass the arm to `swap`, or to `decide`
        as a challenger, and to `release` when it is not needed any more.

        Parameters
        ----------
        model
            Of the same fingerprint as the state.
        spec
            As for `Scheduler`.

        Returns
        -------
        Arm

        Raises
        ------
        InputError
            If the model, or its spec's candidates, ledger or sets, do not fit the state. Nothing changed.
        """
        return _prepare(self.state, model, spec)[0]

    def swap(self, arm: Arm | Model, spec: Spec | None = None) -> Arm:
        """Put an arm in charge between two decisions; return the one that was in charge.

        History, reservations and open decisions stay: outcomes of earlier decisions go on teaching. The earlier arm
        goes on following the state until it is released, so that ``swap(earlier)`` is immediate.

        Parameters
        ----------
        arm
            From `prepare` or an earlier `swap`; or a model, which is prepared first.
        spec
            As for `prepare`, with a model.

        Returns
        -------
        Arm

        Raises
        ------
        InputError
            As `prepare`, or if the arm was released. Nothing changed.
        """
        if isinstance(arm, Model):
            arm = self.prepare(arm, spec)
        return self.state.put_in_charge(arm)

    def release(self, arm: Arm) -> None:
        """Let go of an arm that is not in charge; it must not decide any more.

        Raises
        ------
        InputError
            If it is in charge, or was released.
        """
        self.state.leave(arm)

    def set_policy(self, spec: Spec) -> None:
        """Decide by another spec's utility, exploration and spread limits from the next request on.

        Fleet, history, reservations and open decisions stay as they are, and nothing is compiled.

        Parameters
        ----------
        spec
            Of the same fingerprint, candidates, sets of categories and ledger, and as many nodes in a slate and
            alternatives.

        Raises
        ------
        InputError
            If it is another kind of spec: make a new `Scheduler` of that. Nothing changed.
        """
        self.state.lock.write(self._set_policy, spec)

    def _set_policy(self, spec: Spec) -> None:
        old = self.state.arms[0]
        model = with_policy(old.model, spec)
        check_swap(old.model.spec, model.spec)
        self.state.replace(old, old.with_model(model, self.state.index))


def prepare_tried(state: State, model: Model, spec: Spec | None = None) -> Arm:
    """Make an arm as `ArmControl.prepare`, unless the decisions that warm it show that it is of no use.

    Raises
    ------
    InputError
        As `ArmControl.prepare`, or if the arm scores with what is no number, or serves none of the requests that the
        one in charge serves. Nothing changed.
    """
    arm, trial = _prepare(state, model, spec)
    try:
        check_trial(state, arm, trial)
    except BaseException:
        state.leave(arm)
        raise
    return arm


def _prepare(state: State, model: Model, spec: Spec | None) -> tuple[Arm, list[Decision]]:
    """Return a warm arm that follows the state, and the decisions that warmed it."""
    check_model(model)
    model = model if spec is None else with_policy(model, spec)
    check_arm(state.spec, model.spec)
    arm = Arm(model, state.index, state.lock)
    state.join(arm)
    try:
        return arm, warm_arm(state, arm)
    except BaseException:  # interrupted: nobody will release it
        state.leave(arm)
        raise
