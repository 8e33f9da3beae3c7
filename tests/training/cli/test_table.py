"""Tables on a terminal: what fits is shown whole, best first, with the model marked; nothing limits a pipe."""

import io
import re
from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from training.cli.comparison_table import comparison_table
from training.cli.lifetime_tables import lifetime_tables
from training.cli.table import UNLIMITED, Cell, Column, FigureTable, Row, console, decimals, fixed, number, show
from training.cli.training_tables import head_tables, tuning_table
from training.evaluation.metrics import FIGURES, Score
from training.tuning.tune import Gain

WIDTH = 80
POLICIES = (
    "random",
    "node_average",
    "pair_average",
    "same_carrier",
    "thompson_pair",
    "vowpal_wabbit",
    "learned",
    "oracle",
)


class Found:
    """As much of a comparison as its table reads."""

    data, model, unit, n, seeds, cold, standard_deviation = (
        "telemetry@5c1455544999",
        "demo-d7457f144f97",
        "ms",
        100_000,
        1,
        "",
        {},
    )

    def __init__(self, policies, **changes):
        self.policies = policies
        vars(self).update(changes)


def score(mean, **changes):
    figures = dict.fromkeys(FIGURES, -0.12345) | {
        "seconds": 1.0,
        "mean": mean,
        "fail": 0.0787,
        "p95": 4_000.0,
        "median": 61.81,
    }
    return Score(**(figures | changes))


def scores():
    return {name: score(416.2 - 40.0 * at) for at, name in enumerate(POLICIES)}


def printed(table, width=WIDTH):
    out = io.StringIO()
    show(table, Console(file=out, width=width))
    return out.getvalue()


def words(text):
    return set(re.findall(r"[^\s─]+", text))


def figures(columns, rows=3, heading="mean log", name="node_average"):
    cells = tuple(Cell("4,000.0") for _ in range(columns))
    return FigureTable(
        "t", "policy", tuple(Column(heading, at) for at in range(columns)), tuple(Row(name, cells) for _ in range(rows))
    )


def test_at_80_columns_no_line_is_longer_and_no_word_is_broken_or_cut():
    shown = printed(comparison_table(Found(scores())))
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert "…" not in shown
    assert words(shown) >= {*POLICIES, "mean", "gap", "closed", "regret", "failed", "median"}


def test_policies_stand_best_first_and_the_model_is_marked():
    shown = printed(comparison_table(Found(scores())))
    rows = re.findall(rf"^([* ]) ({'|'.join(POLICIES)})\b", shown, re.MULTILINE)
    assert [name for _, name in rows] == list(reversed(POLICIES))
    assert [name for mark, name in rows if mark == "*"] == ["learned"]
    assert "* the model" in shown


def test_the_oracle_stands_before_its_equals_and_what_has_no_mean_stands_last():
    found = Found({"random": score(nan), "learned": score(1.0), "oracle": score(1.0)})
    assert [row.name for row in comparison_table(found).rows] == ["oracle", "learned", "random"]


def test_what_does_not_fit_is_named_and_stands_in_full_without_a_limit():
    table = comparison_table(Found(scores(), standard_deviation={name: score(14.0) for name in POLICIES}))
    narrow, wide = printed(table, 50), printed(table, UNLIMITED)
    left_out = re.search(r"left out: (.*); --wide shows every figure", " ".join(narrow.split()))
    assert left_out
    assert "mean log" in left_out[1].split(", ")
    assert "left out" not in wide
    assert all(column.heading in wide for column in table.columns)
    assert (
        len(wide.strip().splitlines()) == len(POLICIES) + 5
    )  # title, blank line, heading, rule, note; each policy on one line, with its standard deviations


@pytest.mark.slow
def test_the_most_important_figures_stay():
    for width in range(24, 90):
        shown = printed(comparison_table(Found(scores())), width)
        assert max(map(len, shown.splitlines())) <= width
        assert "416.2" in shown


def test_a_standard_deviation_of_ten_is_written_as_a_number():
    found = Found(scores(), standard_deviation={name: score(9.7, median=0.02) for name in POLICIES})
    shown = printed(comparison_table(found))
    assert "±10" in shown
    assert "e+" not in shown


