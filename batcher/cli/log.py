"""A run's lines in a file as well, whatever the terminal shows: `--log-file`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batcher.cli.progress import VERBOSE, PlainProgress
from batcher.errors import DiskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

    from batcher.cli.progress import Progress
    from batcher.events import Event, Snapshot


@contextmanager
def open_log(path: Path) -> Iterator[TextIO]:
    """Open a log to append to, for nobody else to read; raise `DiskError` where that is not possible."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise DiskError(
            f"cannot write the log {path}: {exc.strerror or exc}", hint="name another file: --log-file PATH"
        ) from exc
    with os.fdopen(fd, "a", encoding="utf-8") as log:
        yield log


class Logged:
    """A view of a run, and beside it every event as a dated line."""

    def __init__(self, view: Progress, log: TextIO) -> None:
        self._views: tuple[Progress, Progress] = (view, PlainProgress(log, loudness=VERBOSE))

    @property
    def broken(self) -> bool:
        return all(view.broken for view in self._views)

    def start(self, snapshot: Callable[[], Snapshot]) -> None:
        for view in self._views:
            view.start(snapshot)

    def event(self, event: Event) -> None:
        for view in self._views:
            view.event(event)

    def tick(self) -> None:
        for view in self._views:
            view.tick()

    def close(self) -> None:
        for view in self._views:
            view.close()
