"""Settings change in a spec's text; comments and all else stay."""

from scheduler.spec import parse_spec
from tests.small_world import DEMO, spec_text
from training.specs.edit import with_training


def test_comments_order_and_other_sections_stay():
    text = DEMO.read_text(encoding="utf-8")
    made = with_training(text, {"rounds": 77, "lightgbm": {"num_leaves": 9}}, ["Tuned.", ""])
    assert made.startswith("# Tuned.\n#\n")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in made.splitlines() if line.startswith("#")] == ["# Tuned.", "#", *comments]
    before, after = parse_spec(text), parse_spec(made)
    assert (after.training.rounds, after.training.lightgbm["num_leaves"]) == (77, 9)
    assert after.training.lightgbm.keys() == before.training.lightgbm.keys()
    assert (after.features, after.utility, after.evaluation) == (before.features, before.utility, before.evaluation)


def test_a_spec_without_the_section_gets_it():
    text = spec_text()
    without = text[: text.index("\n[training]\n")] + text[text.index("\n[evaluation]\n") :]
    made = parse_spec(with_training(without, {"reveal": 0.5, "lightgbm": {"num_leaves": 9}}))
    assert (made.training.reveal, made.training.lightgbm) == (0.5, {"num_leaves": 9})
