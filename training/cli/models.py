"""``fogline models``: what the registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.examples import EXAMPLES, epilog
from training.cli.models_tables import comparison, figures, versions
from training.cli.options import Json, Registry, Wide
from training.cli.output import print_json
from training.cli.places import registry_of
from training.cli.table import print_sentence, print_table, print_text

if TYPE_CHECKING:
    from training.tracking.listing import VersionInfo

models = typer.Typer(
    name="models",
    help="Show registered models (versions, aliases, figures, promotions) and put one in charge.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=epilog(EXAMPLES["models"]),
)

Version = Annotated[str, typer.Argument(metavar="MODEL", help="NAME (its newest version), NAME/VERSION or NAME@ALIAS.")]


@models.command("list", epilog=epilog(EXAMPLES["models list"]))
def list_models(registry: Registry = None, wide: Wide = False, json: Json = False) -> None:
    """List every version of every model, the newest first."""
    from training.tracking.listing import list_versions

    found = list_versions(registry_of(registry))
    if json:
        print_json({"versions": [one._asdict() for one in found]})
        return
    print_table(versions(found), wide=wide)


@models.command("show", epilog=epilog(EXAMPLES["models show"]))
def show(model: Version, registry: Registry = None, wide: Wide = False, json: Json = False) -> None:
    """Show one version: its window, its figures, and what was promoted when and why."""
    from training.tracking.listing import list_versions, one_version

    uri = registry_of(registry)
    one = one_version(model, uri)
    others = list_versions(uri, one.name)
    if json:
        print_json({**one._asdict(), "promotions": [_promotion(other) for other in others]})
        return
    aliases = f" ({', '.join(one.aliases)})" if one.aliases else ""
    print_sentence(f"{one.uri}{aliases}: artifact {one.artifact}, registered {one.created}, run {one.run_id}\n")
    window = ", ".join(f"{name} {value}" for name, value in one.window.items())
    print_sentence(f"Trained on data {one.data[:12]}: {window}.")
    if one.evaluated:
        print_sentence(f"Evaluated on {one.evaluated}.")
    print_text("")
    print_table(figures(one), wide=wide)
    for other in others:
        if other.promotion:
            when = f" at {other.promoted}" if other.promoted else ""
            print_sentence(f"Version {other.version}: champion {other.promotion}{when}: {other.reason}.")


def _promotion(one: VersionInfo) -> dict[str, str]:
    return {"version": one.version, "promotion": one.promotion, "time": one.promoted, "reason": one.reason}


@models.command("promote", epilog=epilog(EXAMPLES["models promote"]))
def promote(
    model: Version,
    alias: Annotated[
        str, typer.Option(metavar="ALIAS", help="Another alias to lead there, such as challenger.")
    ] = "champion",
    registry: Registry = None,
    json: Json = False,
) -> None:
    """Put a version in charge, whatever comparisons said: a release, or with an earlier version the way back."""
    from training.pipeline.promotion import CHAMPION, Promotion, set_alias
    from training.pipeline.promotion import promote as make_champion
    from training.tracking.listing import one_version
    from training.tracking.versions import MOVED

    uri = registry_of(registry)
    one = one_version(model, uri)
    if alias == CHAMPION:
        found = make_champion(one.name, one.version, force=True, registry=uri)
    else:
        set_alias(one.name, one.version, alias, uri)
        found = Promotion(MOVED, "asked for")
    if json:
        print_json({"model": one.uri, "alias": alias, "promoted": found.moved, "reason": found.reason})
        return
    print_sentence(f"{one.name}@{alias} is version {one.version}: {found.reason}.")


@models.command("compare", epilog=epilog(EXAMPLES["models compare"]))
def compare(a: Version, b: Version, registry: Registry = None, wide: Wide = False, json: Json = False) -> None:
    """Set the figures of two versions beside each other."""
    from training.tracking.listing import one_version

    uri = registry_of(registry)
    first, second = one_version(a, uri), one_version(b, uri)
    if json:
        print_json({"a": first._asdict(), "b": second._asdict()})
        return
    print_table(comparison(first, second), wide=wide)
    for one in (first, second):
        told = f"evaluated on {one.evaluated}" if one.evaluated else "never evaluated"
        print_sentence(f"{one.uri}: data {one.data[:12]}, {told}.")
    if first.evaluated and second.evaluated and first.evaluated != second.evaluated:
        print_sentence("Warning: the two were evaluated on different requests, so those figures do not compare.")
