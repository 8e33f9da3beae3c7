"""A spec is read whole or refused by the name of what is wrong with it."""

from pathlib import Path

import msgspec
import pytest

from scheduler import SpecError, load_spec
from scheduler.spec import Value, parse_spec, seconds, spec_from_json
from tests.models import EXTENDED, SPEC, TRAINED

SHIPPED = sorted((Path(__file__).parents[3] / "models" / "specs").glob("*.toml"))


def edited(old: str, new: str, text: str = SPEC) -> str:
    assert text.count(old) == 1, f"{text.count(old)} times in the spec: {old}"
    return text.replace(old, new)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_spec_loads_under_its_own_name(path):
    assert load_spec(path).name == path.stem


def test_the_data_sets_and_the_demo_have_specs():
    assert {path.stem for path in SHIPPED} >= {"demo", "hbrp", "seattle", "wsdream2"}


IMPOSSIBLE = {
    "no toml": ("[telemetry]", "[telemetry", r"line \d+"),
    "unknown table": ('name = "small"', 'name = "small"\nmodels = 3', "^models: unknown key; "),
    "unknown key": ('ok = "ok"', 'okay = "ok"', r"^telemetry\.okay: unknown key; did you mean ok\?$"),
    "unknown key that is like no other": (
        'ok = "ok"',
        'xyzzy = "ok"',
        r"^telemetry\.xyzzy: unknown key; there are client, node, slice, time, ok, arrival, propensity$",
    ),
    "unknown key of an optional table": (
        "[candidates]\n",
        "[ledger]\nrate_ = 'kbps'\n[candidates]\n",
        r"^ledger\.rate_: unknown key; ",
    ),
    "unknown key of an entry": ("speed = {}", "speed = { mim = 1 }", r"^outcomes\.speed\.mim: .*did you mean min\?$"),
    "unknown key in a list": (
        "price_weight = -50.0",
        "price_weight = -50.0\nloud = 1.0",
        r"^utility\.profiles\[1\]\.loud: unknown key; did you mean load\?$",
    ),
    "unknown key of a feature": (
        'period = "10m"',
        'period = "10m", phase = 3',
        r"^features\.\w+\.phase: unknown key; ",
    ),
    "unknown operation": ('op = "clock"', 'op = "watch"', "'watch'"),
    "unknown statistic": ('stat = "variance"', 'stat = "median"', "'median'"),
    "wrong type": ("capacity = 4_096", "capacity = 4_096.5", "Expected `int | str`, got `float`"),
    "wrong word": ("capacity = 4_096", 'capacity = "many"', r"Invalid enum value 'many' - at `\$.history.capacity`"),
    "wrong word that sounds like a key": (
        "capacity = 4_096",
        'capacity = "unknown field"',
        "^Invalid enum value 'unknown field'",
    ),
    "wrong link": ('link = "log"\n', 'link = "probit"\n', "'probit'"),
    "missing key": ("failure = 1_000\n", "", "missing required field `failure`"),
    "name": ('name = "small"', 'name = "Too Small"', "^name: "),
    "slice": ("seconds = 60 }", "seconds = 0 }", "^telemetry.slice.seconds: "),
    "arrival": ('arrival = ["rtt_ms"]', 'arrival = ["rtt"]', "^telemetry.arrival: .*rtt_ms.*found 'rtt'"),
    "derived outcome": ("speed = {}", "speed = {}\nfailed = {}", "^outcomes.failed: "),
    "outcome called ok": ("speed = {}", "speed = {}\nok = {}", "^outcomes.ok: "),
    "outcome bounds": ("speed = {}", "speed = { min = 2, max = 1 }", "^outcomes.speed.min: .*found 2"),
    "outcome bound not finite": ("speed = {}", "speed = { min = nan }", "^outcomes.speed.min: .*found nan"),
    "cost": ('success = "rtt_ms"', 'success = "rtt"', "^cost.success: "),
    "cost of failure": ("failure = 1_000\n", "failure = inf\n", "^cost.failure: "),
    "cost column": (
        "failure = 1_000\n",
        'failure = 1_000\nfailure_column = "x"\n',
        "^cost.failure_column: .*found 'x'",
    ),
    "column bounds": ("load = { min = 0, max = 1 }", "load = { min = 2, max = 1 }", "^node.load.min: "),
    "bounds of a category": (
        'kind = { type = "category" }',
        'kind = { type = "category", max = 1 }',
        "^request.kind.max: ",
    ),
    "window": ("[candidates]\n", '[watch]\nwindow = "soon"\n[candidates]\n', "^watch.window: duration 'soon'"),
    "window of a profile": (
        "price_weight = -50.0",
        'price_weight = -50.0\nwindow = "0s"',
        r"^utility.profiles\[1\].window: duration '0s'",
    ),
    "carrier of windows": ("[candidates]\n", '[watch]\ncarrier = "uplink"\n[candidates]\n', "^watch.carrier "),
    "no width": ("kbps = { min = 0 }", "kbps = { size = 0 }", "^request.kbps.size: .*found 0"),
    "negative width": ("kbps = { min = 0 }", "kbps = { size = -3 }", "^request.kbps.size: "),
    "wide number": ("kbps = { min = 0 }", "kbps = { size = 2 }", "^request.kbps.size: "),
    "narrow vector": (
        'taste = { type = "vector", size = 3, source = "clients" }',
        'taste = { type = "vector", source = "clients" }',
        "^request.taste.size: ",
    ),
    "vector from telemetry": (
        'taste = { type = "vector", size = 3, source = "clients" }',
        'taste = { type = "vector", size = 3 }',
        "^request.taste.source: ",
    ),
    "source of the other side": (
        'uplink = { min = 0, source = "nodes" }',
        'uplink = { source = "clients" }',
        "^node.uplink.source: .*found 'clients'",
    ),
    "history value": (
        '"failed", "log1p(speed)"]',
        '"failed", "log1p(sped)"]',
        "^history.values: .*found 'sped'",
    ),
    "history formula": ('"failed", "log1p(speed)"]', '"failed", "log(speed)"]', "^history.values: .*log1p"),
    "value twice": ('"failed", "log1p(speed)"]', '"failed", "failed"]', "^history.values: .*none twice"),
    "no half-life": ('half_lives = ["1m", "1h"]', "half_lives = []", "^history.half_lives: "),
    "half-life": ('half_lives = ["1m", "1h"]', 'half_lives = ["1m", "1x"]', "^history.half_lives: .*'1x'"),
    "half-life of nothing": (
        'half_lives = ["1m", "1h"]',
        'half_lives = ["0m"]',
        "^history.half_lives: .*'0m'",
    ),
    "capacity": ("capacity = 4_096", "capacity = 3", "^history.capacity: "),
    "empty key": ('client = ["client"]', "client = []", "^history.keys.client: "),
    "part twice": ('pair = ["client", "node"]', 'pair = ["node", "node"]', "^history.keys.pair: "),
    "unknown part": ('pair = ["client", "node"]', 'pair = ["client", "box"]', "^history.keys.pair: .*'box'"),
    "part of a number": (
        'kind_node = ["request.kind", "node"]',
        'kind_node = ["request.kbps", "node"]',
        "^history.keys.kind_node: .*'request.kbps'",
    ),
    "request feature": (
        'op = "request", column = "kbps"',
        'op = "request", column = "kbit"',
        "^features.kbps: ",
    ),
    "vector as a feature": (
        'op = "request", column = "kbps"',
        'op = "request", column = "taste"',
        "^features.kbps",
    ),
    "node feature": ('op = "node", column = "load"', 'op = "node", column = "kbps"', "^features.load: "),
    "period": ('period = "10m"', 'period = "10 minutes"', "^features.minute.period: .*'10 minutes'"),
    "statistic of no key": ('key = "client", stat', 'key = "clients", stat', "^features.client_mean.key: "),
    "statistic of no value": (
        'key = "kind_node", stat = "age"',
        'key = "kind_node", stat = "last"',
        "^features.kind_age.value: ",
    ),
    "statistic of another value": (
        'stat = "last", value = "log1p(speed)"',
        'stat = "last", value = "speed"',
        "^features.node_last.value: ",
    ),
    "age of a value": (
        'key = "kind_node", stat = "age"',
        'key = "kind_node", stat = "age", value = "failed"',
        "^features.kind_age: ",
    ),
    "half-life of the last": (
        'stat = "last", value = "log1p(speed)"',
        'stat = "last", value = "log1p(speed)", half_life = "1h"',
        "^features.node_last.half_life: ",
    ),
    "no half-life of a count": (
        'stat = "count", value = "failed", half_life = "1m"',
        'stat = "count", value = "failed"',
        "^features.node_count.half_life: ",
    ),
    "other half-life": (
        'stat = "count", value = "failed", half_life = "1m"',
        'stat = "count", value = "failed", half_life = "2m"',
        "^features.node_count.half_life: .*found '2m'",
    ),
    "equal of a number": (
        'op = "equal", request = "isp"',
        'op = "equal", request = "kbps"',
        "^features.same_isp ",
    ),
    "difference of a category": (
        'op = "difference", request = "kbps"',
        'op = "difference", request = "isp"',
        "^features.spare ",
    ),
    "distance of nothing": (
        'request = ["lat", "lon"], node',
        'request = ["lat", "long"], node',
        "^features.km: ",
    ),
    "distance of one number": ('request = ["lat", "lon"], node', 'request = ["lat"], node', "length"),
    "dot of a number": ('op = "dot", request = "taste"', 'op = "dot", request = "kbps"', "^features.match "),
    "dot of two sizes": (
        'taste = { type = "vector", size = 3, source = "nodes" }',
        'taste = { type = "vector", size = 4, source = "nodes" }',
        r"^features.match: .*\(3\), found 4",
    ),
    "head of no outcome": ('target = "log1p(rtt_ms)"', 'target = "log1p(rtt)"', "^heads.latency.target: "),
    "head without trees or mean": (
        'target = "log1p(rtt_ms)"',
        'target = "log1p(rtt_ms)"\ntrees = false',
        "^heads.latency.offset: expected a feature, as the head has no trees, found .auto",
    ),
    "LightGBM without trees": (
        'target = "log1p(rtt_ms)"',
        'target = "log1p(rtt_ms)"\ntrees = false\noffset = "client_mean"\nlightgbm = { num_leaves = 4 }',
        "^heads.latency.lightgbm: expected nothing, as the head has no trees, found ",
    ),
    "logistic head of a number": ('target = "failed"', 'target = "speed"', "^heads.failure.link: "),
    "log head without log": ('target = "log1p(rtt_ms)"', 'target = "rtt_ms"', "^heads.latency.target: "),
    "failure given success": (
        'link = "logistic"',
        'link = "logistic"\ngiven_ok = true',
        "^heads.failure.given_ok: ",
    ),
    "quantile of a failure": (
        'link = "logistic"',
        'link = "logistic"\nquantile = 0.5',
        "^heads.failure.quantile: ",
    ),
    "quantile": (
        "given_ok = true",
        "given_ok = true\nquantile = 1.0",
        "^heads.latency.quantile: ",
    ),
    "two failures": (
        "[heads.failure]\n",
        '[heads.again]\ntarget = "failed"\nlink = "logistic"\n[heads.failure]\n',
        "^heads: ",
    ),
    "weight of no head": (
        "heads = { failure = -9_000.0 }",
        "heads = { throughput = 1.0 }",
        r"^utility.profiles\[0\]",
    ),
    "infinite weight": (
        "heads = { failure = -9_000.0 }",
        "heads = { failure = inf }",
        r"profiles\[0\].heads.failure",
    ),
    "weight that is no number": ("price_weight = -5.0", "price_weight = nan", r"^utility.profiles\[0\].price_weight: "),
    "profile of no column": (
        'when = { kind = "bulk" }',
        'when = { sort = "bulk" }',
        r"^utility.profiles\[1\].when: ",
    ),
    "profile of a number": (
        'when = { kind = "bulk" }',
        "when = { kbps = 3 }",
        r"^utility.profiles\[1\].when ",
    ),
    "price": ('price = "price"', 'price = "cost"', "^utility.price: "),
    "price_weight without price": ('price = "price"\n', "", "^utility.price: .*price_weight"),
    "load without ledger": ("price_weight = -5.0", "load = -5.0", r"^utility.profiles\[0\].load: .*found -5"),
    "tier of no column": (
        'match = { isp = "isp" }',
        'match = { asn = "isp" }',
        "^candidates.tiers.same carrier: ",
    ),
    "tier of a number": (
        'match = { isp = "isp" }',
        'match = { isp = "load" }',
        "^candidates.tiers.same carrier ",
    ),
    "tier over the limit": ("limit = 16", "limit = 160", "^candidates.tiers.any.limit: "),
    "no candidates": ("limit = 24\n", "limit = 0\n", "limit: "),
}