@pytest.mark.slow
@given(
    columns=st.integers(1, 12),
    heading=st.sampled_from(["mean", "calibration error", "gap closed log", "n"]),
    name=st.sampled_from(["a", "node_average", "kaplan_meier:country"]),
    width=st.integers(36, 200),
)
def test_every_width_is_kept_and_every_word_whole(columns, heading, name, width):
    table = figures(columns, heading=heading, name=name)
    shown = printed(table, width)
    assert max(map(len, shown.splitlines())) <= width
    assert words(shown) >= {name, "4,000.0", *heading.split()}


def test_names_longer_than_the_terminal_are_folded_and_lose_nothing():
    shown = printed(figures(3, name="x" * 100))
    assert shown.count("x") == 300
    assert max(map(len, shown.splitlines())) <= WIDTH


def test_square_brackets_are_no_markup():
    assert "[bold]" in printed(figures(1, name="[bold]"))


def test_a_row_of_another_length_than_its_columns_is_refused():
    with pytest.raises(ValueError, match="expected 2 cells in every row"):
        replace(figures(1), columns=(Column("a"), Column("b")))


def test_a_pipe_has_no_limit_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == UNLIMITED


def test_heads_stand_in_tables_by_what_they_predict_and_none_is_lost():
    heads = {
        "failure": {"n": 9.0, "log_loss": 0.12, "brier": 0.02, "auc": 0.75},
        "latency": {"n": 9.0, "mean": 60.0, "mae": 11.0, "rmse": 16.0, "covered_68": 0.68},
        "slow": {"n": 9.0, "coverage": 0.9, "pinball": 3.0},
        "odd": {"surprise": 1.5},
    }
    tables = list(head_tables("models:/demo/1", heads))
    assert [[row.name for row in table.rows] for table in tables] == [["failure"], ["slow"], ["latency"], ["odd"]]
    shown = "".join(printed(table) for table in tables)
    assert words(shown) >= {"0.12", "0.75", "11", "1.5", "surprise"}
    assert tables[0].columns[0].heading == "log loss"


def test_predictors_stand_by_their_first_figure_and_the_model_is_marked():
    loss = {"model": 0.35, "frequency:node": 0.36, "kaplan_meier:country": 0.43, "frequency:global": 0.44}
    presence = {}
    for name, value in reversed(loss.items()):
        found = {"n": 2_448.0, "log_loss": value, "auc": 0.7, "brier": 0.1, "calibration_error": 0.0132}
        presence[name] = {"all": found, "new": found}
    one = type("One", (), {"horizon": 4, "hours": 24.0, "n_fitted": 72_625, "presence": presence, "speed": {}})
    (table,) = lifetime_tables(type("Result", (), {"horizons": (one,)}))
    assert [row.name for row in table.rows] == list(loss)
    shown = printed(table)
    assert words(shown) >= {"0.3500", "0.7000", "0.1000", "AUC", "Brier"}
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert re.search(r"^\* model", shown, re.MULTILINE)


def test_a_search_shows_settings_and_the_objective_fold_by_fold():
    trial = type("Trial", (), {"value": 0.5, "folds": (0.4, 0.6), "params": {"rounds": 200.0}})
    result = type("R", (), {"n_trials": 3, "n_pruned": 1, "objective": "loss", "first": trial, "best": trial})
    result.gain = Gain.of(trial.folds, trial.folds)
    assert [row.name for row in tuning_table(result, trial).rows] == [
        "rounds",
        "loss, mean of the folds",
        "loss, fold 0",
        "loss, fold 1",
        "best less before, mean of the folds",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (nan, ""),
        (0.0, "0"),
        (54.5279, "54.53"),
        (65247.9, "65,248"),
        (1e6, "1,000,000"),
        (0.00123456, "0.001235"),
    ],
)
def test_numbers_have_four_digits_and_no_exponent(value, text):
    assert number(value) == text


def test_decimals_of_a_column_follow_its_middle_value():
    assert [decimals(values) for values in ([], [0.0], [37.6, 118.1, 416.2], [0.35], [40_000.0], [nan, 5.0])] == [
        0,
        0,
        1,
        4,
        0,
        3,
    ]
    assert fixed(-0.0001, 3) == "0.000"
