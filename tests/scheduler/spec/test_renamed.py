"""Keys of specs under their old names are refused, and the message names the new one."""

import msgspec
import pytest

from scheduler.errors import SpecError
from scheduler.spec import parse_spec, spec_from_json
from scheduler.spec.features import Feature
from scheduler.spec.policy import Policy, Utility
from scheduler.spec.renamed import OPERATIONS, POLICY, SECTIONS, UTILITY
from scheduler.spec.types import Spec
from tests.models import SPEC

OLD = {
    "a section": ("[factors.rtt]\nvalue = 'rtt_ms'", "^spec: expected 'latent_factors'.*found 'factors'"),
    "another section": ("[regimes.calm]\nvalue = 'rtt_ms'", "^spec: expected 'change_points'"),
    "a key of the policy": ("[policy]\nguard = 2.0", "^policy: expected 'max_utility_loss'.*found 'guard'"),
    "a rule": ("[policy]\nexplore = 'bonus'", "^policy.explore: expected 'ucb'.*found 'bonus'"),
    "an operation": (
        "[features.x]\nop = 'regime'\nof = 'calm'\npart = 'age'",
        "^features.x.op: expected 'change_point'",
    ),
}


@pytest.mark.parametrize(("text", "message"), OLD.values(), ids=OLD)
def test_an_old_name_is_refused_with_the_new_one(text, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(f"{SPEC}\n{text}")


def test_old_weights_of_the_price_are_refused_in_profiles_too():
    raw = msgspec.json.decode(parse_spec(SPEC).to_json())
    raw["utility"]["profiles"][0]["money"] = -5.0
    with pytest.raises(SpecError, match=r"^utility.profiles\[0\]: expected 'price_weight'"):
        spec_from_json(msgspec.json.encode(raw))


def test_new_names_exist_and_old_ones_do_not():
    operations = {part.__struct_config__.tag for part in Feature.__args__}
    for names, known in (
        (SECTIONS, set(Spec.__struct_fields__)),
        (POLICY, set(Policy.__struct_fields__)),
        (UTILITY, set(Utility.__struct_fields__)),
        (OPERATIONS, operations),
    ):
        assert set(names.values()) <= known
        assert not set(names) & known


@pytest.mark.parametrize("text", ["policy = 3", "features = 'x'", "utility = [1]", "policy = { explore = [1] }"])
def test_what_is_no_table_is_left_to_the_types(text):
    with pytest.raises(SpecError):
        parse_spec(text)