@pytest.mark.parametrize(("old", "new", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_it_refuses_by_name(old, new, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(edited(old, new))


IMPOSSIBLE_EXTENDED = {
    "residual of nothing": ('"residual(rtt)"]', '"residual(wtt)"]', "^history.values: .*rtt.*found 'wtt'"),
    "value of factors": (
        'value = "log1p(speed)"\n',
        'value = "speed"\n',
        "^latent_factors.carriers_speed.value: .*'speed'",
    ),
    "factors of a residual": (
        'value = "log1p(speed)"\n',
        'value = "residual(rtt)"\n',
        "^latent_factors.carriers_speed.value: .*only history.*'residual",
    ),
    "client of factors": (
        'client = "isp"',
        'client = "carriers"',
        "^latent_factors.carriers_speed.client: .*the request alone",
    ),
    "node of factors": ('node = "node_isp"', 'node = "pair"', "^latent_factors.carriers_speed.node: .*the node alone"),
    "key of factors": ('node = "node_isp"', 'node = "asn"', "^latent_factors.carriers_speed.node: .*found 'asn'"),
    "rank": ("rank = 3", "rank = 65", "^latent_factors.rtt.rank: .*found 65"),
    "half-life of factors": ('memory = "1h"', 'memory = "1x"', "^latent_factors.rtt.memory: .*'1x'"),
    "capacity of factors": ("capacity = 1_024", "capacity = 1", "^latent_factors.rtt.capacity: "),
    "feature of no factors": ('of = "carriers_speed"', 'of = "speed"', "^features.expected_speed.of: .*found 'speed'"),
    "value of change_points": (
        'value = "failed"\ngroup',
        'value = "failure"\ngroup',
        "^change_points.carrier.value: .*'failure'",
    ),
    "group of change_points": ('group = "node_isp"', 'group = "asn"', "^change_points.carrier.group: .*found 'asn'"),
    "member of change_points": ('member = "node"', 'member = "asn"', "^change_points.carrier.member: .*found 'asn'"),
    "tolerance": ("tolerance = 0.5", "tolerance = -0.5", "^change_points.calm.tolerance: .*found -0.5"),
    "length": ('length = "2m"', 'length = "2"', "^change_points.calm.length: .*'2'"),
    "shape": ("shape = 3", "shape = 17", "^change_points.calm.shape: .*found 17"),
    "same": ("same = 0.25", "same = 1", "^change_points.calm.same: .*found 1"),
    "capacity of change_points": ("capacity = 64", "capacity = 1", "^change_points.calm.capacity: .*found 1"),
    "feature of no change_points": (
        'of = "calm", part = "fresh"',
        'of = "rtt", part = "fresh"',
        "^features.fresh.of: .*'rtt'",
    ),
    "part of no change_points": ('of = "calm", part = "fresh"', 'of = "calm", part = "new"', "'new'"),
    "one key shrunk": ('["pair", "node"], value', '["pair"], value', "^features.shrunk_fast.keys: .*found ..pair.."),
    "key shrunk twice": (
        '["pair", "node"], value',
        '["pair", "pair"], value',
        "^features.shrunk_fast.keys: .*none twice",
    ),
    "key shrunk to nothing": (
        '["pair", "node"], value',
        '["pair", "nod"], value',
        "^features.shrunk_fast.keys: .*'nod'",
    ),
    "strength": ("strength = 2", "strength = 0", "^features.shrunk_fast.strength: .*found 0"),
    "value shrunk": (
        'value = "failed", half_life = "1m", strength',
        'value = "fail", half_life = "1m", strength',
        "^features.shrunk_fast.value: .*'fail'",
    ),
    "half-life shrunk": (
        'half_life = "1m", strength',
        'half_life = "2m", strength',
        "^features.shrunk_fast.half_life: .*'2m'",
    ),
    "part of no factors": ('part = "pair"', 'part = "pairs"', "'pairs'"),
    "target of a residual": ('target = "failed"', 'target = "residual(rtt)"', "^heads.failure.target: .*only history"),
}


IMPOSSIBLE_TRAINED = {
    "no key": ('keys = ["client"], value', "keys = [], value", "^features.trained_client.keys: .*1 or more"),
    "key twice": ('keys = ["client"], value', 'keys = ["client", "client"], value', "^features.trained_client.keys: "),
    "key of nothing": ('keys = ["client"], value', 'keys = ["asn"], value', "^features.trained_client.keys: .*'asn'"),
    "value of nothing": ('value = "failed", strength', 'value = "fail", strength', "^features.trained_client.value: "),
    "value that history alone knows": (
        'value = "failed", strength',
        'value = "residual(rtt)", strength',
        "^features.trained_client.value: .*no residual",
    ),
    "strength": (
        'value = "failed", strength = 2',
        'value = "failed", strength = -1',
        "^features.trained_client.strength: .*found -1",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), IMPOSSIBLE_TRAINED.values(), ids=IMPOSSIBLE_TRAINED)
def test_it_refuses_means_of_training_by_name(old, new, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(edited(old, new, TRAINED))


@pytest.mark.parametrize(("old", "new", "message"), IMPOSSIBLE_EXTENDED.values(), ids=IMPOSSIBLE_EXTENDED)
def test_it_refuses_by_name_in_the_extended_spec(old, new, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(edited(old, new, EXTENDED))


HELD = 'held = { type = "categories", source = "nodes" }'
WITH_SETS = SPEC.replace("[node]\n", f"[node]\n{HELD}\n{HELD.replace('held', 'games')}\n")
IMPOSSIBLE_SETS = {
    "of a request": (
        'kind = { type = "category" }',
        'kind = { type = "categories", source = "clients" }',
        "^request.kind.type: .*found 'categories'",
    ),
    "from telemetry": (HELD, 'held = { type = "categories" }', "^node.held.source: .*found 'telemetry'"),
    "bounds": (HELD, HELD.replace("held = {", "held = { max = 1,"), "^node.held.max: "),
    "width": (HELD, HELD.replace("held = {", "held = { size = 2,"), "^node.held.size: "),
    "in equal": ('request = "isp", node = "isp"', 'request = "isp", node = "held"', r"^features.same_isp \(held\): "),
    "in a history key": ('"request.isp", "node.isp"]', '"node.held"]', "^history.keys.carriers: .*'node.held'"),
    "as a feature": ('op = "node", column = "load"', 'op = "node", column = "held"', r"^features.load \(held\): "),
    "in a spread limit": (
        "[candidates]\n",
        "[policy.spread]\nheld = 1\n[candidates]\n",
        r"^policy.spread \(held\): .*found 'categories'",
    ),
    "two in a tier": (
        'match = { isp = "isp" }',
        'match = { isp = "held", kind = "games" }',
        r"^candidates.tiers.same carrier: expected at most one .*\['held', 'games'\]",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), IMPOSSIBLE_SETS.values(), ids=IMPOSSIBLE_SETS)
def test_it_refuses_sets_by_name_where_they_do_not_fit(old, new, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(edited(old, new, WITH_SETS))


def test_sets_mean_the_same_rows():
    assert parse_spec(WITH_SETS).fingerprint() == parse_spec(SPEC).fingerprint()


SECTIONS = {
    "ledger capacity": ('[ledger]\ncapacity = "isp"\ndemand = "kbps"', "^ledger.capacity "),
    "ledger demand": ('[ledger]\ncapacity = "uplink"\ndemand = "bps"', "^ledger.demand: "),
    "hold": ('[ledger]\ncapacity = "uplink"\ndemand = "kbps"\nhold = "forever"', "^ledger.hold: "),
    "exploration": ('[policy]\nexplore = "wildly"', "'wildly'"),
    "epsilon": ("[policy]\nepsilon = 1.5", "^policy.epsilon: "),
    "epsilon that is no number": ("[policy]\nepsilon = nan", "^policy.epsilon: "),
    "temperature": ("[policy]\ntemperature = 0.0", "^policy.temperature: "),
    "width": ("[policy]\nuncertainty_scale = -1.0", "^policy.uncertainty_scale: "),
    "key of the bonus": ('[policy]\nexplore = "ucb"\ncount_key = "none"', "^policy.count_key: .*'none'"),
    "budget": ("[policy]\nbudget = 1.1", "^policy.budget: "),
    "guard": ("[policy]\nmax_utility_loss = inf", "^policy.max_utility_loss: "),
    "vetting": ("[policy]\nnewcomer_share = -0.1", "^policy.newcomer_share: "),
    "vetted": ("[policy]\nnewcomer_below = 0", "^policy.newcomer_below: "),
    "key of vetting": ('[policy]\nnewcomer_share = 0.1\nnewcomer_key = "host"', "^policy.newcomer_key: .*'host'"),
    "slate": ("[policy]\nmax_nodes = 0", "^policy.max_nodes: "),
    "reveal": ("[training]\nreveal = -0.1", "^training.reveal: "),
    "rehearse": ("[training]\nrehearse = 1.5", "^training.rehearse: "),
    "propensity weights": ("[training]\npropensity_weights = -1.0", "^training.propensity_weights: "),
    "propensity weights without a column": (
        "[training]\npropensity_weights = 20.0",
        "^training.propensity_weights: expected a column telemetry.propensity",
    ),
    "burn-in": ("[training]\nburn_in = 1.0", "^training.burn_in: "),
    "validation": ("[training]\nvalidation = 0.0", "^training.validation: "),
    "rows": ("[training]\nrows = 0", "^training.rows: "),
    "rounds": ("[training]\nrounds = 0", "^training.rounds: "),
    "place": ('[evaluation]\nplace = ["lat", "isp"]', "^evaluation.place "),
    "carrier": ('[evaluation]\ncarrier = "asn"', "^evaluation.carrier: "),
    "requests": ("[evaluation]\nrequests = 0", "^evaluation.requests: "),
}


@pytest.mark.parametrize(("section", "message"), SECTIONS.values(), ids=SECTIONS)
def test_it_refuses_a_section_by_name(section, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(f"{SPEC}\n{section}\n")


@pytest.mark.parametrize("part", ["features", "heads"])
def test_it_refuses_a_spec_without(part):
    empty = msgspec.json.decode(parse_spec(SPEC).to_json())
    empty[part] = {}
    with pytest.raises(SpecError, match=f"^{part}: "):
        spec_from_json(msgspec.json.encode(empty))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "readable spec file, found No such file"), (b"\xff", "utf-8"), (b"name = 3", "name")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=rf"a\.toml: .*{message}"):
        load_spec(path)


@pytest.mark.parametrize("text", [SPEC, EXTENDED, TRAINED, *(path.read_text() for path in SHIPPED)])
def test_json_brings_the_same_spec_back_in_the_same_order(text):
    spec = parse_spec(text)
    again = spec_from_json(spec.to_json())
    assert again == spec
    assert list(again.features) == list(spec.features)
    assert list(again.heads) == list(spec.heads)
    assert again.to_json() == spec.to_json()
    assert again.fingerprint() == spec.fingerprint()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"name": 3}'])
def test_json_that_is_no_spec_is_refused(data):
    with pytest.raises(SpecError):
        spec_from_json(data)


MEANS_OTHER_ROWS = {
    "feature order": (
        'kind = { op = "request", column = "kind" }\nkbps = { op = "request", column = "kbps" }',
        'kbps = { op = "request", column = "kbps" }\nkind = { op = "request", column = "kind" }',
    ),
    "feature name": ("same_isp = {", "isp_is_same = {"),
    "half-life": ('half_lives = ["1m", "1h"]', 'half_lives = ["1m", "1h", "3h"]'),
    "history key": ('client = ["client"]', 'client = ["request.isp"]'),
    "cost": ("failure = 1_000\n", "failure = 2_000\n"),
    "unit": ('rtt_ms = { unit = "ms"', 'rtt_ms = { unit = "us"'),
    "head": ("given_ok = true", "given_ok = false"),
    "slice": ("seconds = 60 }", "seconds = 61 }"),
}
MEANS_THE_SAME_ROWS = {
    "capacity": ("capacity = 4_096", "capacity = 4_097"),
    "capacity by training": ("capacity = 4_096\n", ""),
    "weights": ("heads = { failure = -9_000.0 }", "heads = { failure = -8_000.0 }"),
    "tiers": ("limit = 16", "limit = 8"),
    "policy": ("[candidates]\n", '[policy]\nexplore = "softmax"\n[candidates]\n'),
    "training": ("[candidates]\n", "[training]\nrounds = 3\n[candidates]\n"),
    "windows": (
        "price_weight = -50.0\n\n[candidates]\n",
        'price_weight = -50.0\nwindow = "1h"\n\n[watch]\nwindow = "1m"\ncarrier = "isp"\n\n[candidates]\n',
    ),
    "head options": ("given_ok = true", "given_ok = true\nlightgbm = { num_leaves = 3 }"),
    "about": ('name = "small"', 'name = "small"\nabout = "this and that"'),
    "layout": ('stat = "age" }\n\n[heads.failure]', 'stat = "age" } # a comment\n[heads.failure]'),
}


@pytest.mark.parametrize(("old", "new"), MEANS_OTHER_ROWS.values(), ids=MEANS_OTHER_ROWS)
def test_the_fingerprint_changes_with(old, new):
    assert parse_spec(edited(old, new)).fingerprint() != parse_spec(SPEC).fingerprint()


def test_the_fingerprint_changes_with_factors():
    one, other = EXTENDED, edited('memory = "1h"', 'memory = "2h"', EXTENDED)
    assert parse_spec(one).fingerprint() != parse_spec(other).fingerprint()


@pytest.mark.parametrize("old", ["capacity = 1_024", "capacity = 64"])
@pytest.mark.parametrize("new", ["capacity = 2_000", ""])
def test_the_fingerprint_does_not_change_with_the_room_for_factors_and_regimes(old, new):
    assert parse_spec(edited(old, new, EXTENDED)).fingerprint() == parse_spec(EXTENDED).fingerprint()


def test_the_fingerprint_changes_with_regimes():
    one, other = EXTENDED, edited('length = "2m"', 'length = "3m"', EXTENDED)
    assert parse_spec(one).fingerprint() != parse_spec(other).fingerprint()


@pytest.mark.parametrize(("old", "new"), MEANS_THE_SAME_ROWS.values(), ids=MEANS_THE_SAME_ROWS)
def test_the_fingerprint_does_not_change_with(old, new):
    assert parse_spec(edited(old, new)).fingerprint() == parse_spec(SPEC).fingerprint()


@pytest.mark.parametrize(("text", "length"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("2d", 172_800)])
def test_durations(text, length):
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "15", "m", "-3m", "0s", "0.0h", "1e3s", "15 m", "1h30m", "1M"])
def test_other_durations_are_refused(text):
    with pytest.raises(SpecError, match="duration"):
        seconds(text)


def test_values():
    assert Value.parse("rtt_ms") == Value("rtt_ms", log1p=False)
    assert Value.parse("log1p(rtt_ms)") == Value("rtt_ms", log1p=True)
    assert Value.parse("residual(rtt)") == Value("rtt", log1p=False, residual=True)


@pytest.mark.parametrize("text", ["", "log1p()", "log(rtt_ms)", "log1p(rtt_ms", "rtt ms", "log1p(log1p(x))"])
def test_other_values_are_refused(text):
    with pytest.raises(SpecError, match="expected NAME, log1p"):
        Value.parse(text)


def test_a_spec_cannot_be_changed():
    with pytest.raises(AttributeError):
        parse_spec(SPEC).name = "other"


def test_columns_by_source():
    spec = parse_spec(SPEC)
    assert list(spec.request_columns("telemetry")) == ["kind", "kbps"]
    assert list(spec.request_columns("clients")) == ["isp", "lat", "lon", "taste"]
    assert list(spec.node_columns("telemetry")) == ["load"]
    assert spec.node_columns() == spec.node
