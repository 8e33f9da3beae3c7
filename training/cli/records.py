"""``fogline records``, ``fogline replay`` and ``fogline dataset``: what a scheduler wrote down of its decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.cli.options import Json, Registry, Wide, load_model
from training.cli.output import print_json, progress_bar
from training.cli.places import check_folder
from training.cli.records_tables import arms, differing, segments, skipped
from training.cli.table import print_sentence, print_table

if TYPE_CHECKING:
    from scheduler.audit.replay import ReplayReport
    from scheduler.decisions.record.read import SegmentReader

SHOWN = 20
"""Differences in a table; JSON has more."""

Records = Annotated[Path, typer.Argument(metavar="RECORDS", help="Folder that Scheduler.record wrote to.")]


def records(records: Records, wide: Wide = False, json: Json = False) -> None:
    """Show what is recorded: segments, rows, times, models and policies."""
    from scheduler.decisions.record.read import read_segments

    found = [_segment(segment) for segment in read_segments(records)]
    if json:
        print_json({"segments": found})
        return
    print_table(segments(found), wide=wide)


def replay(
    records: Records,
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Artifact folder, models:/NAME@ALIAS or models:/NAME/VERSION; one for each version that decided.",
        ),
    ],
    registry: Registry = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Decide every full record again and compare bit for bit; exit code 1 unless all are the same."""
    from scheduler.audit.replay import replay as replay_records
    from scheduler.errors import RecordError

    loaded = [load_model(one, registry) for one in model]
    with progress_bar(json) as progress:
        report = replay_records(records, loaded, lambda done, of: progress("replay", done, of))
    if not report.decided and not report.skipped:
        raise RecordError(f"{records}: expected decisions that were recorded in full, found none")
    if json:
        print_json(_plain(report))
    else:
        _print(report, wide=wide)
    if not report.is_identical:
        raise typer.Exit(1)


def _segment(segment: SegmentReader) -> dict[str, Any]:
    """Return what there is of a segment, as JSON has it."""
    from scheduler.decisions.record.columns import n_rows
    from scheduler.decisions.record.segment import TABLES

    rows, torn, times, used = Counter[str](), 0, list[float](), Counter[int]()
    for table in TABLES:
        for columns in segment.batches(table):
            rows[table] += n_rows(columns)
            if table == "decisions":
                decided: Any = columns
                times += [float(decided["time"].min()), float(decided["time"].max())]
                used.update(decided["arm"].tolist())
        torn += segment.torn(table).rows
    manifest = segment.manifest
    return {
        "segment": segment.path.name,
        "closed": manifest.closed,
        "rows": {table: rows[table] for table in TABLES},
        "torn": torn,
        "first_time": min(times, default=None),
        "last_time": max(times, default=None),
        "bytes": sum(file.stat().st_size for file in segment.path.iterdir()),
        "arms": [
            {
                "model": f"{arm.name}-{arm.version}",
                "fingerprint": arm.fingerprint,
                "policy": arm.policy,
                "decisions": used[arm.arm],
            }
            for arm in manifest.arms
        ],
    }


def _plain(report: ReplayReport) -> dict[str, Any]:
    return {
        **report._asdict(),
        "identical_all": report.is_identical,
        "differences": [one._asdict() for one in report.differences],
        "arms": [one._asdict() for one in report.arms],
    }


def _print(report: ReplayReport, *, wide: bool) -> None:
    print_table(arms(report.arms), wide=wide)
    if report.differences:
        print_table(differing(report.differences[:SHOWN]), wide=wide)
    if report.skipped:
        print_table(skipped(report.skipped), wide=wide)
    n_other = report.decided - report.identical
    print_sentence(
        f"{report.identical:,} of {report.decided:,} decisions are identical, bit for bit; {n_other:,} differ, "
        f"{sum(report.skipped.values()):,} records could not be replayed."
    )


def dataset(
    records: Records,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Telemetry directory to write.")],
    origin: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="When slice 0 begins. Default: the slice of the first decision is 0."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write to a folder that is not empty; its three files are replaced.")
    ] = False,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Write what was recorded as a telemetry directory that check and train read."""
    from training.telemetry.records.dataset import write_dataset

    check_folder(out, "telemetry")
    with progress_bar(json) as progress:
        report = write_dataset(
            records, out, origin=origin, force=force, progress=lambda done, of: progress("read", done, of)
        )
    if json:
        print_json(asdict(report) | {"folder": str(out)})
        return
    print_sentence(
        f"{report.rows:,} rows of {report.decisions:,} decisions: {report.clients:,} clients, {report.nodes:,} nodes. "
        f"{report.timeouts:,} timeouts, {report.late:,} late outcomes; {report.missing:,} chosen nodes have no outcome."
    )
    for n, what in (
        (report.nodes_unknown, "nodes without columns: they were told before what is recorded"),
        (report.unnamed, "categories without a name are null"),
    ):
        if n:
            print_sentence(f"{n:,} {what}.")
    if report.skipped:
        print_table(skipped(report.skipped, "Left out"), wide=wide)
    print_sentence(
        f"Now: fogline check {out} --spec SPEC, where SPEC is that of {report.spec} without its section [raw], if it "
        "has one: these columns have the spec's names."
    )
