"""Find the folder of an artifact, which may be in a registry."""

from __future__ import annotations

from pathlib import Path

from scheduler.model.registry import fetch


def artifact_folder(source: str | Path, registry: str | None) -> Path:
    """Return where a model's artifact lies, after fetching it where it is a registry's."""
    return fetch(str(source), registry).folder if str(source).startswith("models:") else Path(source)
