"""What `fogline init` finds in files of layouts that nobody foresaw."""

import gzip
import tomllib
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError, InputError
from scheduler.spec import RawColumn, parse_spec
from tests.raw_world import START, deliveries, iso, pings
from training.draft.draft import DraftOptions, draft
from training.draft.spec_text import spec_text
from training.telemetry import Frames, read_telemetry

P = pings()
START_OF_YEAR = datetime(2024, 1, 1)  # noqa: DTZ001 - a text has no zone


def sensors():
    """Sensors that ping one another by channel: epoch milliseconds, integer ids, 0 and 1, microseconds."""
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "t": (P["seconds"] * 1e3).cast(pl.Int64),
            "from": P["asker"] + 100,
            "to": P["answerer"] + 100,
            "channel": rng.integers(11, 27, len(P)),
            "acked": P["ok"].cast(pl.Int8),
            "delay_us": P["ms"] * 1e3,
        }
    )


def resolvers():
    """Resolvers asked from a few places: texts, words of success, names that are no identifiers."""
    return pl.DataFrame(
        {
            "When": iso(P["seconds"]),
            "place": "place " + P["asker"].cast(pl.String),
            "resolver": "10.0." + P["answerer"].cast(pl.String) + ".53",
            "operator": "op" + (P["answerer"] % 4).cast(pl.String),
            "qtype": P["kind"],
            "rcode": P["ok"].replace_strict({True: "NOERROR", False: "SERVFAIL"}),
            "RTT (ms)": P["ms"],
        }
    )


def links():
    """Links between viewers: HTTP codes, a rate that is 0 where it failed, bytes that are known only afterwards."""
    rng = np.random.default_rng(2)
    return pl.DataFrame(
        {
            "created_at": P["seconds"],
            "viewer": "v" + P["asker"].cast(pl.String),
            "peer": "v" + (P["answerer"]).cast(pl.String),
            "peer_isp": "isp" + (P["answerer"] % 3).cast(pl.String),
            "viewer_isp": "isp" + (P["asker"] % 3).cast(pl.String),
            "mbps": (1e3 / P["ms"]).fill_null(0.0),
            "http_status": P["ok"].replace_strict({True: 200, False: 503}),
            "bytes": rng.integers(1_000, 1_000_000, len(P)),
        }
    )


def lines():
    """Lines measured by nobody in particular: no client, seconds from a start, no failures."""
    return P.filter(pl.col("ok")).select(
        trace="answerer", source=pl.concat_str(pl.lit("s"), pl.col("answerer") % 3), seconds=pl.col("seconds") - START,
        mbit_s=1e3 / pl.col("ms"),
    )  # fmt: skip


FOUND = {
    sensors: ("from", "to", "t", "delay_us", "acked", {"channel"}),
    resolvers: ("place", "resolver", "When", "RTT (ms)", "rcode", {"operator", "qtype"}),
    links: ("viewer", "peer", "created_at", "mbps", "http_status", {"peer_isp", "viewer_isp"}),
    lines: (None, "trace", "seconds", "mbit_s", None, {"source"}),
}


@pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)
def test_the_columns_of_a_layout_are_found(make):
    made = draft(Frames(make()))
    roles, attributes = made.roles, {one.column for one in made.attributes}
    assert (roles.client, roles.node, roles.time, made.cost.column, made.success.column, attributes) == FOUND[make]


@pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)
def test_a_draft_is_a_spec_that_reads_every_row_of_its_data(make):
    frames = Frames(make())
    spec = parse_spec(spec_text(draft(frames), "mine"))
    telemetry = read_telemetry(frames, spec)
    assert (telemetry.n_read, telemetry.rejected) == (frames.telemetry.height, {})
    failed = 1.0 - P["ok"].mean() if make is not lines else 0.0
    assert 1.0 - telemetry.ok.mean() == pytest.approx(failed)
    assert telemetry.slice.min() == 0
    assert 20 <= telemetry.slice.max() + 1 <= 201


@pytest.mark.parametrize("make", [sensors, resolvers, lines], ids=lambda make: make.__name__)
def test_the_cost_is_in_the_unit_that_it_says(make):
    frames = Frames(make())
    spec = parse_spec(spec_text(draft(frames), "mine"))
    telemetry = read_telemetry(frames, spec)
    known = np.sort(telemetry.outcomes["cost"][telemetry.ok])
    np.testing.assert_allclose(known, np.sort(P["ms"].drop_nulls().to_numpy()), rtol=1e-5)
    assert spec.outcomes[spec.cost.success].unit in ("ms", "ms for a Mbit")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "parts"])
