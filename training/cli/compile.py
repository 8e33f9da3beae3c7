"""``fogline compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import Json, Registry
from training.cli.output import print_json
from training.cli.places import registry_of
from training.cli.table import print_text


def compile_kernels(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Artifact folder, or models:/NAME@ALIAS or models:/NAME/VERSION, whose types to compile for; may be "
            "given several times. Default: the types that all models have.",
        ),
    ] = None,
    cpu: Annotated[
        str,
        typer.Option(
            metavar="generic|x86-64-v3|native|NAME",
            help="Processor: any of this architecture, a level of x86-64, this machine's, or LLVM's name of one.",
        ),
    ] = "native",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make. Default: in the installed package, where it is found without a setting."),
    ] = None,
    registry: Registry = None,
    json: Json = False,
) -> None:
    """Compile every kernel into a folder that an image carries, so that a container's first decision does not wait."""
    from training.artifacts.compile_kernels import compile_into_folder

    found = compile_into_folder(model or [], cpu=cpu, out=out, registry=registry_of(registry))
    if json:
        print_json(found.to_json())
        return
    size = f"{found.kernels} kernels for {found.processor}, {found.megabytes:.0f} MB"
    print_text(f"{size}, in {found.seconds:.0f} s: {found.folder}")
    if found.setting:
        print_text(f"Set NUMBA_CACHE_DIR={found.folder} where they are to be used.")
