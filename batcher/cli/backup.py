"""`batcher backup`: a copy of the state that is whole, made while a run may be going on."""

from __future__ import annotations

import os
from pathlib import Path

import click

from batcher.assets import disk
from batcher.cli.common import Shared, shared_options
from batcher.errors import UsageError
from batcher.state.file import copy_into
from batcher.state.queries import Queries
from batcher.state.selection import Selection
from batcher.text import human_bytes


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@shared_options
def backup(shared: Shared, file: Path) -> int:
    """Copy the state into FILE, whole, also while a run is going on; a plain `cp` may copy half of it.

    An existing FILE is never overwritten. Nobody else may read the copy.
    """
    _copy(shared.state, file)
    tasks = _read(file)
    size = file.stat().st_size
    text = (
        f"{file}: {tasks} tasks, {human_bytes(size)}, opened and checked\n"
        f"next: keep it on another disk; to restore it, with no run going on, move {shared.state},"
        f" {shared.state}-wal and {shared.state}-shm away and copy it to {shared.state}"
    )
    document = {"schema": 1, "document": "backup", "file": str(file), "bytes": size, "tasks": tasks}
    shared.result(text, document)
    return 0


def _copy(state: Path, file: Path) -> None:
    """The copy takes its name only when it is whole and on the disk to stay."""
    taken = UsageError(f"{file} exists, and a backup overwrites nothing", hint="name a new file")
    if os.path.lexists(file):
        raise taken
    with disk.disk_errors(file):
        try:
            with disk.new_file(file, mode=0o600) as part:
                copy_into(state, part.path)
                _read(part.path)
        except FileExistsError as exc:
            raise taken from exc


def _read(file: Path) -> int:
    """How many tasks it holds; opening it is the check."""
    state = Queries.open(file)
    try:
        return sum(state.counts(Selection(orphaned=True)).values())
    finally:
        state.close()