def test_frames_and_files_of_every_kind_make_one_draft(tmp_path, suffix):
    frame = resolvers()
    if suffix == "parts":
        data = tmp_path / "parts"
        data.mkdir()
        frame[:2_000].write_csv(data / "a.csv", separator=";")
        frame[2_000:4_000].write_parquet(data / "b.parquet")
        (data / "c.csv.gz").write_bytes(gzip.compress(frame[4_000:].write_csv().encode()))
    else:
        data = tmp_path / f"raw.{suffix}"
        if suffix == "parquet":
            frame.write_parquet(data)
        else:
            text = frame.write_csv().encode()
            data.write_bytes(gzip.compress(text) if suffix == "csv.gz" else text)
    of_file, of_frame = (spec_text(draft(one), "mine").partition("# Every")[2] for one in (data, Frames(frame)))
    assert of_file == of_frame


def test_what_is_known_only_afterwards_is_no_feature():
    frame = links().with_columns(
        verdict=pl.col("http_status").replace_strict({200: "A", 503: "B"}), cached=pl.Series(P["kind"] == "udp")
    )
    made = draft(Frames(frame))
    assert {"bytes", "verdict", "cached"} <= made.left_out.keys()
    assert "known only afterwards" in made.left_out["verdict"]
    text = spec_text(made, "mine")
    assert "#   bytes: " in text
    assert not {"bytes", "verdict", "cached"} & {*parse_spec(text).request, *parse_spec(text).node}


def test_what_clients_and_nodes_have_alike_is_compared():
    spec = parse_spec(spec_text(draft(Frames(links())), "mine"))
    (same,) = (feature for name, feature in spec.features.items() if name.startswith("same_"))
    assert (same.request, same.node) == ("viewer_isp", "peer_isp")


def compared(frames):
    features = parse_spec(spec_text(draft(frames), "mine")).features
    return {name: (feature.request, feature.node) for name, feature in features.items() if name.startswith("same_")}


@pytest.mark.slow
def test_categories_that_have_most_values_in_common_are_compared_whatever_they_are_called():
    named = {"sub_pop": "area", "cache_pop": "zone"}
    assert compared(Frames(caches())) == {"same_pop": ("sub_pop", "cache_pop"), "same_isp": ("sub_isp", "cache_isp")}
    assert compared(Frames(caches().rename(named)))["same_area_zone"] == ("area", "zone")
    asked = pl.Series(np.random.default_rng(5).permutation(D["server_place"].to_numpy()))
    assert compared(Frames(servers().with_columns(wanted=asked))) == {
        "same_wanted_server_region": ("wanted", "server_region")
    }


def test_few_or_other_values_are_not_compared():
    premium, ssd = (
        pl.when(pl.col(name).str.extract(r"(\d+)").cast(pl.Int64) % 2 == 1).then(pl.lit("yes")).otherwise(pl.lit("no"))
        for name in ("subscriber", "cache_host")
    )
    frame = caches().with_columns(
        premium=premium, ssd=ssd, sub_isp="X" + pl.col("sub_isp"), cache_pop="in " + pl.col("cache_pop")
    )
    assert compared(Frames(frame)) == {}


def test_a_bitrate_that_is_asked_for_is_no_outcome():
    rng = np.random.default_rng(3)
    frame = links().with_columns(bitrate_kbps=rng.choice([1_000.0, 3_000.0], len(P)), load=rng.random(len(P)))
    spec = parse_spec(spec_text(draft(Frames(frame)), "mine"))
    assert "bitrate_kbps" in spec.request
    assert "load" in spec.node
    assert not {"bitrate_kbps", "load"} & spec.outcomes.keys()


D = deliveries()


def caches():
    """Caches and subscribers, with the same places and networks on both sides."""
    return D.select(
        event_time=iso(D["seconds"]), subscriber="user", sub_pop="user_place", sub_isp="user_net", cache_host="server",
        cache_pop="server_place", cache_isp="server_net", ttfb_ms="ms", ok="ok",
    )  # fmt: skip


