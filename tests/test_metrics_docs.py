"""The table of metrics, the alerts and the dashboard name what the collector exports."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from scheduler.metrics import FAMILIES, register
from tests import models, schedulers
from tests.pages import ROOT, names_in, rows_of, section_of

DASHBOARD = json.loads((ROOT / "examples" / "grafana.json").read_text(encoding="utf-8"))
ROWS = rows_of(section_of(ROOT / "docs" / "deploy.md", "Metrics"))
TABLE = {names_in(row[0])[0]: row for row in ROWS if row[0].startswith("`fogline_")}
ALERTS = [row for row in ROWS if not row[0].startswith("`fogline_")]
SUFFIXES = {HistogramMetricFamily: ("_bucket", "_sum", "_count"), SummaryMetricFamily: ("_sum", "_count")}
SAMPLES = {of.exported + suffix: of for of in FAMILIES for suffix in SUFFIXES.get(of.kind, ("",))}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
NOT_LABELS = {"instance", "job"}
INFO = {"model", "version", "fingerprint"}


def metrics_of(expression):
    return re.findall(r"\bfogline_\w+", expression)


def labels_of(expression):
    """Labels that an expression selects or groups by."""
    groups = re.findall(r"(?:by|ignoring) \(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",")} | set(
        re.findall(r"[{,](\w+)=~?\"", expression)
    )


def check_expression(expression):
    """All metrics exist, are of the kind that their function takes, and have the labels asked for."""
    names = metrics_of(expression)
    assert names
    assert [name for name in names if name not in SAMPLES] == []
    known = NOT_LABELS | {"le"} | INFO.union(*(SAMPLES[name].labels for name in names))
    assert labels_of(expression) <= known
    for name in re.findall(r"(?:rate|increase)\((fogline_\w+)", expression):
        assert SAMPLES[name].kind in (CounterMetricFamily, *SUFFIXES), name
    assert expression.count("(") == expression.count(")")


def test_the_table_lists_every_metric_with_its_labels():
    assert list(TABLE) == [of.exported for of in FAMILIES]
    for of in FAMILIES:
        labels = names_in(TABLE[of.exported][1])
        assert labels == (["model", "version", "fingerprint"] if of.exported.endswith("_info") else list(of.labels))


def test_the_collector_exports_what_it_declares(tmp_path_factory):
    sched = schedulers.new(models.load_small(tmp_path_factory))
    collector = register(sched, CollectorRegistry())
    sched.decide({"client_id": 17}, now=0.0)
    for family, of in zip(collector.collect(), FAMILIES, strict=True):
        assert {sample.name for sample in family.samples} <= {name for name, its in SAMPLES.items() if its is of}


@pytest.mark.parametrize("row", ALERTS, ids=lambda row: row[0])
def test_alerts_ask_for_metrics_that_there_are(row):
    (expression,) = re.findall(r"`([^`]+)`", row[1])
    check_expression(expression)


@pytest.mark.parametrize(
    ("title", "target"), TARGETS, ids=lambda part: part if isinstance(part, str) else part["refId"]
)
def test_panels_ask_for_metrics_that_there_are(title, target):  # noqa: ARG001 - names the test
    check_expression(target["expr"])


def test_the_dashboard_shows_every_metric():
    shown = {SAMPLES[name].name for _, target in TARGETS for name in metrics_of(target["expr"])}
    assert shown == {of.name for of in FAMILIES}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_variables_that_panels_use_are_defined():
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([t for _, t in TARGETS]))) - {"__rate_interval"}
    assert used <= defined


@pytest.mark.slow
def test_the_example_serves_its_metrics_on_loopback(tmp_path):
    folder = models.write_small(tmp_path / "small")
    command = [sys.executable, str(ROOT / "examples" / "metrics.py"), str(folder), "0", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as program:
        address = program.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", address)
        counts = []
        while len(counts) < 200 and not (counts and counts[-1] > 20):
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - our own loopback
                families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
            counts.append(sum(sample.value for sample in families["fogline_decisions"].samples))
        assert families.keys() >= {of.exported.removesuffix("_total") for of in FAMILIES}
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (0, "", "")
    assert counts[-1] > 20
