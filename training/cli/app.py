"""Subcommands of ``fogline``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from typer.main import get_command

from scheduler.errors import FoglineError, InputError, SpecError
from training.cli.availability import lifetime
from training.cli.compile import compile_kernels
from training.cli.data import check
from training.cli.demo import demo
from training.cli.evaluate import evaluate, report
from training.cli.examples import EXAMPLES, epilog
from training.cli.explain import explain_model, what_if, why, why_not
from training.cli.init import init
from training.cli.models import models
from training.cli.ope import ope
from training.cli.output import flush_output, in_words, print_error
from training.cli.records import dataset, records, replay
from training.cli.table import print_text
from training.cli.train import train, tune
from training.memory_errors import describe_shortage, is_shortage

DONE, FAILED, MISUSED = 0, 1, 2
"""Exit codes."""

app = typer.Typer(
    name="fogline",
    help="Schedule traffic on an edge network with a quality model learned from telemetry.",
    epilog=epilog(EXAMPLES[""]),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    init,
    check,
    train,
    tune,
    evaluate,
    report,
    ope,
    lifetime,
    demo,
    why,
    why_not,
    what_if,
    explain_model,
    records,
    replay,
    dataset,
):
    name = command.__name__.replace("_", "-")
    app.command(name, epilog=epilog(EXAMPLES[name]))(command)
app.command("compile", epilog=epilog(EXAMPLES["compile"]))(compile_kernels)


app.add_typer(models)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - how typer hands an option over
    """Print the installed version and end, where it was asked for."""
    if asked:
        try:
            print_text(f"fogline {installed('fogline')}")
        except PackageNotFoundError:
            print_text("fogline, a checkout that was never installed")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that belong to no subcommand; the version's callback has done its work by now."""
    del version


@cache  # typer looks at the options of all subcommands, in 0.04 s
def _parser() -> Callable[..., Any]:
    return get_command(app)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; errors go to standard error, with ``--json`` also as JSON.

    Raises
    ------
    KeyboardInterrupt
        If it is interrupted; the caller tells, who has to do so while this module is loaded too.
    """
    code, error = _run(arguments), flush_output()
    if code == DONE and error is not None:
        return _failed(arguments, type(error).__name__, in_words(error))
    return code


def _run(arguments: list[str]) -> int:
    try:
        _parser()(arguments, prog_name="fogline")
    except SystemExit as stop:  # how typer ends: 0, or 2 after it has said what was wrong with the call
        code = stop.code if isinstance(stop.code, int) else FAILED
        if isinstance(stop.__context__, typer.Exit):  # a command ended with its result, or typer with an interrupt
            if isinstance(stop.__context__.__cause__, KeyboardInterrupt):
                raise stop.__context__.__cause__ from None
        elif code != DONE:
            said = getattr(stop.__context__, "format_message", None)
            print_error(arguments, "UsageError", "see standard error" if said is None else said())
        return code
    except BaseException as error:
        if is_shortage(error):
            return _failed(arguments, MemoryError.__name__, describe_shortage(error))
        if not isinstance(error, FoglineError | OSError):
            raise
        code = _failed(arguments, type(error).__name__, in_words(error))
        return MISUSED if isinstance(error, SpecError | InputError) else code
    return DONE


def _failed(arguments: list[str], kind: str, message: str) -> int:
    print(f"fogline: {message}", file=sys.stderr)  # noqa: T201
    print_error(arguments, kind, message)
    return FAILED
