"""Results as JSON, and progress of long work."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from training.progress import bars, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scheduler.spec import Spec
    from training.progress import ProgressCallback

_OUTPUT = "standard output"
"""What an error calls it, as the system has no name for it."""


def command_line() -> str:
    """Return the command line that runs, as a shell would take it."""
    return shlex.join(["fogline", *sys.argv[1:]])


def made_by(seed: int, spec: Spec | None = None) -> dict[str, object]:
    """Return what stands in every JSON, so that it can be made again: seed, command line, versions of the libraries.

    With the spec by which requests are decided, also their candidates and how often each client asks in a slice.
    """
    from training.artifacts.write import libraries

    asked = {} if spec is None else {"candidates": spec.evaluation.candidates, "requests": spec.evaluation.requests}
    return {**asked, "seed": seed, "command": command_line(), "versions": libraries()}


def made_by_in_words(seed: int, spec: Spec | None = None) -> str:
    """Return the same in one line, for below a table."""
    from training.artifacts.write import libraries

    versions = ", ".join(f"{name} {version}" for name, version in libraries().items())
    asked = "" if spec is None else f"{spec.evaluation.candidates} candidates, requests = {spec.evaluation.requests}, "
    return f"{asked}{'seed' if asked else 'Seed'} {seed}; {versions}; {command_line()}"


def in_words(error: Exception) -> str:
    """Return an error's message; one of the system has a number and no word on what was tried."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: expected a place that can be read or written, found: {error.strerror}"
    return str(error)


def print_error(arguments: list[str], kind: str, message: str) -> None:
    """Print an error as JSON to whom asked for JSON; standard output may be what failed."""
    if "--json" in arguments:
        with suppress(OSError):
            print_json({"error": {"type": kind, "message": message}})


def flush_output() -> OSError | None:
    """Write what waits for standard output; return why that cannot be, and drop it.

    Python would try again at its end, and fail with a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        error.filename = _OUTPUT
        return error
    return None


@contextmanager
def progress_bar(json: bool) -> Iterator[ProgressCallback]:  # noqa: FBT001
    """Show the progress of long work on standard error; with ``--json`` only where that is a terminal."""
    with nullcontext(silent) if json and not sys.stderr.isatty() else bars() as progress:
        yield progress


def print_warnings(lines: Sequence[str], json: bool) -> None:  # noqa: FBT001
    """Print warnings before all else: on standard error where standard output is for JSON, which has them too."""
    for line in lines:
        Console(stderr=json).print(f"Warning: {line}", soft_wrap=True, markup=False, highlight=False)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        error.filename = _OUTPUT
        raise
