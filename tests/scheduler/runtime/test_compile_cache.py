"""Compiled code made from other sources is not used, wherever it is kept. Each test has a copy of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from llvmlite import binding

from scheduler import KernelCacheWarning
from scheduler.runtime import compiled_folder
from scheduler.runtime.compile_cache import KERNEL_FOLDERS, PLAIN, SOURCES, STAMP, cache_of, digest, drop_stale, stamp
from scheduler.runtime.compiled_folder import MANIFEST, find, manifest_here
from scheduler.runtime.processor import LEVELS, Processor, environment, host_features

ROOT = Path(__file__).resolve().parents[3]

IMPORT = "import scheduler.runtime.compile_cache as c; print(c.kept_in(c.KERNEL_FOLDERS[-1]))"


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
    monkeypatch.setattr(Path, "write_text", refuse)
    (tmp_path / "a.nbi").touch()
    drop_stale(tmp_path, stamp())
    assert not (tmp_path / STAMP).exists()


@pytest.mark.slow
def test_without_compilation_there_is_no_cache(package):
    assert run(package, IMPORT, NUMBA_DISABLE_JIT="1") == "None"


def test_training_asks_for_a_cache_of_its_own():
    caches = {cache_of(ROOT / name) for name in ("training/features", "scheduler/runtime")}
    assert len(caches) == 2


def test_every_kernel_and_every_array_layout_is_a_source_of_compiled_code():
    files = [path for path in (ROOT / "scheduler").rglob("*.py") if path.parent.name in ("kernels", "runtime")]
    plain = [path for path in files if path.parent.name == "runtime" and path.name in PLAIN]
    assert {*files, *(ROOT / "scheduler").rglob("*arrays.py")} - set(plain) == set(SOURCES)
    assert {path.parent for path in files} == set(KERNEL_FOLDERS)
    assert {path.name for path in plain} == PLAIN
    for path in SOURCES:  # nothing plain is compiled into a kernel
        assert not any(f"runtime.{name[:-3]} import" in path.read_text() for name in PLAIN - {"compile_cache.py"}), path


def test_a_stamp_is_of_names_and_contents(tmp_path):
    one, other = (tmp_path / "kernels" / name for name in ("one.py", "other.py"))
    one.parent.mkdir()
    one.write_text("a = 1\n")
    other.write_text("b = 1\n")
    before = digest([one, other])
    assert digest([other, one]) == before
    other.write_text("b = 2\n")
    assert digest([one, other]) != before


NO_PLACE = """
import sys, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    from scheduler.runtime.jit import kernel
    from scheduler.runtime.hashing import mix
    assert mix(1, 2) == mix(1, 2)
print(*(str(each.message) for each in seen), sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None and os.geteuid() == 0, reason="root writes anywhere")
def test_where_nothing_can_be_written_kernels_are_compiled_and_one_warning_says_what_to_set(package, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    folders = [home, *(path for path in package.rglob("*") if path.is_dir()), package]
    for folder in folders:
        folder.chmod(0o555)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*powerless, sys.executable, "-c", NO_PLACE]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(package)}
    try:
        done = subprocess.run(command, cwd=package, env=environment, check=True, capture_output=True, text=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    (warning,) = done.stdout.strip().splitlines()
    assert "NUMBA_CACHE_DIR" in warning
    assert "fogline compile" in warning


def written(folder, monkeypatch, **changes):
    """A folder of kernels in the package's place, made for this very process but for some changes."""
    manifest = msgspec.structs.replace(manifest_here(stamp(), "native", ()), **changes)
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    monkeypatch.setattr(compiled_folder, "IN_PACKAGE", folder)
    find.cache_clear()
    return folder


@pytest.fixture(autouse=True)
def _look_again():
    yield
    find.cache_clear()


def test_a_folder_of_kernels_that_fits_is_used(tmp_path, monkeypatch):
    folder = written(tmp_path / "compiled", monkeypatch)
    assert find(stamp()).folder == folder


MACHINE = manifest_here("", "native", ()).processor


def lacking(**changes):
    return msgspec.structs.replace(MACHINE, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sources": "others"}, "they were made from other sources"),
        ({"numba": "0.1"}, "they were made by .* 0.1 .*, here are"),
        ({"python": "cpython-3.9"}, "they were made by cpython-3.9"),
        (
            {"processor": lacking(features=f"{MACHINE.features},+warp", name="starship")},
            r"for the processor native \(starship\): this one lacks warp",
        ),
        ({"processor": lacking(triple="vax-unknown-linux")}, f"this is {binding.get_process_triple()}"),
        (
            {"processor": lacking(asked="z80", name="z80", features="")},
            rf"for the processor z80 \(z80\): this is {binding.get_host_cpu_name()}",
        ),
    ],
)
def test_a_folder_of_kernels_that_does_not_fit_is_named_and_left_alone(changes, reason, tmp_path, monkeypatch):
    folder = written(tmp_path / "compiled", monkeypatch, **changes)
    with pytest.warns(
        KernelCacheWarning, match=rf"^{folder}: compiled kernels are not used: .*{reason}.*fogline compile"
    ):
        assert find(stamp()) is None


def test_a_folder_whose_manifest_is_damaged_is_named_and_left_alone(tmp_path, monkeypatch):
    folder = written(tmp_path / "compiled", monkeypatch)
    (folder / MANIFEST).write_bytes(b"{")
    with pytest.warns(KernelCacheWarning, match=r"kernels.json cannot be read"):
        assert find(stamp()) is None


@pytest.mark.parametrize("asked", ["generic", *LEVELS])
def test_a_level_needs_what_its_definition_says(asked):
    processor = Processor(MACHINE.triple, asked, "", asked)
    assert bool(processor.missing_here()) == bool(LEVELS.get(asked, frozenset()) - host_features())


def test_kernels_of_a_machine_with_less_run_here():
    some = ",".join(name for name in MACHINE.features.split(",") if name.startswith("+"))[:40].rpartition(",")[0]
    assert not lacking(features=some, name="older").missing_here()


def test_numba_is_told_the_processor_unless_it_is_its_own():
    assert environment("native") == {}
    assert environment("x86-64-v3") == {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
