"""Offline side of fogline: telemetry in, a verified model in the registry out.

`training.init`, `training.check`, `training.train`, `training.evaluate` and `training.warm` are for notebooks: those of
`training.notebook`, which is loaded when one of them is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.notebook import check, evaluate, init, train, warm

__all__ = ["check", "evaluate", "init", "train", "warm"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from training import notebook

    return getattr(notebook, name)
