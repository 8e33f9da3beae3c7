"""Tests that ask for it run twice: pair features looked up by masks, and by splits wherever they are in order."""

from unittest import mock

import pytest

from scheduler.forest import mask_tables


@pytest.fixture(scope="module", params=[0.0, 1e9], ids=["by mask", "by split"])
def cost_of_masks(request):
    """What a row of masks is said to cost, nothing or more than all splits."""
    with mock.patch.object(mask_tables, "MASK_CYCLES", request.param):
        yield request.param
