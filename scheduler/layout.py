"""What kernels see: dtypes, constants and NamedTuples of arrays.

Kernels import nothing but this module and its parts. Arrays are owned by the classes around them; a kernel changes only
what its docstring says it changes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.index_layout import IndexArrays
from scheduler.regime_layout import RegimeArrays

FeatureT = np.float32
"""Features are float32: half the memory of a training matrix, and what ONNX Runtime compares. Thresholds stay
float64 and the comparison is done in float64, so no precision is lost against LightGBM."""

MISSING_KEY: Final = 0
"""The key of a null id or category. No id hashes to it; nothing is stored under it."""

REQUEST, NODE, PAIR = range(3)
"""Who owns a feature: it changes with the request, with the node's own state, or with both (or with time)."""

(
    OP_REQUEST,
    OP_NODE,
    OP_CLOCK,
    OP_MEAN,
    OP_VARIANCE,
    OP_COUNT,
    OP_LAST,
    OP_AGE,
    OP_EQUAL,
    OP_DIFFERENCE,
    OP_DISTANCE,
    OP_DOT,
    OP_FACTORS,
    OP_SHRUNK,
    OP_REGIME,
) = range(15)
"""Feature operations; `scheduler.features` says which arguments each takes."""

WAYS: Final = 16
"""Entries in a history bucket. Two cache lines of keys; at half load one bucket in 250 overflows and lets go
of its oldest entry, against one in 50 for 8 ways."""

TIME_FLOATS: Final = 2
"""Room of a float64 time at the start of a history row."""

LINE_FLOATS: Final = 16
"""Floats of a cache line; history rows are padded to it."""

STATS: Final = 3
"""Floats per value and half-life: decayed weight, mean, and sum of squared deviations."""


LARGEST: Final = float(np.finfo(np.float32).max)
"""Bound of the squared deviations: an infinite one would fade to NaN and stay so."""


(PART_PREDICTION, PART_CLIENT, PART_NODE, PART_PAIR) = range(4)
PARTS: Final = ("prediction", "client", "node", "pair")
"""What a feature may take from a factor model."""

(SLOW, SLOW_VARIANCE, FAST, FAST_VARIANCE, VECTOR_VARIANCE) = range(TIME_FLOATS, TIME_FLOATS + 5)
VECTOR: Final = 8
"""Places in a row of factors: biases and how uncertain they are, then the vector. With a rank of 8 a row is one
cache line."""

(LEVEL_MEAN, LEVEL_COUNT, LEVEL_VARIANCE, LEVEL_NOISE) = range(4)
"""Levels of a factor model: running mean of the value, how many came, its variance, and the share of that variance
that no client or node explains."""

SLOW_PRIOR, FAST_PRIOR, VECTOR_PRIOR = 0.5, 0.02, 0.3
"""Variances of an entity's parts before anything is known, as shares of the value's variance."""

VECTOR_START: Final = 0.2
"""Largest number in a new vector; its square is a share of the value's deviation."""

CLIP: Final = 3.0
"""Standard errors at which a surprise is cut: one timeout is not to move everything."""

LEAST_NOISE: Final = 1e-3
"""Bound of the noise, so that steps stay stable where all is explained."""

LEVEL_RATE: Final = 1e-4
"""Share by which an outcome moves the noise at least: it follows the last 10,000."""

LEVEL_SURE, LEVEL_CLIP = 100, 100.0
"""After so many outcomes one counts in the variance at most so many times the variance, that is ten deviations."""


class FactorArrays(NamedTuple):
    """Clients and nodes of factor models in a table like that of history; see `kernels.factors`.

    Attributes
    ----------
    keys, seen, rows, counters
        As of `HistoryArrays`; for what stands in a row, see `SLOW`.
    rank
        (n_models,) int32, numbers in the vectors of each model.
    rates
        (n_models, 2) float64, 1 / half-life of the fast biases in seconds, and share by which what is known becomes
        unknown again each second.
    levels
        (n_models, 4) float64, see `LEVEL_MEAN`.
    """

    keys: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    counters: NDArray[np.int64]
    rank: NDArray[np.int32]
    rates: NDArray[np.float64]
    levels: NDArray[np.float64]


