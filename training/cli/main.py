"""The command ``fogline``: errors, exit codes, and where results and progress go.

Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 the work failed,
2 the call was wrong, 130 the command was interrupted.
"""

from __future__ import annotations

import os
import sys

_INTERRUPTED = '{"error":{"type":"KeyboardInterrupt","message":"interrupted"}}'


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        Without the program's name; by default the process's own.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(given)
    except KeyboardInterrupt:
        if "--json" in given:
            print(_INTERRUPTED, flush=True)  # noqa: T201 - what prints JSON elsewhere may not be loaded yet
        print("fogline: interrupted", file=sys.stderr)  # noqa: T201
        return 130  # 128 and the number of the signal, as shells have it


def _run(arguments: list[str]) -> int:
    # LightGBM's threads spin while they wait, which on a busy machine makes them wait for each other 10 times longer.
    # Read when its library is loaded, so it has to stand before all imports; who sets it is not overruled.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from training.cli.app import run
    except ModuleNotFoundError as error:
        print(f"fogline: expected the packages of fogline[training], found no {error.name}", file=sys.stderr)  # noqa: T201
        return 1  # the work failed
    except MemoryError as error:
        print(f"fogline: memory: expected enough to load the library, found too little ({error})", file=sys.stderr)  # noqa: T201
        return 1
    return run(arguments)
