"""A small decision tree that imitates the utility of a model, and how well it does so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.recorded import plain_value
from scheduler.audit.words import feature_value
from scheduler.model.model import Model

DEPTH = 3
"""Questions one after the other: eight rules at most, which fit a page and a head."""

FEWEST_ROWS = 40
"""Half of the rows fit the tree, the others judge it; with fewer neither means anything."""

LEAST_SHARE = 0.02
"""Of the rows, for a rule of its own."""

MOST = np.float32(1e30)
"""Golden rows have infinities and the largest numbers, which scikit-learn cannot add up; no threshold is there."""

MOST_CATEGORIES = 8
"""Categories of a feature that the tree can ask for, the most frequent ones."""


class Rule(NamedTuple):
    """One rule: its conditions, the mean utility where they hold, and for which share of the rows they do."""

    conditions: tuple[str, ...]
    utility: float
    share: float


class Surrogate(NamedTuple):
    """A tree of rules in place of a model.

    Attributes
    ----------
    rules
        Of the highest utility first.
    r2
        Share of the variance of the model's utility that the tree explains, on rows that did not fit it.
    order
        Share of random pairs of such rows that the tree orders as the model does; pairs that it holds equal count
        half. 0.5 is chance.
    rows
        How many rows judged.
    """

    rules: tuple[Rule, ...]
    r2: float
    order: float
    rows: int


class _Question(NamedTuple):
    """A column that the tree may ask about: a feature, and which category of it."""

    feature: int
    category: float | None


def surrogate(
    model: Model, rows: NDArray[np.float32], utility: NDArray[np.float64], *, seed: int = 0
) -> Surrogate | None:
    """Fit a tree to the utility of rows and judge it on others; None where there are too few rows.

    Parameters
    ----------
    rows
        (n, n_features) float32.
    utility
        (n,) of the model.
    """
    from sklearn.tree import DecisionTreeRegressor

    if len(rows) < FEWEST_ROWS:
        return None
    questions = _questions(model, rows)
    x = _answers(rows, questions)
    order = np.random.default_rng(seed).permutation(len(rows))
    fit, judge = order[: len(rows) // 2], order[len(rows) // 2 :]
    least = max(int(LEAST_SHARE * len(fit)), 2)
    tree = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=least, random_state=seed).fit(x[fit], utility[fit])
    found = tree.predict(x[judge])
    return Surrogate(
        rules=tuple(sorted(_rules(model, tree.tree_, questions), key=lambda rule: -rule.utility)),
        r2=_r2(utility[judge], found),
        order=_same_order(utility[judge], found, seed),
        rows=len(judge),
    )


def _questions(model: Model, rows: NDArray[np.float32]) -> list[_Question]:
    questions = []
    for f in range(rows.shape[1]):
        if f not in model.features.categorical:
            questions.append(_Question(f, None))
            continue
        known = rows[~np.isnan(rows[:, f]), f]
        codes, counts = np.unique(known, return_counts=True)
        questions += [_Question(f, float(c)) for c in codes[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]]
    return questions


def _answers(rows: NDArray[np.float32], questions: list[_Question]) -> NDArray[np.float32]:
    columns = [
        rows[:, q.feature] if q.category is None else (rows[:, q.feature] == q.category).astype(np.float32)
        for q in questions
    ]
    return np.clip(np.stack(columns, axis=1), -MOST, MOST)


def _rules(model: Model, tree: object, questions: list[_Question]) -> list[Rule]:
    """Return the rules of scikit-learn's tree."""
    left, right = tree.children_left, tree.children_right  # type: ignore[attr-defined]
    feature, threshold = tree.feature, tree.threshold  # type: ignore[attr-defined]
    counts, values = tree.n_node_samples, tree.value[:, 0, 0]  # type: ignore[attr-defined]
    missing_left = tree.missing_go_to_left  # type: ignore[attr-defined]
    rules: list[Rule] = []
    waiting: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    while waiting:
        node, conditions = waiting.pop()
        if left[node] < 0:
            rules.append(Rule(conditions, float(values[node]), float(counts[node] / counts[0])))
            continue
        question, at = questions[feature[node]], float(threshold[node])
        for child, goes_left in ((left[node], True), (right[node], False)):
            text = _condition(model, question, at, left=goes_left, missing=bool(missing_left[node]) == goes_left)
            waiting.append((child, (*conditions, text)))
    return rules


def _condition(model: Model, question: _Question, at: float, *, left: bool, missing: bool) -> str:
    name = model.features.names[question.feature]
    if question.category is not None:
        category = plain_value(model, question.feature, question.category)
        return f"{name} is {'not ' if left else ''}{category}"
    if isinstance(plain_value(model, question.feature, 1.0), bool):
        text = f"{name}: {'no' if left else 'yes'}"
    else:
        text = f"{name} {'at most' if left else 'above'} {feature_value(model.spec, name, at)}"
    return f"{text} or missing" if missing else text


def _r2(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    total = float(np.sum((expected - expected.mean()) ** 2))
    return 1.0 - float(np.sum((expected - found) ** 2)) / total if total > 0.0 else float("nan")


def _same_order(expected: NDArray[np.float64], found: NDArray[np.float64], seed: int) -> float:
    """Return the share of random pairs that both order alike; see `Surrogate`."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, len(expected), (2, 20_000))
    truth, guess = np.sign(expected[a] - expected[b]), np.sign(found[a] - found[b])
    differs = truth != 0
    if not differs.any():
        return float("nan")
    return float(np.mean(np.where(guess == 0, 0.5, guess == truth)[differs]))