def servers():
    """Servers with their region, of the same word and further to the right."""
    millis = (D["seconds"] * 1e3).cast(pl.Int64)
    return D.select(ts=millis, user="user", server="server", server_region="server_place", dur_s=pl.col("ms") / 1e3)


def hosts():
    """Hosts, whose name says less than that of their region."""
    return servers().rename({"server": "hostname"})


FINER = {
    caches: ("subscriber", "cache_host", {"sub_pop", "sub_isp"}, {"cache_pop", "cache_isp"}),
    servers: ("user", "server", set(), {"server_region"}),
    hosts: ("user", "hostname", set(), {"server_region"}),
}


@pytest.mark.parametrize("make", FINER, ids=lambda make: make.__name__)
def test_a_finer_column_is_who_asks_or_serves_and_the_coarser_one_its_attribute(make):
    made = draft(Frames(make()))
    client, node, of_client, of_node = FINER[make]
    assert (made.roles.client, made.roles.node) == (client, node)
    spec = parse_spec(spec_text(made, "mine"))
    assert {*spec.request} - {"id"} == of_client
    assert {*spec.node} - {"id"} == of_node


def test_a_coarse_column_that_is_named_leaves_the_other_role_as_it_is():
    assert draft(Frames(caches()), DraftOptions(node="cache_pop")).roles.client == "subscriber"
    assert draft(Frames(caches()), DraftOptions(client="sub_pop")).roles.node == "cache_host"


def test_ids_of_what_passes_are_no_finer_node():
    rng = np.random.default_rng(4)
    session = D.select(pl.concat_str("server", pl.lit("/"), pl.Series(rng.integers(0, 40, len(D))))).to_series()
    made = draft(Frames(servers().with_columns(server_session=session)))
    assert made.roles.node == "server"


def test_a_column_of_which_the_node_follows_is_no_input():
    made = draft(Frames(caches()), DraftOptions(client="sub_pop", node="cache_pop"))
    assert "each of its values has one cache_pop" in made.left_out["cache_host"]
    assert "cache_host" not in parse_spec(spec_text(made, "mine")).request


def test_tables_beside_telemetry_are_used():
    frame = P.select(ts="seconds", client_id="asker", node_id="answerer", rtt_ms="ms", ok="ok")
    nodes = pl.DataFrame(
        {"id": range(20), "country": ["SE", "NO"] * 10, "lat": np.arange(20.0), "lon": np.arange(20.0)}
    )
    clients = pl.DataFrame({"id": range(8), "country": ["SE", "FI"] * 4, "lat": np.arange(8.0), "lon": np.arange(8.0)})
    frames = Frames(frame, clients, nodes)
    spec = parse_spec(spec_text(draft(frames), "mine"))
    assert (spec.request["country"].source, spec.node["lat"].source) == ("clients", "nodes")
    assert {"same_country", "distance"} <= spec.features.keys()
    assert len(read_telemetry(frames, spec)) == len(P)


def test_keys_go_from_fine_to_coarse_and_half_lives_rise():
    spec = parse_spec(spec_text(draft(Frames(sensors())), "mine"))
    sizes = [len(parts) for parts in spec.history.keys.values()]
    assert list(spec.history.keys)[:3] == ["pair_channel", "pair", "channel_node"]
    assert (sizes[0], sizes[-1]) == (3, 1)
    assert len(spec.history.half_lives) in (2, 3)


@pytest.mark.slow
def test_several_nodes_a_slice_are_rehearsed_and_one_is_not():
    many = parse_spec(spec_text(draft(Frames(sensors())), "mine"))
    assert (many.training.rehearse, many.training.reveal) == (0.6, 0.3)
    one = Frames(sensors().gather_every(40))
    few = parse_spec(spec_text(draft(one, DraftOptions(slice_seconds=60.0)), "mine"))
    assert (few.training.rehearse, few.training.reveal) == (0.0, 1.0)


def test_a_rehearsal_is_drafted_where_enough_slices_train():
    seconds = float(P["seconds"].max() - P["seconds"].min())
    for n, rehearse in ((6, 0.0), (12, 0.6)):
        spec = parse_spec(spec_text(draft(Frames(sensors()), DraftOptions(slice_seconds=seconds / n)), "mine"))
        assert (spec.training.rehearse, spec.training.reveal) == (rehearse, 0.3)
        assert (spec.evaluation.start >= 6) == (rehearse > 0.0)


