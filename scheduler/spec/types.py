"""The parts of a spec as frozen typed values. The docstrings say what each key of the TOML file means."""

from __future__ import annotations

import hashlib
import re
from typing import Literal, TypeAlias

import msgspec

from scheduler.errors import SpecError
from scheduler.spec.features import Feature
from scheduler.spec.policy import Candidates, Ledger, Policy, Utility
from scheduler.spec.raw import RawColumn
from scheduler.spec.section import Section

Params: TypeAlias = dict[str, bool | int | float | str]

Capacity: TypeAlias = int | Literal["auto"]
"""About how many entries a table of running statistics has room for; ``auto``: training sizes it by its data."""

_VALUE = re.compile(r"(?:(log1p|residual)\((\w+)\)|(\w+))")

CLIENT, NODE = "client", "node"
"""The two ids that a history key may name besides ``request.COLUMN`` and ``node.COLUMN``."""

FAILED, COST = "failed", "cost"
"""Outcomes that every spec has: 1 if the request failed, else 0; and its cost (see `Cost`)."""


class Slice(Section, frozen=True, kw_only=True):
    """The integer column that numbers time slices, and how long a slice lasts in seconds.

    Without a column a row's slice follows from its time: slice 0 begins at ``origin``, in the seconds of ``time``.
    """

    column: str | None = None
    seconds: float
    origin: float = 0.0


class Telemetry(Section, frozen=True):
    """Which telemetry column plays which role.

    Without ``time`` a row was decided at the start of its slice. The first of the ``arrival`` columns that is not null
    says how many milliseconds after the decision its outcome arrived; without such a column it arrived at once.
    ``propensity`` is the probability with which the scheduler that logged the row drew its node; it is read to compare
    models on logs and to weigh rows in training, and is no part of the fingerprint.
    """

    client: str
    node: str
    slice: Slice
    time: str | None = None
    ok: str | None = None
    arrival: tuple[str, ...] = ()
    propensity: str | None = None


class Outcome(Section, frozen=True):
    """A measured number: its unit, and its range. A row with a value outside the range is rejected."""

    unit: str = ""
    min: float | None = None
    max: float | None = None


class Column(Section, frozen=True):
    """A column of a request or a node.

    A ``number`` or ``category`` column has one value, a ``vector`` has ``size`` numbers. A node's ``categories`` are a
    set of any size, such as the contents that it holds; a tier asks for one of them.
    """

    type: Literal["number", "category", "vector", "categories"] = "number"
    unit: str = ""
    min: float | None = None
    max: float | None = None
    size: int = 1
    source: Literal["telemetry", "clients", "nodes"] = "telemetry"


class Cost(Section, frozen=True):
    """What a request costs: the outcome ``success`` if it succeeded, ``failure`` if it failed.

    With ``failure_column`` a failure costs the larger of ``failure`` and that outcome.
    """

    success: str
    failure: float
    failure_column: str | None = None


class LatentFactors(Section, frozen=True):
    """A low-rank model of a tracked value, updated by every outcome: biases and vectors of client and node.

    ``client`` and ``node`` are history keys: the first has parts of the request alone, the second parts of the node
    alone. Each bias has one part that decays with ``half_life`` and one that stays. A client or node without outcomes
    for ``memory`` is as uncertain as a new one. ``capacity`` is about how many clients and nodes fit, as in `History`;
    all models share one table.
    """

    value: str
    client: str = CLIENT
    node: str = NODE
    rank: int = 8
    half_life: str = "1h"
    memory: str = "4d"
    capacity: Capacity = "auto"


class ChangePoints(Section, frozen=True):
    """Groups whose members all change their value at once, and keep it in between.

    ``group`` and ``member`` are history keys. A value within ``tolerance`` of the one before is the same. The
    time between two changes is Weibull distributed: its median is ``length``; ``shape`` 1 makes a change equally likely
    at any time, a larger ``shape`` makes the times more alike. ``same`` is the probability that a member has the same
    value after a change. ``capacity`` is about how many groups fit, as in `History`.
    """

    value: str
    group: str = CLIENT
    member: str = "pair"
    tolerance: float = 0.0
    length: str = "1h"
    shape: int = 1
    same: float = 0.1
    capacity: Capacity = "auto"