class HistoryArrays(NamedTuple):
    """Decayed statistics in a set-associative table; slot ``i`` is row ``i`` of each array.

    Attributes
    ----------
    keys
        (slots,) uint64, `MISSING_KEY` where free.
    seen
        (slots,) float64, time of the last outcome in seconds: a view of the first bytes of each row, so that
        time and statistics come with the same cache line.
    rows
        (slots, width) float32: `TIME_FLOATS` that hold ``seen``, last values, then for each value and
        half-life its weight, mean and squared deviations, then padding to whole cache lines.
    rates
        (n_half_lives,) float64, 1 / half-life in seconds.
    counters
        (2,) int64: entries held, entries let go to make room.
    factors
        Factor models.
    regimes
        Regimes.
    owners
        (slots,) int32, 1 + the fleet slot whose kept forest row reads the entry, 0 for none.
    stale
        (1 + n_history_keys,) int32: how many, and the fleet slots whose row reads an entry that was let go.
    """

    keys: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    rates: NDArray[np.float64]
    counters: NDArray[np.int64]
    factors: FactorArrays
    regimes: RegimeArrays
    owners: NDArray[np.int32]
    stale: NDArray[np.int32]


class Entity(NamedTuple):
    """Columns of requests or nodes as kernels read them; row ``i`` is one request or one node.

    Attributes
    ----------
    values
        (n, width) float64: numbers, category codes and vectors side by side, NaN where missing.
    keys
        (n, n_keys) uint64: the id's key, then one per category column; `MISSING_KEY` where null.
    """

    values: NDArray[np.float64]
    keys: NDArray[np.uint64]


class QuestionArrays(NamedTuple):
    """One request as its caller gave it; what it does not carry is taken from its client.

    Attributes
    ----------
    values, keys
        (width,) float64 and (n_keys,) uint64, as in `Entity`.
    carried
        (width + n_keys,) uint8, 1 for each of the values, then of the keys, that the request carries.
    """

    values: NDArray[np.float64]
    keys: NDArray[np.uint64]
    carried: NDArray[np.uint8]


class Tracked(NamedTuple):
    """Which outcome each tracked value is, -1 for none, and whether its logarithm is meant.

    Attributes
    ----------
    columns, log1p
        (n_values,) int32 and bool; see `scheduler.kernels.outcomes.track`.
    """

    columns: NDArray[np.int32]
    log1p: NDArray[np.bool_]


class ReportArrays(NamedTuple):
    """One outcome as its caller reported it, and where it goes; one row each.

    Attributes
    ----------
    outcomes
        (1, n_outcomes) float32, NaN where not measured.
    values
        (1, n_values) float32, the tracked values.
    node
        (1,) uint64, key of the node, `MISSING_KEY` for the only one of the slate.
    row, place, time
        (1,) int64, int64 and float64: which row of the decision log and which place in it, and the arrival.
    """

    outcomes: NDArray[np.float32]
    values: NDArray[np.float32]
    node: NDArray[np.uint64]
    row: NDArray[np.int64]
    place: NDArray[np.int64]
    time: NDArray[np.float64]