def test_what_somebody_says_is_done():
    options = DraftOptions(
        client="peer", node="viewer", success="", outcome="bytes", slice_seconds=1_800.0, failure_cost=7.0
    )
    made = draft(Frames(links()), options)
    spec = parse_spec(spec_text(made, "mine"))
    assert (spec.telemetry.client, spec.telemetry.node, spec.telemetry.ok) == ("peer", "viewer", None)
    assert (spec.cost.success, spec.cost.failure, spec.telemetry.slice.seconds) == ("bytes", 7.0, 1_800.0)


def test_a_person_is_asked_and_may_answer_otherwise():
    asked = {}

    def ask(question, answers, default):
        assert default in answers
        asked[question] = default
        return "low" if question.startswith("Is mbps") else default

    made = draft(Frames(links()), DraftOptions(), ask)
    assert asked["Which column names the client, who asks"] == "viewer"
    assert asked["Is mbps better low or high"] == "high"
    assert made.cost.raw.inverse is None
    assert len(asked) == 6


def test_other_columns_that_may_be_the_client_or_the_node_are_named():
    assert draft(Frames(caches())).alternatives == ((), ("cache_pop",))
    coarse = caches().rename({"cache_host": "item", "subscriber": "buyer"})
    made = draft(Frames(coarse))
    assert (made.roles.client, made.roles.node) == ("sub_pop", "cache_pop")
    assert made.alternatives == (("buyer",), ("item",))
    assert draft(Frames(coarse), DraftOptions(client="sub_pop", node="cache_pop")).alternatives == ((), ())


@pytest.mark.parametrize("make", [*FOUND, servers], ids=lambda make: make.__name__)
def test_where_names_leave_no_doubt_none_is_named(make):
    assert draft(Frames(make())).alternatives == ((), ())


def test_a_question_names_what_else_is_likely():
    asked = []

    def ask(question, _, default):
        asked.append(question)
        return "sub_pop" if "client" in question else default

    draft(Frames(caches()), DraftOptions(), ask)
    assert asked[:2] == [
        "Which column names the client, who asks",
        "Which column names the node, who serves (also likely: cache_pop (6))",
    ]


OKS = {
    "bool": (P["ok"], RawColumn(column="ok")),
    "int": (P["ok"].cast(pl.Int64), RawColumn(column="ok", type="boolean", good=(1,))),
    "words": (
        P["ok"].replace_strict({True: "Delivered", False: "lost"}),
        RawColumn(column="ok", type="boolean", good=("Delivered",)),
    ),
}


@pytest.mark.parametrize("how", OKS)
def test_success_is_read_however_it_is_written(how):
    column, raw = OKS[how]
    frame = P.select("seconds", "asker", "answerer", "ms", ok=column).rename({"seconds": "timestamp"})
    made = draft(Frames(frame))
    assert made.success.raw == raw
    spec = parse_spec(spec_text(made, "mine"))
    np.testing.assert_array_equal(read_telemetry(Frames(frame), spec).ok.sum(), P["ok"].sum())


@pytest.mark.parametrize(("name", "good"), [("failed", False), ("timeout", False), ("answered", True)])
def test_a_column_named_after_failures_is_read_the_other_way(name, good):
    frame = P.select("asker", "answerer", ts="seconds", latency="ms").with_columns(
        (P["ok"] if good else ~P["ok"]).alias(name)
    )
    spec = parse_spec(spec_text(draft(Frames(frame)), "mine"))
    assert read_telemetry(Frames(frame), spec).ok.sum() == P["ok"].sum()


@pytest.mark.parametrize("missing", [None, -1.0, float("nan")])
def test_without_a_column_of_success_a_missing_or_negative_outcome_is_a_failure(missing):
    frame = P.select("asker", "answerer", ts="seconds", rtt_ms=pl.col("ms").fill_null(missing) if missing else "ms")
    spec = parse_spec(spec_text(draft(Frames(frame)), "mine"))
    telemetry = read_telemetry(Frames(frame), spec)
    assert (len(telemetry), telemetry.ok.sum()) == (len(P), P["ok"].sum())


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_the_unit_of_epoch_times_is_found(unit, factor):
    frame = P.select("asker", "answerer", "ms", time=(pl.col("seconds") * factor).cast(pl.Int64))
    made = draft(Frames(frame))
    assert made.facts["time"].unit == unit
    spec = parse_spec(spec_text(made, "mine"))
    assert read_telemetry(Frames(frame), spec).time[0] == pytest.approx(P["seconds"][0], abs=1.0)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S"])
