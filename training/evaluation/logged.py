"""An evaluation as the registry keeps it: figures, a line on what was evaluated, and the whole as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from training.evaluation.metrics import FIGURES, LEARNED, NO_BASELINES
from training.evaluation.results import Comparison
from training.tracking.evaluations import log_evaluation

PREFIX = "evaluation."


def log_comparison(
    comparison: Comparison, source: str | Path, *, registry: str | None = None, page: Path | None = None
) -> str | None:
    """Log an evaluation, and its page if there is one, to the run of the evaluated version.

    Parameters
    ----------
    source
        The model as it was named for the evaluation.

    Returns
    -------
    str or None
        The URI of the version; None for an artifact that is not registered.

    Raises
    ------
    RegistryError
        The registry cannot be reached.
    """
    documents: dict[str, str | Path] = {
        "evaluation/evaluation.json": msgspec.json.format(msgspec.json.encode(comparison.to_json())).decode()
    }
    if page is not None:
        documents[f"report/{page.name}"] = page
    return log_evaluation(
        source, metrics=_metrics(comparison), tags=_tags(comparison), documents=documents, registry=registry
    )


def _metrics(comparison: Comparison) -> dict[str, float]:
    """Return the model's figures, those of the best baseline, and the mean cost of every policy."""
    scores = comparison.policies
    found = {f"{PREFIX}{figure}": float(getattr(scores[LEARNED], figure)) for figure in FIGURES}
    names = [name for name in scores if name not in NO_BASELINES]
    best = min(names, key=lambda name: scores[name].mean)
    found |= {f"{PREFIX}best_baseline.{f}": float(getattr(scores[best], f)) for f in ("mean", "mean_log", "fail")}
    return found | {f"{PREFIX}mean_cost.{name}": float(score.mean) for name, score in scores.items()}


def _tags(comparison: Comparison) -> dict[str, str]:
    cold = f", cold {comparison.cold}" if comparison.cold else ""
    seeds = "1 seed" if comparison.seeds == 1 else f"{comparison.seeds} seeds"
    made = comparison.conditions
    asked = "" if made is None else f", {made.candidates} candidates, {made.requests} requests of a client in a slice"
    evaluated = f"{comparison.n:,} decisions on {comparison.data}{asked}, {seeds}{cold}"
    scores = comparison.policies[LEARNED]
    return {
        "evaluated": evaluated,
        "gap_closed": f"{scores.gap_closed:.4f}",
        "regret": f"{scores.regret:.4f}",
        "mean_cost": f"{scores.mean:.6g}",
    }
