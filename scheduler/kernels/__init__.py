"""Jitted functions only.

Numba caches compiled code by the source file of the outermost function: it does not notice when a function that was
compiled into it, from another file, has changed. So whoever imports this package first drops compiled code that was
made from other sources than today's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

STAMP = "sources.sha256"
"""File beside the compiled code that says from which sources it was made."""


def drop_stale(folder: Path, sources: Iterable[Path]) -> None:
    """Remove numba's compiled code from a folder's cache unless it was made from these very sources.

    Parameters
    ----------
    folder
        The folder whose cache it is.
    sources
        All files whose code is compiled into it.
    """
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode() + path.read_bytes())
    cache = folder / "__pycache__"
    stamp = cache / STAMP
    try:
        if stamp.is_file() and stamp.read_text(encoding="ascii") == digest.hexdigest():
            return
        for path in cache.glob("*.nb[ci]"):
            path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(digest.hexdigest(), encoding="ascii")
    except PermissionError:
        # An installation that this user cannot write: its files are replaced as a whole, its cache is elsewhere.
        return


_HERE = Path(__file__).resolve().parent
SOURCES = (_HERE.parent / "layout.py", *_HERE.glob("*.py"))
"""What the kernels are made from."""

drop_stale(_HERE, SOURCES)