def test_texts_of_times_are_read(form):
    dates = (P["seconds"].cast(pl.Int64) * 1_000_000).cast(pl.Datetime("us"))
    frame = P.select("asker", "answerer", "ms").with_columns(date=dates.dt.strftime(form))
    spec = parse_spec(spec_text(draft(Frames(frame)), "mine"))
    assert read_telemetry(Frames(frame), spec).time[0] == pytest.approx(P["seconds"][0], abs=1.0)


def test_rounds_without_times_are_slices():
    frame = P.select("asker", "answerer", "ms", round=(pl.col("seconds") - START).floordiv(1_800).cast(pl.Int64))
    spec = parse_spec(spec_text(draft(Frames(frame)), "mine"))
    assert (spec.telemetry.slice.column, spec.telemetry.time) == ("round", None)
    assert len(read_telemetry(Frames(frame), spec)) == len(P)


def test_slices_that_the_data_numbers_stay_its_slices():
    number = ((pl.col("seconds") - START) // 1_800).cast(pl.Int64)
    frame = P.select("asker", "answerer", "ms", "kind", ts="seconds", slice=number + 100)
    made = draft(Frames(frame))
    spec = parse_spec(spec_text(made, "mine"))
    assert (spec.telemetry.slice.column, spec.telemetry.slice.seconds) == ("slice", 1_800.0)
    assert 100 + 0.65 * 48 <= spec.evaluation.start <= 100 + 0.75 * 48
    assert made.slices.span == 86_400.0
    telemetry = read_telemetry(Frames(frame), spec)
    assert (len(telemetry), telemetry.slice.min()) == (len(P), 100)
    asked = parse_spec(spec_text(draft(Frames(frame), DraftOptions(slice_seconds=600.0)), "mine"))
    assert (asked.telemetry.slice.column, asked.telemetry.slice.seconds) == (None, 600.0)


def test_a_column_called_slice_that_does_not_follow_time_is_none():
    frame = P.select("asker", "answerer", "ms", ts="seconds", slice=pl.col("answerer") % 12)
    assert draft(Frames(frame)).roles.slice is None


def test_what_cannot_be_found_is_named():
    with pytest.raises(DataError, match=r"expected telemetry rows, found none"):
        draft(Frames(P.clear()))
    with pytest.raises(DataError, match=r"expected a column of times, .*--time COLUMN.*found asker"):
        draft(Frames(P.select("asker", "answerer", "ms")))
    with pytest.raises(
        DataError, match=r"expected a column of node ids that come again \(--node COLUMN\), found seconds"
    ):
        draft(Frames(P.select("seconds", "ms")))
    with pytest.raises(DataError, match=r"expected a column with a measured number \(--outcome COLUMN\)"):
        draft(Frames(P.select("seconds", "asker", "answerer")))
    with pytest.raises(
        DataError, match=r"expected rows of different times \(--time COLUMN\), found 5 s in all of them"
    ):
        draft(Frames(P.with_columns(seconds=pl.lit(5.0))))
    for option in ("client", "node", "time", "outcome", "success"):
        with pytest.raises(InputError, match=f"--{option}: expected one of the columns .*, found 'wings'"):
            draft(Frames(P), DraftOptions(**{option: "wings"}))


def test_a_column_may_be_called_count():
    frame = sensors().rename({"channel": "count"})
    assert "#   count: a number that changes from row to row" in spec_text(draft(Frames(frame)), "mine")


def test_a_day_is_no_month_because_a_log_begins_early_in_one():
    texts = pl.Series(pl.datetime_range(START_OF_YEAR, START_OF_YEAR.replace(day=20), "5m", eager=True))
    frame = sensors().head(len(texts)).with_columns(t=texts.head(len(sensors())).dt.strftime("%m/%d/%Y %H:%M:%S"))
    made = draft(Frames(frame))
    assert made.slices.n > 0
    assert "%m/%d/%Y" in spec_text(made, "mine")


def test_an_http_error_is_no_success_where_another_status_is_a_word():
    status = pl.Series([("200", "404", "500", "timeout")[i % 4] for i in range(len(P))])
    frame = sensors().drop("acked").with_columns(status=status)
    spec = parse_spec(spec_text(draft(Frames(frame)), "mine"))
    assert [column.good for column in spec.raw.values() if column.column == "status"] == [("200",)]


def test_a_column_that_tells_no_success_is_refused_where_it_was_named():
    frame = sensors().with_columns(grade=pl.Series(["A", "B", "C"]).sample(len(P), with_replacement=True, seed=1))
    with pytest.raises(InputError, match=r"--success: expected booleans, .*, found 'grade' \(category: [ABC], [ABC],"):
        draft(Frames(frame), DraftOptions(success="grade"))
    measured = draft(Frames(P.drop("ok")), DraftOptions(success="ms"))
    assert measured.success.raw == RawColumn(column="ms", type="boolean")


def test_columns_whose_names_differ_by_case_alone_are_features_of_their_own():
    frame = deliveries().rename({"server_place": "Zone", "server_net": "zone"})
    frame = frame.with_columns(Count=pl.Series(["few", "many"]).sample(len(frame), with_replacement=True, seed=1))
    text = spec_text(draft(Frames(frame)), "mine")
    spec = tomllib.loads(text)
    plain = [one["column"] for one in spec["features"].values() if one["op"] in ("request", "node")]
    assert {"Count", "Zone", "zone"} <= {*plain}
    assert {"node_zone", "node_zone_"} <= {*spec["history"]["keys"]}
    assert len(read_telemetry(Frames(frame), parse_spec(text))) == len(frame)


@pytest.mark.parametrize("name", ["Failure", "typical", "Failed"])
def test_an_outcome_may_be_called_as_a_head(name):
    spec = parse_spec(spec_text(draft(Frames(P.rename({"ms": name})), DraftOptions(outcome=name)), "mine"))
    assert len(spec.heads) == 3


def test_all_rows_may_be_of_one_client_beside_a_column_called_client():
    frame = lines().with_columns(client=pl.lit("k") + (pl.col("trace") % 3).cast(pl.String))
    spec = parse_spec(spec_text(draft(Frames(frame), DraftOptions(client="")), "mine"))
    assert len(read_telemetry(Frames(frame), spec).clients.ids) == 1


@pytest.mark.parametrize("name", ["time", "time_ms"])
def test_a_latency_may_be_called_time(name):
    frame = P.rename({"ms": name})
    assert draft(Frames(frame)).cost.column == name
    frame = frame.with_columns(seconds=pl.col("seconds") - START)
    assert draft(Frames(frame), DraftOptions(time="seconds", outcome=name)).cost.column == name


def test_days_are_times_and_texts_that_are_none_are_not():
    days = P.with_columns(day=pl.from_epoch((pl.col("seconds") - START) * 30 + START).dt.strftime("%Y-%m-%d"))
    spec = parse_spec(spec_text(draft(Frames(days.drop("seconds"))), "mine"))
    telemetry = read_telemetry(Frames(days.drop("seconds")), spec)
    assert (np.unique(np.diff(np.unique(telemetry.time))) == 86_400.0).all()
    with pytest.raises(InputError, match=r"--time: expected dates, .*, found 'kind' \(category\)"):
        draft(Frames(P), DraftOptions(time="kind"))


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
@pytest.mark.parametrize("option", ["slice_seconds", "failure_cost"])
def test_options_are_numbers_that_make_sense(option, value):
    with pytest.raises(InputError, match=f"--{option.replace('_', '-')}: expected a number .*, found {value}"):
        draft(Frames(P), DraftOptions(**{option: value}))


def test_measures_without_end_weigh_nothing():
    endless = pl.int_range(pl.len()) % 20 == 7
    frame = P.drop("ok").with_columns(ms=pl.when(endless).then(float("inf")).otherwise(pl.col("ms").fill_null(5.0)))
    made = draft(Frames(frame))
    finite = draft(Frames(frame.filter(~endless)))
    assert made.costs == finite.costs._replace(failed=made.costs.failed)
    telemetry = read_telemetry(Frames(frame), parse_spec(spec_text(made, "mine")))
    assert len(telemetry) == frame.filter(~endless).height