class FeatureProgram(NamedTuple):
    """The features of a spec as tables.

    Attributes
    ----------
    op, args, scale
        (n_features,) int32, (n_features, 4) int32, (n_features,) float64: what to compute from what.
    request, node, pair, every
        Indices of the features each owner computes, and of all, int32, in feature order.
    parts, n_parts, part_side
        (n_history_keys, n) int32, (n_history_keys,) int32, and as `parts`: key columns a history key is mixed
        from, and whether each is the request's or the node's.
    chains
        (n_chains, n) int32, history keys from fine to coarse that a mean is shrunk along; -1 past the last.
    models
        (n_models, 4) int32, for each factor model the value it tracks, the history keys of client and node, and the
        value that takes the residual, -1 for none.
    regimes
        (n_kinds, 4) int32, for each kind of regime its value, the history keys of group and member, and where in a
        history row the weight stands that says whether there was a last value.
    node_keys
        History keys that node features read, int32.
    """

    op: NDArray[np.int32]
    args: NDArray[np.int32]
    scale: NDArray[np.float64]
    request: NDArray[np.int32]
    node: NDArray[np.int32]
    pair: NDArray[np.int32]
    every: NDArray[np.int32]
    parts: NDArray[np.int32]
    n_parts: NDArray[np.int32]
    part_side: NDArray[np.int32]
    chains: NDArray[np.int32]
    models: NDArray[np.int32]
    regimes: NDArray[np.int32]
    node_keys: NDArray[np.int32]


(BEST, EXPLORED, ORIGIN_NO_CANDIDATES, ORIGIN_ALL_DROPPED, ORIGIN_NO_UPLINK) = range(5)
REASONS: Final = ("best", "explored", "origin:no_candidates", "origin:all_dropped", "origin:no_uplink")
"""Why a decision is what it is, by code."""

(DROP_SILENT, DROP_QUARANTINED, DROP_FULL, DROP_BLOCKED, DROP_SPREAD) = range(5)
DROPS: Final = ("silent", "quarantined", "full", "blocked", "spread")
"""Why a filter dropped a candidate: its heartbeat is overdue, it is set aside, its uplink is taken, the request does
not want it; the first that holds counts. Or it would have followed in the slate, but for a spread limit."""

BAR_COLUMN, BAR_KEY = range(2)
"""What a request does not want, in (n, n_bars, 2) uint64: a key column of nodes (0 is their id) and the key in it. The
key `MISSING_KEY` is padding. Numbers past the key columns are set columns, in which one with the key is enough."""

NO_BARS: Final = np.empty((0, 0, 2), np.uint64)
"""For requests that want any node."""

(LINK_LOGISTIC, LINK_LOG, LINK_IDENTITY) = range(3)
LINKS: Final = ("logistic", "log", "identity")

(EXPLORE_NONE, EXPLORE_EPSILON, EXPLORE_SOFTMAX, EXPLORE_INVERSE_GAP, EXPLORE_BONUS, EXPLORE_THOMPSON) = range(6)
EXPLORES: Final = ("none", "epsilon", "softmax", "inverse_gap", "bonus", "thompson")

(NEXT_ID, NEXT_HOLD, N_OUTCOMES, N_EXPIRED, N_FORGOTTEN, N_EXPLORED) = range(6)
"""Counters of a decision log: next id, first id whose hold was not checked, outcomes seen, reservations that
expired, decisions overwritten before all their outcomes came, decisions for another than the best."""

OPEN, ANSWERED, SPARE = 1, 2, 3
"""State of a node of a decision: in the slate and waiting for its outcome, answered, or an alternative, of which an
outcome may come; 0 is none."""


class FleetArrays(NamedTuple):
    """Nodes by slot.

    Attributes
    ----------
    columns
        The nodes' columns.
    rows
        (slots, node_words) uint64, the forest's row of each node.
    expires
        (slots,) float64, when the heartbeat is overdue; -inf for a free slot.
    released
        (slots,) float64, when a quarantine ends; -inf without one.
    generation
        (slots,) int32, raised each time a slot loses its node.
    capacity, reserved
        (slots,) float64, uplink in kbit/s and how much of it is promised.
    """

    columns: Entity
    rows: NDArray[np.uint64]
    expires: NDArray[np.float64]
    released: NDArray[np.float64]
    generation: NDArray[np.int32]
    capacity: NDArray[np.float64]
    reserved: NDArray[np.float64]


