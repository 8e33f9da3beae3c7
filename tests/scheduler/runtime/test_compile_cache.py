"""Compiled code made from other sources is dropped, wherever numba keeps it. Each test has a copy of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.runtime.compile_cache import KERNEL_FOLDERS, SOURCES, STAMP, cache_of, drop_stale

ROOT = Path(__file__).resolve().parents[3]

IMPORT = "import scheduler.runtime.compile_cache as c; print(c.cache_of(c.KERNEL_FOLDERS[-1]))"


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    shutil.copytree(ROOT / "scheduler", folder / "scheduler", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(package, code, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON"))}
    command = [sys.executable, "-c", code]
    # In the package's folder, so that it goes before any installed one.
    done = subprocess.run(command, cwd=package, env=kept | environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def plant(cache):
    """Pretend that something was compiled before."""
    files = [cache / name for name in ("decide.decide-1.py311.nbi", "decide.decide-1.py311.1.nbc", "other.txt")]
    for file in files:
        file.write_bytes(b"compiled")
    return files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("engine/arrays.py", "in the tree"),
        ("history/change_point_arrays.py", "in the tree"),
        ("history/kernels/statistics.py", "of the user"),
    ],
)
def test_a_changed_source_drops_the_cache(source, place, package, tmp_path):
    environment = {} if place == "in the tree" else {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    cache = Path(run(package, IMPORT, **environment))
    assert cache.is_relative_to(package if place == "in the tree" else tmp_path / "cache")
    index, code, other = plant(cache)
    run(package, IMPORT, **environment)
    assert index.exists()
    assert code.exists()
    changed = package / "scheduler" / source
    changed.write_text(changed.read_text() + "# changed\n")
    run(package, IMPORT, **environment)
    assert not index.exists()
    assert not code.exists()
    assert other.exists()


@pytest.mark.slow
def test_code_compiled_into_another_files_functions_is_compiled_anew(package):
    """Numba alone would go on with the old constant, because the function's own file is as it was."""
    planet, trip = (package / "scheduler" / name for name in ("runtime/planet.py", "history/kernels/trip.py"))
    planet.write_text("RADIUS = 2.0\n")
    trip.write_text(
        "from scheduler.runtime.jit import kernel\nfrom scheduler.runtime.planet import RADIUS\n\n\n"
        "@kernel\ndef trip(turns):\n    return turns * RADIUS\n"
    )
    code = "from scheduler.history.kernels.trip import trip; print(trip(3.0), trip.stats.cache_hits)"
    assert run(package, code).split()[0] == "6.0"
    assert "{(float64,): 1}" in run(package, code)  # from the cache
    planet.write_text("RADIUS = 5.0\n")
    assert run(package, code).split()[0] == "15.0"


def test_a_read_only_file_system_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr("scheduler.runtime.compile_cache.cache_of", lambda _: tmp_path)
    (tmp_path / "a.nbi").touch()
    drop_stale(tmp_path, SOURCES)
    assert not (tmp_path / STAMP).exists()


@pytest.mark.slow
def test_without_compilation_there_is_no_cache(package):
    assert run(package, IMPORT, NUMBA_DISABLE_JIT="1") == "None"


def test_training_asks_for_a_cache_of_its_own():
    caches = {cache_of(ROOT / name) for name in ("training/features", "scheduler/runtime")}
    assert len(caches) == 2


def test_every_kernel_and_every_array_layout_is_a_source_of_compiled_code():
    files = [path for path in (ROOT / "scheduler").rglob("*.py") if path.parent.name in ("kernels", "runtime")]
    assert {*files, *(ROOT / "scheduler").rglob("*arrays.py")} == set(SOURCES)
    assert {path.parent for path in files} == set(KERNEL_FOLDERS)
