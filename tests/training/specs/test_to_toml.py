"""A spec written as TOML reads back as the same spec."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.spec import parse_spec
from training.specs.builtin import find_spec, shipped
from training.specs.to_toml import spec_to_toml


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_spec_reads_back(name):
    spec = find_spec(name)
    assert parse_spec(spec_to_toml(spec)) == spec


def test_the_order_of_features_and_heads_stays():
    spec = find_spec("demo")
    read = parse_spec(spec_to_toml(spec))
    assert (list(read.features), list(read.heads)) == (list(spec.features), list(spec.heads))
    assert read.fingerprint() == spec.fingerprint()


def test_a_comment_stands_first_and_changes_nothing():
    spec = find_spec("seattle")
    text = spec_to_toml(spec, "one\n\ntwo = 3")
    assert text.startswith("# one\n#\n# two = 3\nname = ")
    assert parse_spec(text) == spec


@pytest.mark.slow
@given(about=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_survives(about):
    spec = msgspec.structs.replace(find_spec("seattle"), about=about)
    assert parse_spec(spec_to_toml(spec)).about == about
