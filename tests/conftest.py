"""What tests of all packages share."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# As the command line does, before anything loads OpenMP: threads that wait would take time from those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core: threads of a fit would wait for those of another one
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The first example may compile a kernel; a machine under load is no failure either.
settings.register_profile("fogline", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=30)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured replay data, which lies beside the checkout where it is at hand."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the measured replay data is not at hand: no folder {SHARED_DATA}")
    return SHARED_DATA


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples where slow tests are left out; the whole run draws as many as hypothesis likes."""
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "fogline")


def pytest_collection_finish():
    """Leave modules and tests out of garbage collection.

    A scheduler refers to itself, and Python looks for such cycles the less often the more objects live: hundreds of
    schedulers would wait for it.
    """
    gc.collect()
    gc.freeze()