class History(Section, frozen=True):
    """Decayed statistics of outcomes: which values, how fast they decay, under which keys.

    A key is a list of parts: ``client``, ``node``, or a category as ``request.COLUMN`` or ``node.COLUMN``.
    ``capacity`` is about how many entries, over all keys, fit before any is evicted. The table has 2 to 4 times as many
    places, and all of them can fill. It is a matter of memory, not of what a feature means, so it is no part of the
    fingerprint.
    """

    values: tuple[str, ...]
    half_lives: tuple[str, ...]
    keys: dict[str, tuple[str, ...]]
    capacity: Capacity = "auto"


class Value(msgspec.Struct, frozen=True):
    """A tracked or predicted value: an outcome, ``log(1 + outcome)``, or the residual of latent factors.

    For a residual, ``outcome`` is the name of the latent factors.
    """

    outcome: str
    log1p: bool
    residual: bool = False

    @classmethod
    def parse(cls, text: str) -> Value:
        """Read ``outcome``, ``log1p(outcome)`` or ``residual(factors)``; raise `SpecError` on anything else."""
        match = _VALUE.fullmatch(text)
        if match is None:
            message = f"value {text!r}: expected NAME, log1p(NAME) or residual(NAME)"
            raise SpecError(message)
        return cls(match[2] or match[3], match[1] == "log1p", match[1] == "residual")


class Head(Section, frozen=True):
    """A predicted quantity: one LightGBM forest with its link and calibration.

    ``logistic`` is for ``failed``. ``log`` fits ``log1p(outcome)`` and is calibrated to predict the mean of the outcome
    itself. ``identity`` predicts the mean of the target as written. ``given_ok`` trains on successes alone. With a
    ``quantile`` the head predicts that quantile of the outcomes in place of the mean. ``offset`` names the feature
    that the raw score starts from, a mean of the target, so that trees learn only what it leaves. With ``auto``
    training fits the head with and without the best such mean and keeps it where the loss is lower on the rows that
    stop training and on those that calibrate; with ``none`` trees predict all of it. With ``trees`` false there are no
    trees: the head is its offset, a plain mean that a utility can weigh beside the forests.
    """

    target: str
    link: Literal["logistic", "log", "identity"]
    given_ok: bool = False
    quantile: float | None = None
    unit: str = ""
    offset: str = "auto"
    trees: bool = True
    lightgbm: Params = {}


class Training(Section, frozen=True):
    """How a model is fitted.

    ``reveal`` is the share of telemetry outcomes that history sees during replay. A share below 1 imitates serving,
    which sees the outcome of the chosen node alone. ``burn_in`` is the share of the slices, the first, that only fill
    history. ``validation`` is the share of the slices, the last, for early stopping, calibration and metrics, each on
    slices of its own. At most ``rows`` rows of the slices after the burn-in are kept, fitted and validation rows
    together. ``rehearse`` is the share of the slices, the last, that a first model serves; the model is then fitted on
    what it will see in service. With 0 there is no rehearsal. ``embargo`` is how many slices are left out between the
    parts of the data, where an outcome is known only so many slices later. ``tuned_until`` says that tuning has seen
    all slices before this one. ``tuned`` says on what these settings were chosen, for the reader. With
    ``propensity_weights`` above 0 a row counts with the inverse of its propensity, at most so much, as if the log had
    drawn all nodes alike.
    """

    reveal: float = 1.0
    rehearse: float = 0.0
    burn_in: float = 0.05
    validation: float = 0.2
    rows: int = 2_000_000
    rounds: int = 300
    patience: int = 30
    embargo: int = 0
    tuned_until: int | None = None
    propensity_weights: float = 0.0
    lightgbm: Params = {}
    tuned: str = ""


class Evaluation(Section, frozen=True):
    """What an evaluation needs: columns for the baselines by place and carrier, its first slice, its requests.

    In each slice every client asks ``requests`` times, among ``candidates`` nodes at most.
    """

    place: tuple[str, str] | None = None
    carrier: str | None = None
    start: int | None = None
    requests: int = 5
    candidates: int = 20


