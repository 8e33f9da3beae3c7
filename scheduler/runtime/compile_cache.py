"""Where compiled kernels are kept, and which of them may be used.

Numba keeps a function's compiled code under a stamp of the file that it stands in: it does not notice when a function
that was compiled into it, from another file, has changed. Here the stamp is of all sources. Code is read from a folder
that ``fogline compile`` made, if there is one, and else kept where numba would keep it. Where nothing can be written,
it is compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

from scheduler.errors import KernelCacheWarning
from scheduler.runtime import compiled_folder

STAMP = "sources.sha256"
"""File beside the compiled code that says from which sources it was made."""


class KernelCache:
    """The compiled code of one kernel, as numba asks for it.

    Nothing is looked for before the kernel is first called.

    Parameters
    ----------
    function
        The kernel's Python function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._file = Path(function.__code__.co_filename).resolve()

    @property
    def cache_path(self) -> str | None:
        """The folder from which code is read first; None where there is none."""
        place = self._shipped or self._own
        return None if place is None else place.cache_path

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the code for argument types, None where it has to be compiled."""
        found = self._shipped.load_overload(signature, context) if self._shipped else None
        # A place that can be written is looked for only where it is needed: there may be none.
        return self._own.load_overload(signature, context) if found is None and self._own else found

    def save_overload(self, signature: Any, code: Any) -> None:
        """Keep code that was compiled, where that is possible."""
        if self._own is None:
            return
        try:
            self._own.save_overload(signature, code)
        except OSError as error:  # such as a full disk: the code is there all the same
            message = f"{self._own.cache_path}: {error.strerror}: kernels are not kept"
            warnings.warn(message, KernelCacheWarning, stacklevel=2)

    def flush(self) -> None:
        """Forget what is kept of this kernel."""
        if self._own is not None:
            self._own.flush()

    @cached_property
    def _shipped(self) -> _Place | None:
        """Where the code is only read."""
        found = None if compiled_folder.target() else compiled_folder.find(stamp())
        if found is None:
            return None
        return _Place(self._function, found.folder / _room(self._file), _stamp(self._file), found.processor.key)

    @cached_property
    def _own(self) -> _Place | None:
        """Where the code is kept."""
        target = compiled_folder.target()
        folder = target / _room(self._file) if target else kept_in(self._file.parent)
        return None if folder is None else _Place(self._function, folder, _stamp(self._file))


class _Place(FunctionCache):
    """One kernel's code in one folder, compiled from sources of a stamp, by default for this processor."""

    def __init__(self, function: Callable[..., Any], folder: Path, made: str, processor: Any = None) -> None:
        self._name, self._py_func, self._processor = repr(function), function, processor
        self._impl = _Files(function, folder, made)
        self._cache_path = str(folder)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, made)
        self.enable()

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        signature, processor, code = super()._index_key(signature, codegen)
        return signature, self._processor or processor, code


class _Files(CompileResultCacheImpl):
    """What numba asks about files: their names, their stamp, and whether the folder is there."""

    def __init__(self, function: Callable[..., Any], folder: Path, made: str) -> None:
        code = function.__code__
        self._locator, self._lineno, self._py_file = self, code.co_firstlineno, code.co_filename
        self._folder, self._made = folder, made
        self._filename_base = self.get_filename_base(f"{Path(code.co_filename).stem}.{function.__qualname__}", "")

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._made

    def get_disambiguator(self) -> str:
        return str(self._lineno)


def drop_stale(folder: Path, made: str) -> None:
    """Remove compiled code from a folder unless it was made from sources of this stamp, so that it does not pile up."""
    mark = folder / STAMP
    try:
        if mark.is_file() and mark.read_text() == made:
            return
        for path in folder.glob("*.nb[ci]"):
            path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(made)
    except OSError:
        # Stale code that cannot be removed is not used either: it has another stamp.
        return


@cache
def cache_of(folder: Path) -> Path | None:
    """Return where numba keeps the compiled code of a folder's modules, None where it keeps none.

    Mostly ``__pycache__`` in it; another place with ``NUMBA_CACHE_DIR``, or where the folder cannot be written.
    Numba itself is asked, by way of a function that seems to stand in the folder.
    """
    file = next(iter(sorted(folder.glob("*.py"))), folder / "__init__.py")  # numba asks for one that is there
    code = _probe.__code__.replace(co_filename=str(file))
    try:
        probe = njit(cache=True)(FunctionType(code, {}))
    except RuntimeError:  # there is no place at all that it could write
        _warn_of_no_place()
        return None
    stats = getattr(probe, "stats", None)  # plain Python functions, as with NUMBA_DISABLE_JIT=1, have none
    return None if stats is None else Path(stats.cache_path)


def _probe() -> None: ...


@cache
def _warn_of_no_place() -> None:
    message = (
        "no folder for compiled kernels can be written: each process compiles them anew, which takes minutes. Set "
        "NUMBA_CACHE_DIR to one that can, or to one that `fogline compile --out` made, which is only read"
    )
    warnings.warn(message, KernelCacheWarning, stacklevel=2)


@cache
def kept_in(folder: Path) -> Path | None:
    """Return where the code of a folder's modules is kept, with nothing stale in it."""
    place = cache_of(folder)
    if place is not None:
        drop_stale(place, stamp())
    return place


def _room(file: Path) -> str:
    """Return the name of a module's folder in one that ``fogline compile`` made, wherever the package stands."""
    inside = file.parent.relative_to(PACKAGE.parent) if file.is_relative_to(PACKAGE.parent) else file.parent
    return ".".join(part for part in inside.parts if part != "/")


@cache
def _stamp(file: Path) -> str:
    """Return the stamp of what a file's kernels are made from."""
    return stamp() if file in SOURCES else digest((*SOURCES, file))


@cache
def stamp() -> str:
    """Return the stamp of the package's own kernels."""
    return digest(SOURCES)


def digest(sources: Iterable[Path]) -> str:
    """Return a hash of files and their names."""
    found = hashlib.sha256()
    for path in sorted(sources):
        found.update(f"{path.parent.parent.name}/{path.name}".encode() + path.read_bytes())
    return found.hexdigest()


PACKAGE = Path(__file__).resolve().parents[1]
"""The package whose kernels these are."""

KERNEL_FOLDERS = (PACKAGE / "runtime", *sorted(PACKAGE.glob("**/kernels")))
"""Folders whose modules hold jitted functions."""

PLAIN = frozenset(
    f"{name}.py"
    for name in (
        "background",
        "compile_cache",
        "compiled_folder",
        "durable",
        "file_lock",
        "forks",
        "growable_array",
        "not_copied",
        "parts",
        "processor",
        "read_write_lock",
    )
)
"""Modules of ``runtime`` of which nothing is compiled."""

_MODULES = tuple(
    path
    for folder in KERNEL_FOLDERS
    for path in sorted(folder.glob("*.py"))
    if folder.name != "runtime" or path.name not in PLAIN
)
SOURCES = tuple(dict.fromkeys((*_MODULES, *sorted(PACKAGE.glob("**/*arrays.py")))))
"""What the kernels are made from."""