class PolicyArrays(NamedTuple):
    """How head values become a choice.

    Attributes
    ----------
    calibration
        (n_heads, 3) float64: link, intercept and slope.
    uncertainty
        (n_heads, 2) float64: from sums of leaf variances to the variance of raw scores, factor and power.
    given_ok
        (n_heads,) bool: the value counts with the probability of success.
    failure
        Which head predicts failure, -1 for none.
    weights, load, money
        (n_profiles, n_heads), (n_profiles,), (n_profiles,) float64; the last profile is the default.
    when_column, when_key
        (n_profiles, n) int32 and uint64: key columns of the request and what they must equal, -1 for no more.
    price, demand
        Columns of node and request values, -1 for none.
    explore, epsilon, temperature, width
        How to draw.
    budget, guard
        Share of the decisions that may be for another than the best; utility by which it may be worse.
    vetting, vetted
        Share of the draws for candidates of which fewer than so many outcomes are known.
    known_by, vetted_by
        History keys that tell how many are known, for the doubt and for vetting; -1 where nobody asks.
    by_leaves
        Whether the doubt comes from the variances of leaves.
    weights_at, fade
        (n_values,) int32, places in a history row of the slowest weight of each value, and 1 / its half-life in
        seconds.
    hold
        Seconds a reservation lasts.
    spread
        (n, 2) int32: key columns of nodes, and how many nodes of one value a slate may have.
    """

    calibration: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    given_ok: NDArray[np.bool_]
    failure: int
    weights: NDArray[np.float64]
    load: NDArray[np.float64]
    money: NDArray[np.float64]
    when_column: NDArray[np.int32]
    when_key: NDArray[np.uint64]
    price: int
    demand: int
    explore: int
    epsilon: float
    temperature: float
    width: float
    budget: float
    guard: float
    vetting: float
    vetted: float
    known_by: int
    by_leaves: bool
    vetted_by: int
    weights_at: NDArray[np.int32]
    fade: float
    hold: float
    spread: NDArray[np.int32]


class DecisionLog(NamedTuple):
    """The last decisions, in a ring: decision ``id`` stands in row ``id % size``.

    Attributes
    ----------
    id, time
        (size,) int64 and float64.
    request_keys
        (size, n_keys) uint64, what history needs to learn from the outcome.
    node_keys
        (size * places, n_keys) uint64, likewise; a decision has places for its longest slate, then for alternatives.
    slot, generation, state, held
        (size, places): where the node stood, which node it was, see `OPEN`, kbit/s reserved.
    counters
        (6,) int64, see `NEXT_ID`.
    """

    id: NDArray[np.int64]
    time: NDArray[np.float64]
    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    slot: NDArray[np.int32]
    generation: NDArray[np.int32]
    state: NDArray[np.int8]
    held: NDArray[np.float64]
    counters: NDArray[np.int64]


