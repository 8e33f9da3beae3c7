"""The end of a small spec over raw columns: one outcome, one key of history, one head."""

LATENCY_OF_NODES = """
[history]
values = ["ms"]
half_lives = ["1h"]
keys = { node = ["node"] }
[features]
last = { op = "history", key = "node", stat = "last", value = "ms" }
[heads.ms]
target = "ms"
link = "identity"
[utility]
heads = { ms = -1 }
"""
