"""The rules of the house: who may import whom, and what the public names are."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import scheduler

ROOT = Path(__file__).resolve().parents[1]


def test_import_contracts_hold():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint_imports], cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_all_of_scheduler_is_what_is_really_there():
    present = {
        name
        for name, value in vars(scheduler).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    declared = [name for name in scheduler.__all__ if not name.startswith("_")]
    assert sorted(present) == sorted(declared)


def test_all_of_scheduler_can_be_imported_by_star():
    names: dict[str, object] = {}
    exec("from scheduler import *", names)  # noqa: S102
    assert set(scheduler.__all__) <= names.keys()
