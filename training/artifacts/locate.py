"""Find the folder of an artifact, which may be in a registry."""

from __future__ import annotations

from pathlib import Path

from scheduler.model.registry import fetch


def artifact_folder(source: str | Path, registry: str | None) -> Path:
    """Return the folder of a model's artifact; fetch it first if it is in a registry."""
    return fetch(str(source), registry).folder if str(source).startswith("models:") else Path(source)
