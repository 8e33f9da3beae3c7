"""The report: all is on the page, nothing is loaded, and a browser shows it without scrolling sideways."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scheduler.model.model import Model
from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.evaluation.metrics import scores
from training.evaluation.model_card import ModelCard
from training.evaluation.seeds import pooled
from training.explanation.dependence import Dependence
from training.explanation.model_rules import ModelRules
from training.explanation.surrogate import Rule, Surrogate
from training.heads.metrics import Reliability
from training.policies import all_policies, baselines
from training.report.charts import Line, bars, lines
from training.report.charts import reliability as reliability_plot
from training.report.page import best_baseline, figure, render, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    model = Model.load(world.write_model(tmp_path_factory.mktemp("model") / "tiny-1"))
    policies = {**all_policies(world.setting(), model), "rules": baselines(world.setting(9))["random"]}
    found = evaluate(world.batches(120), policies, world.SPEC, world.telemetry())
    card = ModelCard("tiny", "1", {"rows": 1_000, "last_slice": 59}, {"latency": "ms"}, {"latency": {"pair_mean": 1.0}})
    return replace(found, data="world@123", model="tiny-1", card=card)


@pytest.fixture(scope="module")
def page(comparison):
    return render(comparison)


@pytest.mark.slow
@pytest.mark.parametrize("cost", [0.0, 20.0])
def test_a_page_says_that_all_candidates_cost_the_same(cost, comparison):
    picks = {name: one._replace(cost=np.full_like(one.cost, cost)) for name, one in comparison.picks.items()}
    series = comparison.series._replace(cost=dict.fromkeys(picks, cost * comparison.series.n_requests))
    text = render(replace(comparison, picks=picks, series=series, policies=scores(picks, {})))
    assert "because all candidates cost the same" in text
    assert "nan" not in Tree(text).cells


class Tree(HTMLParser):
    """Notes elements and their attributes, checks that each is closed, and collects the text of cells."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.cells, self._cell = [], [], [], None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self._cell = ""

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), list(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.cells.append(self._cell)
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def all(self, tag):
        return [(attributes, inside) for name, attributes, inside in self.elements if name == tag]


@pytest.mark.slow
def test_every_figure_of_the_comparison_is_in_the_table(comparison, page):
    cells = Tree(page).cells
    for score in comparison.policies.values():
        for value in (
            figure(score.mean),
            figure(score.p95),
            f"{100 * score.fail:.2f} %",
            f"{score.gap_closed:.3f}",
        ):
            assert value in cells


@pytest.mark.slow
def test_standard_deviations_stand_beside_the_means_where_there_are_several_seeds(comparison):
    assert "±" not in render(comparison)
    both = pooled([comparison, comparison])
    deviation = {name: replace(score, mean=1.25, regret=0.034) for name, score in both.standard_deviation.items()}
    cells = Tree(render(replace(both, standard_deviation=deviation))).cells
    own = both.policies["learned"]
    assert f"{figure(own.mean)} ± 1.2" in cells
    assert f"{own.regret:.3f} ± 0.034" in cells


def test_the_headline_compares_with_rules_the_best_baseline_and_random(comparison, page):
    best = best_baseline(comparison)
    for name, words in {"rules": "the rules", "random": "random", best: "the best baseline"}.items():
        way = "lower" if comparison.policies["learned"].mean <= comparison.policies[name].mean else "higher"
        change = 1 - comparison.policies["learned"].mean / comparison.policies[name].mean
        assert f"<strong>{abs(change):.0%}</strong><span>{way} mean cost than {words}" in page
    assert page.count("mean cost than the best baseline") == 1


def test_the_best_baseline_is_neither_the_rules_nor_the_model(comparison):
    assert best_baseline(comparison) not in ("rules", "learned", "oracle")
    names = {**comparison.policies, "retrained": comparison.policies["oracle"]}
    assert best_baseline(replace(comparison, policies=names)) == best_baseline(comparison)


def test_the_model_and_the_data_are_named(page):
    assert "tiny-1" in page
    assert "world@123" in page
    assert "last slice" in page


def test_every_table_has_a_caption_and_every_picture_a_title(page):
    tree = Tree(page)
    assert len(tree.all("table")) == len(tree.all("caption")) > 4
    assert all(attributes["role"] == "img" for attributes, _ in tree.all("svg"))
    assert page.count('role="img"><title>') == len(tree.all("svg")) >= 6
    assert tree.all("html")[0][0]["lang"] == "en"
    assert all(attributes.get("scope") in ("col", "row") for attributes, _ in tree.all("th"))


def test_headings_go_down_one_step_at_a_time(page):
    levels = [int(tag[1]) for tag, _, _ in Tree(page).elements if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_nothing_is_loaded_and_nothing_runs(page):
    tree = Tree(page)
    assert not tree.all("script") + tree.all("link") + tree.all("img") + tree.all("iframe")
    assert not re.search(r"https?:|//\w|@import|@font-face|javascript:|\son\w+=", page)
    assert not re.search(r"url\((?!#)", page)
    links = [v for _, attributes, _ in tree.elements for n, v in attributes.items() if n.endswith(("href", "src"))]
    assert all(link.startswith("#") for link in links)


def test_names_within_pictures_are_unique_and_all_references_are_met(page):
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


@pytest.mark.slow
def test_names_are_escaped(comparison):
    evil = replace(
        comparison,
        model="<b>x</b>",
        clients=replace(comparison.clients, ids=np.array(["<i>", *"abc"], object)),
    )
    page = render(evil)
    assert "<b>x" not in page
    assert "<i>" not in page


@pytest.mark.slow
def test_the_same_comparison_gives_the_same_page(comparison, page):
    assert render(comparison) == page


@pytest.mark.slow
def test_a_training_summary_adds_the_held_out_rows(comparison):
    curve = Reliability(np.array([0.1, 0.3]), np.array([0.12, 0.28]), np.array([50, 50]))
    metrics = {"mean_ratio": 5.12, "covered_68": 0.7, "covered_95": 0.94}
    summary = SimpleNamespace(heads={"failure": SimpleNamespace(reliability=curve, metrics=metrics)})
    page = render(replace(comparison, predicted={"failure": comparison.predicted["failure"]}), summary)
    assert "held-out rows" in page
    assert "<td>0.12</td>" in page
    assert "was 5.1 times what was foreseen; 70% of the outcomes lay where 68 % were expected, 94% where 95 %" in page


@pytest.mark.slow
def test_a_head_whose_doubt_was_not_judged_has_no_word_on_it(comparison):
    curve = Reliability(np.array([0.1, 0.3]), np.array([0.12, 0.28]), np.array([50, 50]))
    comparison = replace(comparison, predicted={"failure": comparison.predicted["failure"]})
    for metrics in ({}, {"mean_ratio": float("nan")}):
        summary = SimpleNamespace(heads={"failure": SimpleNamespace(reliability=curve, metrics=metrics)})
        assert "times what was foreseen" not in render(comparison, summary)


@pytest.mark.slow
def test_little_data_leaves_sections_that_say_so():
    one = evaluate(
        world.batches(1, k=1),
        {**baselines(world.setting()), "learned": baselines(world.setting())["random"]},
        world.SPEC,
        world.telemetry(),
    )
    page = render(one)
    assert "fewer than three slices" in page
    assert "No predictions were kept" in page
    assert "No segment has that many requests" in page
    assert "nan" not in page


@pytest.mark.slow
def test_the_page_replaces_an_old_one_and_leaves_nothing_beside_it(comparison, tmp_path):
    target = tmp_path / "new" / "report.html"
    assert write_report(comparison, target) == target
    first = target.read_text()
    write_report(comparison, target)
    assert target.read_text() == first
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


@pytest.mark.slow
def test_a_failed_write_keeps_the_old_page(comparison, tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(comparison, target)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


@pytest.mark.parametrize(
    "svg",
    [
        bars("t", {"a": 0.5, "b": float("nan"), "c": -0.2}, {}, percent=True),
        lines("t", np.arange(3.0), [Line("a", np.array([0.1, np.nan, 0.2]), "#040404")], ("x", "y")),
        reliability_plot("t", {"a": Reliability(np.zeros(1), np.zeros(1), np.ones(1, int))}, "ms"),
    ],
)
def test_pictures_of_odd_values_are_drawn(svg):
    assert svg.startswith("<svg viewBox=")
    assert "#040404" not in svg


def chromium(folder, *arguments):
    """Run the browser without a network and return what it printed."""
    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    headless = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/profile",
    ]
    command = [CHROMIUM, *headless, *quiet, "--proxy-server=127.0.0.1:9", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


PROBE = """<script>
document.title = "overflow " + (document.documentElement.scrollWidth - document.documentElement.clientWidth);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to look at the page with")
class TestInChromium:
    def test_the_page_shows_its_figures(self, comparison, page, tmp_path):
        (tmp_path / "report.html").write_text(page)
        shown = chromium(tmp_path, "--dump-dom", f"file://{tmp_path}/report.html")
        cells = Tree(re.sub(r"<!doctype.*?>", "", shown, flags=re.IGNORECASE)).cells
        assert {figure(score.mean) for score in comparison.policies.values()} <= set(cells)
        assert shown.count("<svg") == page.count("<svg")

    @pytest.mark.parametrize("width", [360, 1100])
    def test_the_page_does_not_scroll_sideways(self, page, tmp_path, width):
        # A frame has the width it is given; a window of the browser may be no narrower than 500 pixels.
        (tmp_path / "page.html").write_text(page.replace("</body>", PROBE + "</body>"))
        frame = f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>'
        found = "document.querySelector('iframe').contentDocument.title"
        script = f"<script>onload = () => {{ document.body.append({found}) }}</script>"
        (tmp_path / "frame.html").write_text(frame + script)
        shown = chromium(tmp_path, "--allow-file-access-from-files", "--dump-dom", f"file://{tmp_path}/frame.html")
        assert "overflow 0" in shown

    def test_the_page_is_not_blank(self, page, tmp_path):
        (tmp_path / "report.html").write_text(page)
        picture = tmp_path / "page.png"
        chromium(tmp_path, "--window-size=1000,1400", f"--screenshot={picture}", f"file://{tmp_path}/report.html")
        with Image.open(picture) as image:
            colours = image.convert("RGB").getcolors(maxcolors=1 << 20)
        assert len(colours) > 50
        assert max(count for count, _ in colours) < 0.9 * 1000 * 1400


@pytest.mark.slow
def test_the_model_as_rules_is_on_the_page_where_it_is_known(comparison, page):
    curve = Dependence("same_isp", (False, True, None), (-90.5, -61.25, -70.0), {"latency": (40.0, 31.0, 33.0)}, 29.25)
    rules = (Rule(("same_isp: yes", "load at most 0.4"), -60.0, 0.7), Rule(("same_isp: no",), -91.0, 0.3))
    found = ModelRules("tiny-1", 4_000, "rows", {}, (curve,), Surrogate(rules, 0.82, 0.91, 2_000))
    told = render(comparison, model_rules=found)
    cells = Tree(told).cells
    assert "same_isp: yes and load at most 0.4" in cells
    assert {"yes", "no", "-61.25", "70 %"} <= {*cells}
    assert "explains 82 % of the variance of the model's utility and orders 91 % of pairs" in told
    assert "The nearest rules" not in page
    assert "The nearest rules" not in render(comparison, model_rules=found._replace(surrogate=None))
