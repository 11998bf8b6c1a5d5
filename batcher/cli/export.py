"""`batcher export`: tasks and clips as a table, for spreadsheets and data tools."""

from __future__ import annotations

import csv
import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.assets import disk
from batcher.assets.folder import Folder
from batcher.cli.common import Shared, jobs_named, shared_options
from batcher.errors import UsageError
from batcher.prepare import root_of
from batcher.report.document import plain, to_json
from batcher.report.table import COLUMNS, record, spreadsheet_row
from batcher.state.cells import cells
from batcher.state.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@click.command()
@click.argument("job", required=False)
@click.option(
    "--to", "form", type=click.Choice(["csv", "jsonl"]), required=True, help="A spreadsheet, or JSON Lines."
)
@click.option("-o", "--out", "file", type=click.Path(path_type=Path), help="Into this new file.  [standard output]")
@shared_options
def export(shared: Shared, job: str | None, *, form: str, file: Path | None) -> int:
    """Write a row for each task of JOB, or of all: prompt, parameters, ids, cost, and where its clip is.

    Works while a run is going on, and row by row, however many there are. An existing file is never overwritten.
    """
    state = Queries.open(shared.state)
    try:
        jobs = jobs_named(state, job)
        with _sink(file) as write:
            if form == "csv":
                write(_line(list(COLUMNS)))
            for each in jobs:
                folder = Folder(root_of(each, state.path), each.folder)
                for row in cells(state, job=each.job, scope=each.scope):
                    path = None if row["path"] is None else str(folder.shown(row["path"]))
                    told = record(row, job=each.job, file=path, simulated=each.scope == "simulator")
                    write(_line(spreadsheet_row(told)) if form == "csv" else f"{to_json(plain(told))}\n")
    finally:
        state.close()
    return 0


def _line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()


@contextmanager
def _sink(file: Path | None) -> Iterator[Callable[[str], object]]:
    """Where rows go, as UTF-8. A file takes its name only when all of it is there."""
    if file is None:
        out = sys.stdout.buffer
        yield lambda text: out.write(text.encode())
        out.flush()
        return
    taken = UsageError(f"{file} exists, and an export overwrites nothing", hint="name a new file")
    if os.path.lexists(file):
        raise taken
    with disk.disk_errors(file):
        try:
            with disk.new_file(file) as part:
                yield lambda text: part.sink.write(text.encode())
        except FileExistsError as exc:
            raise taken from exc
