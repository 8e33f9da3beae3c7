"""The documents as the tests read them, and the code that they name."""

import importlib
import importlib.util
import re
from pathlib import Path

import msgspec

from scheduler import spec

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def page_name(page):
    return page.relative_to(ROOT).as_posix()


def section_of(page, heading):
    """Return the text below a heading of a page, up to the next heading."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page_name(page)} has no heading {heading}"
    return found[1]


def rows_of(text):
    """Return the cells of all rows of a text's tables, without headings."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"
    ]
    dashes = [i for i, row in enumerate(rows) if set(row[0]) <= set("-: ")]
    return [row for i, row in enumerate(rows) if i not in dashes and i + 1 not in dashes]


def names_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def resolve(dotted):
    """Return what a dotted name stands for: a module, or an attribute of one, however deep. A field gives its name.

    Raises `LookupError` if there is no such thing.
    """
    parts = dotted.split(".")
    at = next((n for n in range(len(parts), 0, -1) if _is_module(".".join(parts[:n]))), 0)
    if at == 0:
        raise LookupError(dotted)
    value = importlib.import_module(".".join(parts[:at]))
    for part in parts[at:]:
        if not hasattr(value, part) and part not in getattr(value, "__annotations__", {}):
            raise LookupError(dotted)
        value = getattr(value, part, part)
    return value


def _is_module(dotted):
    try:
        return importlib.util.find_spec(dotted) is not None
    except ModuleNotFoundError:  # the part before the last dot is a class, or is not there
        return False


SECTIONS = {
    "telemetry": spec.Telemetry,
    "outcomes": spec.Outcome,
    "cost": spec.Cost,
    "request": spec.Column,
    "node": spec.Column,
    "history": spec.History,
    "latent_factors": spec.LatentFactors,
    "change_points": spec.ChangePoints,
    "heads": spec.Head,
    "utility": spec.Utility,
    "candidates": spec.Candidates,
    "ledger": spec.Ledger,
    "policy": spec.Policy,
    "watch": spec.WatchRules,
    "training": spec.Training,
    "evaluation": spec.Evaluation,
    "promotion": spec.PromotionRules,
}
"""Sections of a spec whose keys have names of their own."""


def is_spec_key(name):
    """Return whether a name is a section of the spec, or a key of one such as ``policy.budget``."""
    section, _, key = name.partition(".")
    if not key:
        return name in spec.Spec.__struct_fields__
    return section in SECTIONS and key in {field.encode_name for field in msgspec.structs.fields(SECTIONS[section])}
