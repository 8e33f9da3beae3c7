"""Compile all kernels into a folder, in a process of its own: numba takes its processor when it is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from scheduler.errors import FoglineError, InputError
from scheduler.model.model import Model
from scheduler.runtime.compile_cache import stamp
from scheduler.runtime.compiled_folder import IN_PACKAGE, MANIFEST, Manifest, compile_into, manifest_here
from scheduler.runtime.processor import LEVELS, environment, host_features
from scheduler.scheduler import Scheduler
from training.artifacts.locate import artifact_folder
from training.artifacts.placeholder import write_placeholder
from training.specs.builtin import find_spec

UNKNOWN_PROCESSOR = "is not a recognized processor"
"""What LLVM says on standard error of a name that it does not know."""


@dataclass(frozen=True)
class Compiled:
    """What was compiled.

    Attributes
    ----------
    folder
        Where it is.
    processor
        For which one, as asked for and as LLVM names it.
    kernels, megabytes
        How many pieces of code for one set of types, and how large they are together.
    seconds
        How long it took.
    setting
        Whether processes find the folder by ``NUMBA_CACHE_DIR`` only.
    """

    folder: Path
    processor: str
    kernels: int
    megabytes: float
    seconds: float
    setting: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        return asdict(self) | {"folder": str(self.folder)}


def compile_into_folder(
    models: Sequence[str], *, cpu: str, out: Path | None = None, registry: str | None = None
) -> Compiled:
    """Compile every kernel for the types of models into a folder.

    Parameters
    ----------
    models
        Artifact folders or registry names; without any, the types that all models have.
    cpu
        ``generic``, a level such as ``x86-64-v3``, ``native``, or LLVM's name of a processor.
    out
        The folder, which is replaced where it holds kernels; by default in the package.
    registry
        Where models of a registry are.

    Raises
    ------
    InputError
        If LLVM does not know the processor, this machine cannot run its code, or the folder holds something else.
    """
    folder = (out or IN_PACKAGE).absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        message = f"out: expected a new folder, an empty one or one of compiled kernels, found {folder}"
        raise InputError(message)
    lacking = LEVELS.get(cpu, frozenset()) - host_features()
    if lacking:
        message = (
            f"cpu: expected a processor whose code this machine can try, found {cpu!r}; it lacks {sorted(lacking)}"
        )
        raise InputError(message)
    begun = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "new"
        sources = [str(artifact_folder(model, registry).absolute()) for model in models]
        sources = sources or [str(write_placeholder(Path(scratch) / "placeholder", find_spec("demo")))]
        _run_child(fresh, cpu, sources)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.chmod(0o755)
        fresh.rename(folder)
    processor = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest).processor
    code = list(folder.rglob("*.nbc"))
    return Compiled(
        folder=folder,
        processor=cpu if processor.name == cpu else f"{cpu} ({processor.name})",
        kernels=len(code),
        megabytes=sum(path.stat().st_size for path in code) / 1e6,
        seconds=time.monotonic() - begun,
        setting=folder != IN_PACKAGE,
    )


def _run_child(folder: Path, cpu: str, sources: Sequence[str]) -> None:
    """Compile in another process, and say what went wrong there."""
    program = f"from {__name__} import compile_here; import sys; compile_here(*sys.argv[1:])"
    settings = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    settings |= environment(cpu) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program, str(folder), cpu, *sources]
    child = subprocess.run(command, env=settings, check=False, capture_output=True, text=True)  # noqa: S603
    if UNKNOWN_PROCESSOR in child.stderr:
        message = (
            f"cpu: expected generic, native, a level such as x86-64-v3 or LLVM's name of a processor, found {cpu!r}"
        )
        raise InputError(message)
    if child.returncode == -signal.SIGILL:
        message = f"cpu: expected a processor whose code runs on this machine, which has to try it, found {cpu!r}"
        raise InputError(message)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        message = f"compiling failed: {last}"
        raise FoglineError(message)


def compile_here(folder: str, cpu: str, *sources: str) -> None:
    """Compile for models into a folder, in a process that has called no kernel yet.

    Parameters
    ----------
    folder
        Where to.
    cpu
        What was asked for; the process's environment says it to numba.
    sources
        Folders of artifacts.
    """
    target = Path(folder)
    compile_into(target)
    versions = []
    for source in sources:
        model = Model.load(source)
        Scheduler(model).warm_up()
        versions.append(model.version)
    made = manifest_here(stamp(), cpu, tuple(versions))
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1))
