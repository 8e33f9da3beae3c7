"""Questions about decisions, put to a running scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.audit.explain import explain
from scheduler.audit.find import find_full, model_of
from scheduler.audit.record_now import Request, record_now
from scheduler.audit.sentences import say
from scheduler.audit.values import Explanation, WhyNot
from scheduler.audit.why_not import why_not
from scheduler.columns.ids import Id, Ids, id_key, plain_list
from scheduler.columns.values import plain
from scheduler.decisions.decision import Decision
from scheduler.decisions.record.values import FullRecord
from scheduler.engine import engine
from scheduler.engine.arm import Arm
from scheduler.engine.request import check_time, column_of_one
from scheduler.errors import InputError, NotRecordedError, shown
from scheduler.model.model import Model
from scheduler.rollout.rollout_control import RolloutControl


class AuditControl(RolloutControl):
    """Explains decisions; `scheduler.Scheduler` is one."""

    def explain(
        self,
        what: Mapping[str, Any] | Decision | int,
        candidates: Ids | None = None,
        *,
        now: float | None = None,
        exclude: Ids | None = None,
        block: Mapping[str, Ids] | None = None,
        arm: Arm | None = None,
    ) -> Explanation:
        """Explain what would be decided for a request now, or a decision that was recorded in full.

        Nothing is reserved, recorded or changed.

        Parameters
        ----------
        what
            A request, as for `decide`; or a decision or its id.
        candidates, exclude, block, arm
            As for `decide`; for a request alone.
        now
            Seconds; needed for a request.

        Returns
        -------
        Explanation

        Raises
        ------
        NotRecordedError
            If the decision has no full record.
        InputError
            If an argument is wrong, or a model decided that does not follow the state any more; `fogline why` takes it.

        Examples
        --------
        >>> sched.explain({"client_id": 17}, now=0.0).headline  # doctest: +SKIP
        'box-41 over box-17: same isp, failure 0.4 % against 2.1 %; 12 candidates full, 3 silent'
        """
        if not isinstance(what, Mapping):
            return explain(*self._recorded(what))
        record, model = self._as_of_now(what, candidates, now, exclude, block, arm)
        found = explain(record, model)
        return found._replace(decision=None, sentences=(*found.sentences, say("as_of_now")))

    def why_not(  # noqa: PLR0913 - what a caller may say of a request
        self,
        what: Mapping[str, Any] | Decision | int,
        node: Id,
        candidates: Ids | None = None,
        *,
        now: float | None = None,
        exclude: Ids | None = None,
        block: Mapping[str, Ids] | None = None,
        arm: Arm | None = None,
    ) -> WhyNot:
        """Say at which stage a node falls out of a decision, or by how much it loses and through which features.

        Parameters
        ----------
        node
            Its id.
        what, candidates, now, exclude, block, arm
            As for `explain`.

        Returns
        -------
        WhyNot

        Raises
        ------
        NotRecordedError, InputError
            As `explain`.
        """
        node = _check_node(node)
        if not isinstance(what, Mapping):
            return why_not(*self._recorded(what), node)
        record, model = self._as_of_now(what, candidates, now, exclude, block, arm)
        return why_not(record, model, node, known=node in self.state.fleet.table)

    def _as_of_now(
        self,
        values: Mapping[str, Any],
        candidates: Ids | None,
        now: float | None,
        exclude: Ids | None,
        block: Mapping[str, Ids] | None,
        arm: Arm | None,
    ) -> tuple[FullRecord, Model]:
        rows = None if candidates is None else [plain_list(candidates, "candidates")]
        one = None if exclude is None else [exclude]
        blocklist = engine.blocklist_of(self.state, one, None if block is None else column_of_one(block, "block"), 1)
        request = Request(values, rows, blocklist, check_time(now))
        return self.state.lock.read(self._record_now, arm, request)

    def _record_now(self, arm: Arm | None, request: Request) -> tuple[FullRecord, Model]:
        return record_now(self.state, arm, request), self.state.arm(arm).model

    def _recorded(self, what: Decision | int) -> tuple[FullRecord, Model]:
        id_ = plain(what.id if isinstance(what, Decision) else what)
        if not isinstance(id_, int) or isinstance(id_, bool):
            message = f"what: expected a request, a decision or its id, found {shown(what)}"
            raise InputError(message)
        if self.recorder is None:
            message = (
                f"decision {shown(id_)}: expected a full record, found that nothing is recorded; "
                "`Scheduler.record` does so, in full the share ``full`` of the decisions"
            )
            raise NotRecordedError(message)
        self.recorder.flush()
        record, arm = find_full(self.recorder.status.folder, id_)
        return record, model_of(arm, (one.model for one in self.state.arms))


def _check_node(node: object) -> Id:
    """Return a node's id; raise `InputError` if it is none."""
    id_ = plain(node)
    if isinstance(id_, bool) or not isinstance(id_, int | str):
        message = f"node: expected an integer or a text, found {shown(node)}"
        raise InputError(message)
    id_key(id_)  # raises beyond 64 bits
    return id_
