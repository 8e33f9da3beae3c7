"""The small model, written and loaded once a session, and a scheduler with it."""

import pytest

from scheduler import Model, Scheduler
from tests import models, schedulers


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Model:
    return models.load_small(tmp_path_factory)


@pytest.fixture
def sched(model) -> Scheduler:
    return schedulers.new(model)
