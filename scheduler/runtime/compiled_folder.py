"""A folder of compiled kernels that ``fogline compile`` made: only read, and only if all in it fits.

It is looked for in the package itself, in ``compiled``, and where ``NUMBA_CACHE_DIR`` says.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from pathlib import Path

import llvmlite
import msgspec
import numba
from numba import config
from numba.core.registry import cpu_target

from scheduler.errors import KernelCacheWarning
from scheduler.runtime.processor import Processor

MANIFEST = "kernels.json"
"""File that says what a folder's kernels were made from; it is written last."""

IN_PACKAGE = Path(__file__).resolve().parents[1] / "compiled"
"""Where a folder of kernels is found without a setting."""


class Manifest(msgspec.Struct, frozen=True):
    """What a folder's kernels were made from, by what, and for which processor.

    Attributes
    ----------
    sources
        Stamp of the sources; see `scheduler.runtime.compile_cache`.
    python, numba, llvmlite
        Versions.
    processor
        What LLVM compiled for.
    models
        Versions of the models whose types were compiled.
    """

    sources: str
    python: str
    numba: str
    llvmlite: str
    processor: Processor
    models: tuple[str, ...] = ()


class CompiledFolder(msgspec.Struct, frozen=True):
    """A folder whose kernels may be used here."""

    folder: Path
    processor: Processor


_targets: list[Path] = []


def compile_into(folder: Path) -> None:
    """Have this process keep all kernels in a folder, and read none from elsewhere; call it before the first kernel."""
    _targets[:] = [folder]


def target() -> Path | None:
    """Return the folder that this process compiles into, None where it compiles into none."""
    return _targets[0] if _targets else None


def manifest_here(sources: str, asked: str, models: tuple[str, ...]) -> Manifest:
    """Return what a folder's manifest has to say of kernels that this process compiles."""
    processor = Processor(*cpu_target.target_context.codegen().magic_tuple(), asked)
    return Manifest(sources, *_versions(), processor, models)


@cache
def find(sources: str) -> CompiledFolder | None:
    """Return the first folder of kernels that were made from these sources for a processor like this one.

    Of a folder that does not fit a warning says why.
    """
    places = [IN_PACKAGE] if not config.CACHE_DIR else [Path(config.CACHE_DIR), IN_PACKAGE]
    for folder in places:
        try:
            content = (folder / MANIFEST).read_bytes()
        except OSError:
            continue
        wrong = _what_is_wrong(content, sources)
        if not wrong:
            return CompiledFolder(folder, msgspec.json.decode(content, type=Manifest).processor)
        message = f"{folder}: compiled kernels are not used: {wrong}. Run `fogline compile` again"
        warnings.warn(message, KernelCacheWarning, stacklevel=2)
    return None


def _what_is_wrong(content: bytes, sources: str) -> str:
    try:
        made = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        return f"{MANIFEST} cannot be read ({error})"
    if made.sources != sources:
        return "they were made from other sources"
    versions = made.python, made.numba, made.llvmlite
    if versions != _versions():
        return f"they were made by {' '.join(versions)}, here are {' '.join(_versions())} of Python, numba and llvmlite"
    missing, cpu = made.processor.missing_here(), made.processor
    return f"they were made for the processor {cpu.asked} ({cpu.name}): {missing}" if missing else ""


def _versions() -> tuple[str, str, str]:
    """Return the versions of Python, numba and llvmlite."""
    python = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return python, numba.__version__, llvmlite.__version__
