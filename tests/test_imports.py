"""What `import scheduler` loads and how long it takes, each seen from a fresh interpreter."""

import subprocess
import sys

import pytest

OFFLINE = ("lightgbm", "matplotlib", "mlflow", "pandas", "polars", "sklearn", "training")

LOADED = "import sys, scheduler; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
SECONDS = "import time; t = time.perf_counter(); import scheduler; print(time.perf_counter() - t)"


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return set(fresh(LOADED).split())


def test_the_probe_sees_what_is_loaded(loaded):
    assert {"scheduler", "sys"} <= loaded


@pytest.mark.parametrize("package", OFFLINE)
def test_import_scheduler_does_not_load(package, loaded):
    assert package not in loaded


def test_import_scheduler_takes_under_a_second_and_a_half_once_warm():
    """The one wall-clock bound among the tests: it is a promise to those who embed the package."""
    fresh(SECONDS)
    assert min(float(fresh(SECONDS)) for _ in range(3)) < 1.5
