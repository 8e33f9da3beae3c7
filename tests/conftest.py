"""What tests of all rooms share."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured replay data, which lies beside the checkout where it is at hand."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the measured replay data is not at hand: no folder {SHARED_DATA}")
    return SHARED_DATA
