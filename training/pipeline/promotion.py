"""Promote a version to champion where it is better."""

from __future__ import annotations

from typing import NamedTuple

from scheduler.model.mlflow_client import connect, registry_call, resolve_uri

CHAMPION = "champion"


class Comparison(NamedTuple):
    """One figure of the same evaluation for the new version and for the champion.

    Attributes
    ----------
    metric
        What was measured, such as ``mean cost``.
    challenger, champion
        The figures of the new version and of the champion.
    lower_is_better
        Which way is better.
    """

    metric: str
    challenger: float
    champion: float
    lower_is_better: bool = True

    @property
    def better(self) -> bool:
        """Whether the new version beats the champion; never true of NaN."""
        gain = self.champion - self.challenger
        return (gain if self.lower_is_better else -gain) > 0


class Promotion(NamedTuple):
    """Whether the alias moved, and why or why not."""

    moved: bool
    reason: str


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
    better: Comparison | None = None,
    obstacle: str = "",
    force: bool = False,
    registry: str | None = None,
) -> Promotion:
    """Give a version the alias ``champion`` if it deserves it, and tag the version with the reason.

    Parameters
    ----------
    name, version
        As `track` returned them.
    better
        Offline evaluation of this version and of the champion on the same requests.
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
    current = champion(name, registry)
    promotion = _judge(version, current, better, obstacle, force=force)
    client = connect(registry)
    with registry_call(registry, f"models:/{name}/{version}"):
        tags = {"promotion": "moved" if promotion.moved else "kept", "promotion_reason": promotion.reason}
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        if promotion.moved:
            client.set_registered_model_alias(name, CHAMPION, version)
    return promotion


def _judge(version: str, current: str | None, better: Comparison | None, obstacle: str, *, force: bool) -> Promotion:
    if current == version:
        return Promotion(moved=False, reason=f"version {version} is the champion already")
    figures = obstacle or "no comparison was made"
    if better is not None:
        way = "lower" if better.lower_is_better else "higher"
        figures = f"{better.metric} {better.challenger:.6g} against {better.champion:.6g}, {way} is better"
    if current is None:
        return Promotion(moved=True, reason="there was no champion")
    if force:
        return Promotion(moved=True, reason=f"promotion was asked for; version {current} was champion; {figures}")
    if better is not None and better.better:
        return Promotion(moved=True, reason=f"better than version {current}: {figures}")
    if better is None and obstacle:
        return Promotion(moved=False, reason=f"{obstacle}; use --promote")
    return Promotion(moved=False, reason=f"not better than version {current}: {figures}")
