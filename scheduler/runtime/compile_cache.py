"""Drop compiled code that was made from other sources than today's.

Numba caches compiled code by the source file of the outermost function: it does not notice when a function that was
compiled into it, from another file, has changed. `scheduler.runtime.jit` imports this module, so that it runs before
the first kernel is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType

from numba import njit

STAMP = "sources.sha256"
"""File beside the compiled code that says from which sources it was made."""


def drop_stale(folder: Path, sources: Iterable[Path]) -> None:
    """Remove numba's compiled code of a folder's modules unless it was made from these very sources.

    Parameters
    ----------
    folder
        The folder whose modules were compiled.
    sources
        All files whose code is compiled into theirs.
    """
    cache = cache_of(folder)
    if cache is None:
        return
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(f"{path.parent.parent.name}/{path.name}".encode() + path.read_bytes())
    stamp = cache / STAMP
    try:
        if stamp.is_file() and stamp.read_bytes() == digest.hexdigest().encode():
            return
        for path in cache.glob("*.nb[ci]"):
            path.unlink(missing_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        stamp.write_bytes(digest.hexdigest().encode())
    except OSError:
        # A cache that cannot be written holds nothing of ours to drop: numba would have gone elsewhere.
        return


def cache_of(folder: Path) -> Path | None:
    """Return where numba keeps the compiled code of a folder's modules, None where it keeps none.

    Mostly ``__pycache__`` in it; another place with ``NUMBA_CACHE_DIR``, or where the folder cannot be written.
    Numba itself is asked, by way of a function that seems to stand in the folder.
    """
    code = _probe.__code__.replace(co_filename=str(folder / "__init__.py"))
    try:
        probe = njit(cache=True)(FunctionType(code, {}))
    except RuntimeError:  # there is no place at all that it could write; the kernels will say so
        return None
    stats = getattr(probe, "stats", None)  # plain Python functions, as with NUMBA_DISABLE_JIT=1, have none
    return None if stats is None else Path(stats.cache_path)


def _probe() -> None: ...


_SCHEDULER = Path(__file__).resolve().parents[1]
KERNEL_FOLDERS = (_SCHEDULER / "runtime", *sorted(_SCHEDULER.glob("*/kernels")))
"""Folders whose modules hold jitted functions."""

_MODULES = (path for folder in KERNEL_FOLDERS for path in sorted(folder.glob("*.py")))
SOURCES = tuple(dict.fromkeys((*_MODULES, *sorted(_SCHEDULER.glob("*/*arrays.py")))))
"""What the kernels are made from."""

for _folder in KERNEL_FOLDERS:
    drop_stale(_folder, SOURCES)