class PairWork(NamedTuple):
    """Scratch for the pair features of a request's candidates: where they were looked up, and numbers.

    Attributes
    ----------
    keys
        (n,) uint64, keys of the look-up at hand.
    found, sought
        (n_look_ups, n) int64 slots of each history key, then of each factor model's nodes, and (n_look_ups,) bool,
        which of them are there already.
    x, y
        (n,) float64.
    """

    keys: NDArray[np.uint64]
    found: NDArray[np.int64]
    sought: NDArray[np.bool_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


class RetrievalWork(NamedTuple):
    """Scratch arrays of one retrieval, sized by the bound on candidates, not by the fleet; overwritten by each.

    Attributes
    ----------
    seen
        (places,) int32, a hash set of the slots found; a power of two, at least four times the bound.
    drawn
        (n,) int32, the rest of a list that is read as a whole.
    """

    seen: NDArray[np.int32]
    drawn: NDArray[np.int32]


class DecisionArrays(NamedTuple):
    """What decisions come out as; row ``i`` belongs to request ``i``.

    Attributes
    ----------
    id
        (n,) int64.
    position
        (n, places) int32, places in the candidate list: of the slate, -1 past its end, and from place max_nodes on of
        the alternatives, likewise.
    values
        (n, places, n_heads) float64, calibrated head values of both.
    utility
        (n, places) float64.
    propensity
        (n,) float64, probability with which this slate was drawn.
    reason
        (n,) uint8, see `REASONS`.
    dropped
        (n, len(DROPS)) int32.
    """

    id: NDArray[np.int64]
    position: NDArray[np.int32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    propensity: NDArray[np.float64]
    reason: NDArray[np.uint8]
    dropped: NDArray[np.int32]


class Workspace(NamedTuple):
    """Scratch arrays of one decision, by candidate, and room for one request and its answer; overwritten by each.

    Attributes
    ----------
    position, slot
        (n,) int32: place in the caller's list, and slot in the fleet, of the candidates left.
    able
        (n,) bool: whether a slate that begins with the candidate covers the demand.
    x_request, x_node, x_pair
        (n_request,), (n_node,), (n, n_pair) float32 features.
    pair
        Scratch of the pair features.
    request_row
        (words,) uint64.
    forest
        Scratch of the forest's own kernel.
    raw, values
        (n, n_heads) float32 raw scores and float64 calibrated values; (n, 2 n_heads) scores where the policy asks for
        the variances of leaves, which follow them.
    utility, chance, doubt
        (n,) float64; the doubt is what a bonus adds to the utility, or its standard deviation.
    is_new
        (n,) bool: whether the candidate is to be vetted.
    slate
        (max_nodes,) int32, a slate in the making.
    leading
        (max_nodes,), or (n,) with spread limits, int32, candidates best first.
    spare
        (n_alternatives,) int32, candidates best first.
    x_outcome
        (n_values,) float64, the tracked values of one outcome.
    retrieval
        Scratch of retrieval.
    question
        A request that is decided by itself, as its caller gave it.
    request, found, out
        One row each: that request, (1, n_candidates) int32 slots of its candidates, and what it comes out as.
    report
        An outcome that comes by itself.
    """

    position: NDArray[np.int32]
    slot: NDArray[np.int32]
    able: NDArray[np.bool_]
    x_request: NDArray[np.float32]
    x_node: NDArray[np.float32]
    x_pair: NDArray[np.float32]
    pair: PairWork
    request_row: NDArray[np.uint64]
    forest: Any  # scheduler.tables.ForestWork
    raw: NDArray[np.float32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    chance: NDArray[np.float64]
    doubt: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    slate: NDArray[np.int32]
    leading: NDArray[np.int32]
    spare: NDArray[np.int32]
    x_outcome: NDArray[np.float64]
    retrieval: RetrievalWork
    question: QuestionArrays
    request: Entity
    found: NDArray[np.int32]
    out: DecisionArrays
    report: ReportArrays


MUTEX, READERS, WRITER, WAITING, WRITTEN, DUE = 16, 32, 48, 64, 80, 96
"""Words of a lock: whether the mutex is taken; how many readers are in; whether a writer is in or waits for them to
leave; how many writers are in or wait; how many left; how many readers have waited long enough. They stand 128 bytes
from each other and from the ends, because processors fetch cache lines in pairs."""

N_WORDS: Final = 112
"""Words of a lock in all."""

READING, WRITING = range(2)
"""What a thread counts of itself: how many of its calls read now, and write."""


class State(NamedTuple):
    """All that a decision reads and changes.

    ``locks`` is (N_WORDS,) int64, see `MUTEX`. Of what decisions change, all but the next id is under its mutex.
    ``latest`` is (1,) float64, the latest time of any call in seconds.
    """

    program: FeatureProgram
    tables: Any  # scheduler.tables.ForestTables, which stands a layer above
    policy: PolicyArrays
    fleet: FleetArrays
    history: HistoryArrays
    log: DecisionLog
    locks: NDArray[np.int64]
    latest: NDArray[np.float64]
    seed: int
    postings: IndexArrays
    clients: Entity
    tracked: Tracked
