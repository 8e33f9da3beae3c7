"""The glossary and the code use the same words, and the list of renamed names is true."""

import re
from importlib.util import find_spec

import pytest

import scheduler
from scheduler import FoglineError, Scheduler
from scheduler.spec import Policy, Spec, renamed
from tests.pages import ROOT, is_spec_key, names_in, resolve, rows_of, section_of

CONCEPTS, CHANGELOG = ROOT / "docs" / "concepts.md", ROOT / "CHANGELOG.md"
GLOSSARY = re.search(r"^## Glossary\n(.*?)(?=^## )", CONCEPTS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]
ROWS = rows_of(GLOSSARY)
NAMES = sorted({name for row in ROWS for name in names_in(row[2])})


def is_public_name(name):
    """Return whether a name is a key of the spec, a dotted name, or something that `scheduler` exports."""
    if is_spec_key(name):
        return True
    dotted = name if name.startswith(("scheduler.", "training.")) else f"scheduler.{name}"
    try:
        resolve(dotted)
    except LookupError:
        return False
    return True


def renames(kind):
    """Return what was renamed, and the names it has today."""
    return [(names_in(was)[0], names_in(now)) for was, now in rows_of(section_of(CHANGELOG, f"Renamed: {kind}"))]


def test_the_glossary_defines_each_word_once():
    words = [word for row in ROWS for word in row[0].split(", ")]
    assert len(words) > 50
    assert sorted(words) == sorted(set(words))
    assert [row[0] for row in ROWS if not row[1].endswith(".")] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_the_glossary_is_one_of_the_code(name):
    assert is_public_name(name)


def test_every_public_class_and_call_has_its_word():
    public = [getattr(scheduler, name) for name in scheduler.__all__]
    errors = {value.__name__ for value in public if isinstance(value, type) and issubclass(value, FoglineError)}
    calls = {f"Scheduler.{name}" for name in dir(Scheduler) if not name.startswith("_")}
    assert ({*scheduler.__all__} - errors) | calls <= {*NAMES}


def test_every_section_of_the_spec_and_every_key_of_its_policy_has_its_word():
    sections = {*Spec.__struct_fields__} - {"name", "about"}
    assert sections | {f"policy.{key}" for key in Policy.__struct_fields__} <= {*NAMES}


def test_the_changelog_lists_every_key_of_the_spec_that_is_refused_by_its_old_name():
    told = {was: now for was, (now,) in renames("spec")}
    expected = {f"[{a}.NAME]": f"[{b}.NAME]" for a, b in renamed.SECTIONS.items()}
    expected |= {f"policy.{a}": f"policy.{b}" for a, b in renamed.POLICY.items()}
    for where in ("utility", "utility.profiles"):
        expected |= {f"{where}.{a}": f"{where}.{b}" for a, b in renamed.UTILITY.items()}
    expected |= {f'policy: explore = "{a}"': f'policy: explore = "{b}"' for a, b in renamed.RULES.items()}
    expected |= {f'features: op = "{a}"': f'features: op = "{b}"' for a, b in renamed.OPERATIONS.items()}
    assert told == expected


@pytest.mark.parametrize("kind", ["classes, functions and constants", "modules"])
def test_names_that_the_changelog_gives_in_place_of_old_ones_are_there(kind):
    for _, now in renames(kind):
        for name in now:
            resolve(name)


def test_renamed_calls_exist_under_their_new_name():
    for _, (now,) in renames("calls"):
        name = now.partition("(")[0]
        if name.startswith("Fleet."):
            name = f"scheduler.fleet.fleet.{name}"
        if not name.startswith("--"):
            assert callable(resolve(name)) or name.endswith(("REASONS", "DROPS"))


def test_old_names_are_gone():
    for was, _ in renames("classes, functions and constants"):
        with pytest.raises(LookupError):
            resolve(was)
    replaced = [was for was, now in renames("modules") if was not in {name.rpartition(".")[0] for name in now}]
    for was in replaced:
        parent, _, name = was.rpartition(".")
        if find_spec(parent) is not None:
            assert not (ROOT / parent.replace(".", "/") / f"{name}.py").exists(), was
