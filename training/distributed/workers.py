"""Which workers there are: those of a running Dask scheduler, or processes of this machine."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scheduler.errors import InputError
from training.progress import ProgressCallback

if TYPE_CHECKING:
    from distributed import Client

_LOCAL = re.compile(r"local:([1-9]\d*)")

_PRELOAD = "import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n"
"""Run in local workers first: LightGBM prints every connection there, and standard output is for results."""

PATIENCE = 10
"""Seconds to wait for a scheduler: long enough for one that is just starting, short enough for a wrong address."""


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Connect to a Dask scheduler.

    Parameters
    ----------
    address
        Such as ``tcp://host:8786``, or ``local:N`` for N worker processes of this machine, which end with the context.

    Raises
    ------
    InputError
        If the address is invalid, does not answer, or has no worker.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(f"cluster: expected the packages of fogline[distributed], found {error}") from error
    local = _LOCAL.fullmatch(address)
    if local is not None:
        n = int(local[1])
        with (
            LocalCluster(
                n_workers=n,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",
                preload=[_PRELOAD],
                silence_logs=logging.ERROR,  # that workers were restarted or had to be killed is no news to the user
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        expected = "cluster: expected the address of a Dask scheduler such as tcp://host:8786, or local:N"
        raise InputError(f"{expected}, found {address!r} ({error})") from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise InputError(f"cluster: expected workers at {address}, found none")
        yield client


def gathered(client: Client, asked: Sequence[Any], what: str, progress: ProgressCallback) -> list[Any]:
    """Wait for tasks, report each one, and return their results."""
    from distributed import as_completed

    progress(what, 0, len(asked))
    for done, future in enumerate(as_completed(asked)):
        error = future.exception()
        if error is not None:
            client.cancel(asked)
            raise error
        progress(what, done + 1, len(asked))
    return list(client.gather(list(asked)))
