"""Every sentence that an explanation can say: a closed list, each with an example.

Text that reaches an operator comes from `say` alone, so the list is complete by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Sentence(NamedTuple):
    """A sentence with places for values, and values for an example."""

    text: str
    example: Mapping[str, object]


_TWO: Final = {"chosen": "box-41", "other": "box-17"}

SENTENCES: Final[Mapping[str, Sentence]] = {
    # The first sentence of an explanation.
    "best": Sentence("{chosen} over {other}: {reasons}", {**_TWO, "reasons": "same isp, failure 0.4 % against 2.1 %"}),
    "equal": Sentence("{chosen} and {other} have equal utilities; the draw chose {chosen}", _TWO),
    "one_candidate": Sentence("{chosen}: no other candidate was left", _TWO),
    "no_rival": Sentence(
        "{chosen}: no slate that begins with another of the {n} candidates covers the demand", {**_TWO, "n": 9}
    ),
    "no_rival_utility": Sentence("{chosen} over {other}, which has no utility: a value that it needs is missing", _TWO),
    "no_utility": Sentence("{chosen}: no candidate has a utility, because values that it needs are missing", _TWO),
    "explored": Sentence(
        "{chosen} to explore, not {other}, which is the best: {reasons}",
        {**_TWO, "reasons": "failure 2.1 % against 0.4 %"},
    ),
    "origin_no_candidates": Sentence("the origin serves: no node was found for the request", {}),
    "origin_all_dropped": Sentence("the origin serves: all {n} candidates were dropped", {"n": 15}),
    "origin_no_uplink": Sentence(
        "the origin serves: no slate of up to {places} of the {n} candidates covers {demand} kbit/s",
        {"places": 2, "n": 4, "demand": "8,000"},
    ),
    # Reasons within the first sentence.
    "same": Sentence("same {what}", {"what": "isp"}),
    "against": Sentence("{what} {value} against {than}", {"what": "failure", "value": "0.4 %", "than": "2.1 %"}),
    "no_difference": Sentence("nothing that the model sees differs", {}),
    # What follows it.
    "dropped": Sentence("{counts}", {"counts": "12 candidates full, 3 silent"}),
    "slate": Sentence(
        "{n} nodes share the demand of {demand} kbit/s: {nodes}",
        {"n": 2, "demand": "8,000", "nodes": "box-41, box-7"},
    ),
    "draw": Sentence(
        "the draw chose it with probability {probability}; its utility is {gap} below the best one's",
        {"probability": "0.0012", "gap": "38.5"},
    ),
    "utilities": Sentence(
        "utility {value} against {than}, a difference of {gap}", {"value": "-61.2", "than": "-99.7", "gap": "38.5"}
    ),
    "part": Sentence(
        "{share} from {feature}: {value} against {than}",
        {"share": "+21.4", "feature": "node_failed_20m", "value": "0.2 %", "than": "3.1 %"},
    ),
    "rest": Sentence("{share} from {n} more features", {"share": "+2.2", "n": 11}),
    "flip": Sentence(
        "{other} would win with {feature} {condition} {value} in place of {now}",
        {"other": "box-17", "feature": "load", "condition": "at most", "value": "0.35", "now": "0.82"},
    ),
    "flip_head": Sentence(
        "{other} would win with {head} {condition} {value} in place of {now}",
        {"other": "box-17", "head": "failure", "condition": "below", "value": "0.9 %", "now": "2.1 %"},
    ),
    "no_flip": Sentence("no change of a single feature would make {other} win", {"other": "box-17"}),
    "as_of_now": Sentence("as of now: nothing was reserved or recorded", {}),
    # Why a node does not serve.
    "not_known": Sentence("{node}: the fleet does not know it", {"node": "box-17"}),
    "not_found": Sentence("{node}: retrieval did not find it among the {n} candidates", {"node": "box-17", "n": 128}),
    "not_a_candidate": Sentence(
        "{node}: not among the {n} candidates, because the fleet did not know it or retrieval did not find it",
        {"node": "box-17", "n": 128},
    ),
    "silent": Sentence("{node}: dropped, its heartbeat is overdue", {"node": "box-17"}),
    "quarantined": Sentence("{node}: dropped, it is in quarantine", {"node": "box-17"}),
    "full": Sentence("{node}: dropped, all its uplink is reserved", {"node": "box-17"}),
    "blocked": Sentence("{node}: dropped, the request excludes or blocks it", {"node": "box-17"}),
    "spread": Sentence(
        "{node}: a spread limit kept it out of the slate, whose nodes have the same {what}",
        {"node": "box-17", "what": "isp"},
    ),
    "not_covering": Sentence(
        "{node}: no slate that begins with it covers {demand} kbit/s; it has {free} kbit/s free",
        {"node": "box-17", "demand": "8,000", "free": "900"},
    ),
    "lacks_utility": Sentence(
        "{node}: it has no utility, because a value that it needs is missing", {"node": "box-17"}
    ),
    "lost": Sentence(
        "{node} lost to {chosen} by {gap}: {reasons}",
        {"node": "box-17", "chosen": "box-41", "gap": "38.5", "reasons": "failure 2.1 % against 0.4 %"},
    ),
    "drawn_over": Sentence(
        "{node}: its utility is not below that of {chosen}, but the draw chose {chosen}",
        {"node": "box-17", "chosen": "box-41"},
    ),
    "serves": Sentence("{node}: it serves, at place {place} of the slate", {"node": "box-41", "place": 1}),
    "alternative": Sentence(
        "{node} is alternative {place}, to be asked if the slate's nodes refuse", {"node": "box-17", "place": 1}
    ),
    # What if.
    "unchanged": Sentence("no change: {nodes} as before", {"nodes": "box-41"}),
    "instead": Sentence("{after} in place of {before}", {"after": "box-17", "before": "box-41"}),
    "utility_changes": Sentence(
        "{node}: utility {after} in place of {before}", {"node": "box-17", "after": "-58.0", "before": "-99.7"}
    ),
    "head_changes": Sentence(
        "{node}: {head} {after} in place of {before}",
        {"node": "box-17", "head": "failure", "after": "0.3 %", "before": "2.1 %"},
    ),
    "propensity_changes": Sentence("probability {after} in place of {before}", {"after": "0.99", "before": "0.0012"}),
}
"""By name; `docs/explain.md` lists them all."""


def say(name: str, **values: object) -> str:
    """Return the sentence of that name with its values in place."""
    return SENTENCES[name].text.format(**values)


def examples() -> dict[str, str]:
    """Return an example of each sentence."""
    return {name: say(name, **sentence.example) for name, sentence in SENTENCES.items()}