class PromotionRules(Section, frozen=True):
    """What a new version must show to become champion.

    Its mean cost must be lower than the champion's by more than the share ``margin``, with ``confidence``. Two
    guardrails must hold: the share of failures may be higher by ``failures`` at most, and the share of requests that
    cost more than the champion's 95th percentile by ``tail`` at most; neither may be higher by more than chance.
    """

    margin: float = 0.01
    confidence: float = 0.95
    failures: float = 0.001
    tail: float = 0.005


class WatchRules(Section, frozen=True):
    """How long outcomes are waited for: one that has not come within ``window`` of its decision counts as missing.

    Missing outcomes are counted by ``carrier``, a category of the node; by default that of `Evaluation`.
    """

    window: str = "30s"
    carrier: str | None = None


class Spec(Section, frozen=True, kw_only=True):
    """A whole spec. `load_spec` reads one and checks it."""

    name: str
    about: str = ""
    telemetry: Telemetry
    raw: dict[str, RawColumn] = {}
    outcomes: dict[str, Outcome]
    cost: Cost
    request: dict[str, Column] = {}
    node: dict[str, Column] = {}
    history: History
    latent_factors: dict[str, LatentFactors] = {}
    change_points: dict[str, ChangePoints] = {}
    features: dict[str, Feature]
    heads: dict[str, Head]
    utility: Utility
    candidates: Candidates = Candidates()
    ledger: Ledger | None = None
    policy: Policy = Policy()
    watch: WatchRules = WatchRules()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    promotion: PromotionRules = PromotionRules()

    def to_json(self) -> bytes:
        """Return the spec as JSON, features and heads in their order, the same bytes for the same spec."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    def fingerprint(self) -> str:
        """Return a hash of what fixes a feature row and its meaning, from columns to features and heads.

        Weights, tiers, policy, windows, sets of categories, capacities, the column of propensities, the settings of
        training, evaluation and promotion, and what raw columns are called may change without changing the fingerprint.
        """
        latent_factors = {name: _without_capacity(model) for name, model in self.latent_factors.items()}
        change_points = {name: _without_capacity(kind) for name, kind in self.change_points.items()}
        return self._fingerprint(_without_capacity(self.history), latent_factors, change_points)

    def fingerprint_with_capacity(self) -> str:
        """Return the fingerprint as artifacts of formats 1 and 2 have it, of which capacities were a part."""
        return self._fingerprint(self.history, self.latent_factors, self.change_points)

    def _fingerprint(self, history: object, latent_factors: object, change_points: object) -> str:
        names = ("telemetry", "outcomes", "cost", "request", "node", "history", "features")
        parts = {name: getattr(self, name) for name in names}
        parts["telemetry"] = _without_default_origin(self.telemetry)
        parts["node"] = {name: column for name, column in self.node.items() if column.type != "categories"}
        parts["history"] = history
        if self.latent_factors:
            parts["latent_factors"] = latent_factors
        if self.change_points:
            parts["change_points"] = change_points
        heads = {name: (h.target, h.link, h.given_ok, h.unit) for name, h in self.heads.items()}
        quantiles = {name: h.quantile for name, h in self.heads.items() if h.quantile is not None}
        if quantiles:
            parts["quantiles"] = quantiles
        # Dict order is kept, not sorted: the order of features is the order of the row's columns.
        return hashlib.sha256(msgspec.json.encode([parts, heads])).hexdigest()[:16]

    def request_columns(self, source: str | None = None) -> dict[str, Column]:
        """Return the request's columns, or those that come from one table."""
        return {n: c for n, c in self.request.items() if source in (None, c.source)}

    def node_columns(self, source: str | None = None) -> dict[str, Column]:
        """Return the node's columns, or those that come from one table."""
        return {n: c for n, c in self.node.items() if source in (None, c.source)}


def _without_capacity(table: History | LatentFactors | ChangePoints) -> dict[str, object]:
    return _without(table, "capacity")


def _without(table: Section, key: str) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(table).items() if name != key}


def _without_default_origin(telemetry: Telemetry) -> dict[str, object]:
    """Return the roles as fingerprints have them: a column that numbers slices has no origin beside it."""
    parts = _without(telemetry, "propensity")
    number = telemetry.slice
    parts["slice"] = {"column": number.column, "seconds": number.seconds}
    if number.column is None:
        parts["slice"] = msgspec.structs.asdict(number)
    return parts
