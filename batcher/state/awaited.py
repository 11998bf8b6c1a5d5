"""What a receiver of callbacks may ask of a state, without writing to it: its token, and which ids are awaited."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batcher.errors import BatcherError, StateError
from batcher.state.counters import OPEN
from batcher.state.file import open_for_reading, storage_errors
from batcher.state.secret import token_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path


class Awaited:
    """A state that may be deleted and made anew meanwhile: the file at the path counts. For one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def token(self) -> str:
        """The token of the state. Raises `StateError` or `DiskError` where it cannot be read."""
        db = self._current()
        with storage_errors(self.path):
            token = token_of(db)
        if token is None:
            raise StateError(f"{self.path} has no callback token", hint="any run on this state makes one")
        return token

    def ours(self, ids: Iterable[str]) -> list[str]:
        """Our ids of the tasks that are open under these ids, the provider's or ours. None if nobody can tell."""
        found: dict[str, None] = {}
        try:
            db = self._current()
            with storage_errors(self.path):
                for each in ids:
                    for (ours,) in db.execute(
                        f"SELECT external_task_id FROM tasks WHERE {OPEN}"
                        " AND (generation_id = ? OR external_task_id = ?)",
                        (each, each),
                    ):
                        found[ours] = None
        except BatcherError:
            self.close()
        return list(found)

    def close(self) -> None:
        """Let the file go; it is opened again when it is asked for."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _current(self) -> sqlite3.Connection:
        with storage_errors(self.path):
            inode = os.stat(self.path).st_ino if self.path.exists() else -1  # noqa: PTH116 - the number is the point
        if self._db is None or inode != self._inode:
            self.close()
            self._db, self._inode = open_for_reading(self.path), inode
        return self._db
