"""Promote a version to champion where it is better."""

from __future__ import annotations

import re

from scheduler.errors import InputError, RegistryDownError, RegistryError
from scheduler.model.mlflow_client import connect, registry_call, resolve_uri, sqlite_file
from training.evaluation.verdict import BETTER, UNTOLD, Verdict
from training.tracking.mlflow_store import exclusive_registry
from training.tracking.versions import (
    CANNOT_BE_TOLD,
    CHAMPION,
    KEPT,
    MOVED,
    Promotion,
    find_champion,
    set_promotion,
    settle_interrupted,
)

__all__ = ["CHAMPION", "Promotion", "champion", "champion_if_any", "decide", "promote", "set_alias"]

_ALIAS = re.compile(r"(?!latest\Z|v\d+\Z)[\w-]+", re.IGNORECASE)
"""What MLflow allows."""


def champion(name: str, registry: str | None = None) -> str | None:
    """Return the number of the version in charge, None where there is none yet.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such model.
    """
    registry = resolve_uri(registry)
    client = connect(registry)
    with registry_call(registry, f"the model {name}"):
        found = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if found is None else str(found)


def promote(
    name: str,
    version: str,
    *,
    verdict: Verdict | None = None,
    obstacle: str = "",
    force: bool = False,
    registry: str | None = None,
) -> Promotion:
    """Give a version the alias ``champion`` if it deserves it, and tag the version with the reason.

    Parameters
    ----------
    name, version
        As `track` returned them.
    verdict
        What a comparison of this version with the champion came to.
    obstacle
        Why there is none although there is a champion; becomes part of the reason.
    force
        Promote in any case.
    registry
        See `track`.

    Returns
    -------
    Promotion

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such version.
    """
    registry = resolve_uri(registry)
    champion(name, registry)  # raises where there is no such registry or model, and makes none
    with registry_call(registry, f"models:/{name}/{version}"), exclusive_registry(registry):
        client = connect(registry)
        client.get_model_version(name, version)
        settle_interrupted(client, name)
        current = find_champion(client, name)
        if current == version:
            promotion = Promotion(KEPT, f"version {version} is the champion already")
        else:
            promotion = decide(current, verdict=verdict, obstacle=obstacle, force=force)
            set_promotion(client, name, version, promotion, current)
    return promotion


def set_alias(name: str, version: str, alias: str, registry: str | None = None) -> None:
    """Lead an alias other than ``champion`` to a version, such as ``challenger`` for one on trial.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or has no such version.
    InputError
        MLflow allows no such alias.
    """
    if not _ALIAS.fullmatch(alias):
        expected = "letters, digits, _ and -, and neither latest nor a version such as v2"
        raise InputError(f"models:/{name}@{alias}: expected an alias of {expected}, found {alias!r}")
    registry = resolve_uri(registry)
    with registry_call(registry, f"models:/{name}@{alias}"), exclusive_registry(registry):
        connect(registry).set_registered_model_alias(name, alias, version)


def champion_if_any(name: str, registry: str) -> str | None:
    """Return the number of the version in charge; None where there is none, no such model, or no registry yet.

    Raises
    ------
    RegistryError
        The registry cannot be reached, or is broken.
    """
    file = sqlite_file(registry)
    if file is not None and (not file.exists() or file.stat().st_size == 0):
        return None
    try:
        return champion(name, registry)
    except RegistryDownError:
        raise
    except RegistryError:  # no such model
        return None


def decide(
    current: str | None,
    *,
    verdict: Verdict | None = None,
    obstacle: str = "",
    force: bool = False,
) -> Promotion:
    """Return whether a new version takes over from a champion, None where there is none, and why.

    Parameters
    ----------
    verdict, obstacle, force
        As for `promote`.
    """
    if current is None:
        return Promotion(MOVED, "there was no champion")
    figures = verdict.reason if verdict is not None else obstacle or "no comparison was made"
    if force:
        return Promotion(MOVED, f"promotion was asked for; version {current} was champion; {figures}")
    if verdict is None or verdict.outcome == UNTOLD:
        return Promotion(CANNOT_BE_TOLD, f"{figures}; use --promote")
    if verdict.outcome == BETTER:
        return Promotion(MOVED, f"better than version {current}: {figures}")
    return Promotion(KEPT, f"not better than version {current}: {figures}")
