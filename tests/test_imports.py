"""What `import scheduler` loads and does, each seen from a fresh interpreter. That little is what keeps it short."""

import subprocess
import sys

import pytest

OFFLINE = ("lightgbm", "matplotlib", "mlflow", "pandas", "polars", "sklearn", "training")

LOADED = "import sys, scheduler; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
COMPILED = """
from importlib import import_module
from numba.core import event
from numba.core.dispatcher import Dispatcher
with event.install_recorder("numba:compile") as compiled:
    import scheduler
from tests.kernel_modules import KERNEL_MODULES
modules = list(map(import_module, KERNEL_MODULES))
kernels = [kernel for module in modules for kernel in vars(module).values() if isinstance(kernel, Dispatcher)]
assert kernels
print(len(compiled.buffer), sum(len(kernel.signatures) for kernel in kernels))
"""


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


@pytest.mark.slow
def test_import_scheduler_compiles_no_kernel():
    """Nor does it load compiled code: kernels do both when they are first called."""
    assert fresh(COMPILED).split() == ["0", "0"]


@pytest.mark.slow
def test_import_scheduler_starts_no_thread():
    assert fresh("import threading, scheduler; print(threading.active_count())").strip() == "1"
