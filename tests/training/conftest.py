"""One small world and one model trained on it for all tests of a run."""

import msgspec
import pytest

from scheduler.spec import load_spec
from tests.registries import new_registry
from tests.small_world import UNTIL, SmallWorld, Trained, write_world
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register


@pytest.fixture(scope="session")
def small_world(tmp_path_factory) -> SmallWorld:
    return write_world(tmp_path_factory.mktemp("small-world"))


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Leave out the drawing of each training's pictures, a second or more; the session's `trained` has them."""
    for module in ("pipeline.pipeline", "availability.evaluate"):
        monkeypatch.setattr(f"training.{module}.save_pictures", lambda _heads, _folder: [])


@pytest.fixture(scope="session")
def trained(small_world, tmp_path_factory) -> Trained:
    """The champion of a registry of its own."""
    folder = tmp_path_factory.mktemp("trained")
    registry = new_registry(tmp_path_factory.getbasetemp(), folder / "registry")
    options = TrainingOptions(registry=registry, until=UNTIL, out=folder / "artifacts", threads=1)
    result = train_and_register(small_world.data, load_spec(small_world.spec_file), options)
    return Trained(
        small_world, registry, result.summary.folder, msgspec.json.decode(msgspec.json.encode(result.to_json()))
    )
