"""Versions of a registered model: each stands in the registry with what became of the champion, or not at all.

A version is made together with its tags. One that shall be champion is made as `PENDING`, then gets the alias, then its
final tags: whatever fails on the way is undone, and what a killed process left is settled by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo

CHAMPION: Final = "champion"

MOVED: Final = "moved"
KEPT: Final = "kept"
CANNOT_BE_TOLD: Final = "cannot be told"
PENDING: Final = "pending"
"""What became of the alias, the tag ``promotion`` of a version: it moved to the version; the champion kept it because
it is as good or better; the champion kept it because the two could not be compared; that is not decided yet."""

_TAG, _REASON, _TIME = "promotion", "promotion_reason", "promotion_time"
_INTERRUPTED = "the process that registered it ended before it was decided"


class Promotion(NamedTuple):
    """What became of the alias champion, one of `MOVED`, `KEPT` and `CANNOT_BE_TOLD`, and why."""

    outcome: str
    reason: str

    @property
    def moved(self) -> bool:
        """Whether the version is champion now."""
        return self.outcome == MOVED

    def tags(self) -> dict[str, str]:
        """Return what a version says of it, and when that was."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        return {_TAG: self.outcome, _REASON: self.reason, _TIME: now}


UNDECIDED: Final = Promotion(PENDING, "registered; nobody has decided on it yet")


def create_version(
    client: MlflowClient,
    name: str,
    info: ModelInfo,
    labels: Mapping[str, str],
    decide: Callable[[str | None], Promotion],
    description: str = "",
) -> tuple[str, Promotion]:
    """Make a logged model the next version of its name, which is made on first use, and move the alias if so decided.

    Parameters
    ----------
    labels
        Tags of the version, besides those of its promotion.
    decide
        Called with the champion's version, None where there is none, before anything changes; may answer `UNDECIDED`.
    description
        Of the version, in Markdown.

    Returns
    -------
    tuple
        The version's number, and the decision.

    Raises
    ------
    Exception
        What mlflow raises. The version is gone then, and the alias is where it was.
    """
    settle_interrupted(client, name)
    current = find_champion(client, name)
    promotion = decide(current)
    first = promotion._replace(outcome=PENDING) if promotion.moved else promotion
    made_name = _make_name(client, name)
    try:
        version = client.create_model_version(
            name,
            info.model_uri,
            run_id=info.run_id,
            tags={**labels, **first.tags()},
            description=description,
            model_id=info.model_id,
        )
        if promotion.moved:
            client.set_registered_model_alias(name, CHAMPION, version.version)
            _set_tags(client, name, str(version.version), promotion)
    except BaseException as error:
        _undo(client, name, str(info.run_id), current, error, with_name=made_name)
        raise
    return str(version.version), promotion


def set_promotion(client: MlflowClient, name: str, version: str, promotion: Promotion, current: str | None) -> None:
    """Move the alias to an existing version if so decided, and tag the version; the alias goes back if that fails."""
    try:
        if promotion.moved:
            client.set_registered_model_alias(name, CHAMPION, version)
        _set_tags(client, name, version, promotion)
    except BaseException:
        if promotion.moved:
            _move_back(client, name, current)
        raise


def find_champion(client: MlflowClient, name: str) -> str | None:
    """Return the number of the version in charge; None where there is none, or no model of that name."""
    for model in client.search_registered_models(filter_string=f"name = '{name}'"):
        found = model.aliases.get(CHAMPION)
        return None if found is None else str(found)
    return None


def find_version(client: MlflowClient, name: str, labels: Mapping[str, str]) -> ModelVersion | None:
    """Return the version that is this very artifact of the same data, with its files; None if there is none."""
    digest = labels["artifact_digest"]
    for found in client.search_model_versions(f"name = '{name}' and tags.artifact_digest = '{digest}'"):
        if found.tags.get("data_digest") == labels["data_digest"] and _has_files(found):
            return found
    return None


def _has_files(version: ModelVersion) -> bool:
    """Tell whether a version's files are still in the registry; one that lost them is registered anew."""
    from mlflow.artifacts import list_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return bool(list_artifacts(version.source))
    except (MlflowException, OSError):
        return False


def keep_version(client: MlflowClient, name: str, version: str, decide: Callable[[str | None], Promotion]) -> Promotion:
    """Decide on a version that is registered already; its tags change only where it becomes champion."""
    settle_interrupted(client, name)
    current = find_champion(client, name)
    if current == version:
        return Promotion(KEPT, f"version {version} is this very model and the champion already")
    promotion = decide(current)
    if promotion.moved:
        set_promotion(client, name, version, promotion, current)
        return promotion
    return promotion._replace(reason=f"version {version} is this very model already; {promotion.reason}")


def settle_interrupted(client: MlflowClient, name: str) -> None:
    """Say of versions that a process left undecided what the alias says of them.

    A living process that has not decided yet writes its own decision over it later.
    """
    champion = find_champion(client, name)
    for found in client.search_model_versions(f"name = '{name}' and tags.{_TAG} = '{PENDING}'"):
        if str(found.version) == champion:
            promotion = Promotion(MOVED, found.tags.get(_REASON, _INTERRUPTED))
        else:
            promotion = Promotion(CANNOT_BE_TOLD, _INTERRUPTED)
        _set_tags(client, name, str(found.version), promotion)


def _set_tags(client: MlflowClient, name: str, version: str, promotion: Promotion) -> None:
    # The reason first: while the outcome says pending, the version is one that the next process settles.
    for key, value in reversed(promotion.tags().items()):
        client.set_model_version_tag(name, version, key, value)


def _make_name(client: MlflowClient, name: str) -> bool:
    """Make a registered model unless it is there; return whether this made it."""
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(filter_string=f"name = '{name}'"):
        return False
    try:
        client.create_registered_model(name)
    except MlflowException as error:  # of a server, where another process was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def _undo(
    client: MlflowClient, name: str, run_id: str, current: str | None, error: BaseException, *, with_name: bool
) -> None:
    """Take back what stands of a registration that failed; where that fails too, the next process settles it."""
    try:
        _move_back(client, name, current)
        for left in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
            client.delete_model_version(name, str(left.version))
        if with_name and not client.search_model_versions(f"name = '{name}'"):
            client.delete_registered_model(name)
        client.set_terminated(run_id, "FAILED")
    except Exception as second:  # noqa: BLE001 - the first error is the one to raise
        error.add_note(f"what was registered of {name} could not be taken back ({second})")


def _move_back(client: MlflowClient, name: str, current: str | None) -> None:
    if find_champion(client, name) == current:
        return
    if current is None:
        client.delete_registered_model_alias(name, CHAMPION)
    else:
        client.set_registered_model_alias(name, CHAMPION, current)
