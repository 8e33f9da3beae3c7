# %% [markdown]
# # In a notebook
#
# From a table of measurements to a warm scheduler, with frames in place of files. The cells stand in
# `examples/notebook.py`, which any notebook opens; each ends with a value that shows itself as a table.
#
# The measurements here are made up: twelve places ask thirty resolvers, in a layout that fogline has never seen.

# %%
import datetime as dt

import numpy as np
import polars as pl

import training

rng = np.random.default_rng(7)
n, n_places, n_resolvers = 30_000, 12, 30
seconds = np.sort(rng.uniform(0, 2 * 86_400, n))
place, resolver = rng.integers(0, n_places, n), rng.integers(0, n_resolvers, n)
far = rng.normal(3.0, 0.7, (n_places, n_resolvers))  # how far each resolver is from each place
slow = 0.6 * np.sin(seconds / 7_200 + resolver)  # and how slow it is at the moment
failed = rng.random(n) < 0.02 + 0.2 * (resolver % 7 == 0)
rtt = np.exp(far[place, resolver] + slow + 0.2 * rng.normal(size=n))

asked = pl.DataFrame(
    {
        "When": [dt.datetime(2026, 5, 1) + dt.timedelta(seconds=one) for one in seconds.tolist()],
        "asked from": [f"place-{one}" for one in place],
        "resolver": [f"10.0.{one}.53" for one in resolver],
        "operator": [f"operator-{one % 5}" for one in resolver],
        "RCODE": np.where(failed, "SERVFAIL", "NOERROR"),
        "RTT (ms)": np.where(failed, np.nan, rtt.round(2)),
    }
)
asked.head()

# %% [markdown]
# ## Draft a spec
#
# `training.init` is `fogline init`: it looks at names and values, decides what each column is, and says why. What it
# cannot know, such as what a failure costs, is said beside the data. The frame may be of Polars, pandas, pyarrow, or
# anything else with the Arrow C interface.

# %%
drafted = training.init(asked, "resolvers", failure_cost=500)
drafted

# %% [markdown]
# `drafted.text` is the spec with a comment on every choice. `drafted.save("resolvers.toml")` writes it, to be read
# and corrected; its path then stands in place of `drafted` below.
#
# ## Check
#
# What a practitioner looks at first: rows a slice, nodes a client and slice, failures, categories.

# %%
training.check(asked, drafted)

# %% [markdown]
# ## Train
#
# The slices that the spec evaluates are left alone. The model is verified and registered; the first one becomes
# champion.

# %%
trained = training.train(asked, drafted, threads=1)
trained

# %% [markdown]
# ## Evaluate
#
# The model and the baselines decide the same requests. A regret below 1 beats every baseline.

# %%
evaluated = training.evaluate(asked, drafted, trained, without=["vowpal_wabbit"])
evaluated.report("resolvers.html")
evaluated

# %%
evaluated.policies.select("policy", "mean", "fail", "regret")

# %% [markdown]
# ## Serve
#
# A scheduler that knows all nodes, clients and outcomes of the frame, with its machine code loaded.

# %%
sched = training.warm(asked, drafted, trained)
now = asked["When"].dt.epoch("ms").max() / 1e3
decision = sched.decide({"asked from": "place-3"}, now=now)
decision.nodes, decision.reason, sched.counters()["history_entries"]
