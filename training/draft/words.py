"""What the names of columns say: words that people use for clients, nodes, times, outcomes and success."""

from __future__ import annotations

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

CLIENT = _set(
    "client src source from viewer vantage probe prober caller requester sender user monitor subscriber "
    "customer observer agent asker initiator tx a"
)
CLIENT_WEAK = _set("place site pop location city region household sensor device host hostname station point origin")
NODE = _set(
    "node dst dest destination target to server resolver peer edge box relay service provider replica "
    "backend upstream receiver endpoint gateway mirror cache responder answerer partner rx b"
)
NODE_WEAK = _set(
    "host hostname device sensor station link line trace machine worker instance address ip url router cdn"
)

TIME = _set("time timestamp ts date datetime when epoch unix at start started begin created logged utc")
SLICE = _set("slice round step period snapshot tick epoch interval window bucket day hour")

LATENCY = (
    "response", "latency", "rtt", "roundtrip", "delay", "duration", "elapsed", "ping", "ttfb", "took", "wait", "answer",
    "lookup", "resolution", "time",
)  # fmt: skip
"""Durations that are better short, the most telling first."""

THROUGHPUT = (
    "throughput", "goodput", "bandwidth", "mbps", "kbps", "gbps", "bps", "mbit", "kbit", "speed", "rate",
)  # fmt: skip
"""Rates that are better high, the most telling first."""

OTHER_COST = ("jitter", "loss", "lost", "cost", "distance", "errors")
FAILURE_TIME = _set("fail failed failure timeout error")

SUCCESS = (
    "ok", "success", "succeeded", "acked", "ack", "answered", "reached", "delivered", "status", "code", "rcode",
    "result", "outcome", "state", "error", "failed", "failure", "fail", "timeout", "timedout", "lost", "loss",
    "dropped",
)  # fmt: skip
"""Columns that tell success, the most telling first."""

BAD_NAME = _set("error failed failure fail timeout timedout lost loss dropped")

GOOD_VALUES = _set(
    "ok okay success succeeded successful true t yes y up noerror nxdomain done complete completed pass "
    "passed good available reachable answered alive hit 1 200 delivered received served connected"
)
BAD_VALUES = _set(
    "fail failed failure error err timeout timedout servfail refused down false f no n lost unreachable "
    "aborted drop dropped 0 bad unavailable dead notimp formerr reset rejected missing"
)

CATEGORY = _set(
    "type class kind channel port asn as protocol proto qtype method workload category version zone "
    "country region carrier isp operator provider network band group content title os browser family "
    "priority tier qclass"
)
GROUP = _set("pop datacenter dc site location city rack cluster pool")
"""What things stand in or belong to; with `CATEGORY` what a name says of a thing rather than which thing it is."""

PASSING = _set("session request connection conn flow span transaction query job task visit call")
"""What is gone once it is served: its id names nobody who comes again."""

ATTRIBUTE_NUMBER = _set("lat latitude lon lng long longitude altitude capacity price uplink cores memory")
LATITUDE, LONGITUDE = _set("lat latitude"), _set("lon lng long longitude")
REQUEST_NUMBER = _set("size payload bitrate length priority demand deadline")
NODE_NUMBER = _set(
    "load cpu util utilisation utilization queue sessions connections battery temperature temp memory "
    "free uptime occupancy"
)

_UNIT = {
    "ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms", "s": "s", "sec": "s", "secs": "s", "seconds": "s",
    "us": "us", "usec": "us", "micros": "us", "microseconds": "us", "ns": "ns", "nanos": "ns", "nanoseconds": "ns",
}  # fmt: skip


def words(name: str) -> list[str]:
    """Return the words of a column's name, in lower case: of ``srcHost_id`` src, host, id."""
    return [part.lower() for part in _PARTS.findall(name)]


def says(name: str, known: frozenset[str] | tuple[str, ...]) -> bool:
    """Tell whether one of the words of a name is known, also in the plural."""
    return any(word in known or word.removesuffix("s") in known for word in words(name))


def passes(name: str) -> bool:
    """Tell whether a name ends with what is gone once it is served, as ``server_session_id`` does."""
    ending = [word for word in words(name) if word not in {"id", "uuid", "key"}][-1:]
    return bool(PASSING.intersection(ending))


def place_in(name: str, known: tuple[str, ...]) -> int | None:
    """Return how far back in a list the first known word of a name is; None if it has none."""
    places = [known.index(word) for word in words(name) if word in known]
    return min(places, default=None)


def unit_of(name: str) -> str | None:
    """Return the unit of time that a name ends with: ns, us, ms or s."""
    found = [_UNIT[word] for word in words(name)[-2:] if word in _UNIT]
    return found[-1] if found else None


def attribute(name: str) -> str:
    """Return what a column is about, without the side it is of: of ``src_country`` country."""
    sides = CLIENT | NODE | {"id"}
    return "_".join(word for word in words(name) if word not in sides)


def identifier(name: str) -> str:
    """Return a name that a spec can have in values such as ``log1p(NAME)``."""
    made = re.sub(r"\W+", "_", name.strip(), flags=re.ASCII).strip("_").lower()
    return made if made and not made[0].isdigit() else f"column_{made}"
