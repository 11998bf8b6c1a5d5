"""One connection to a state: rows out, statements in, and tasks with what they share. Floor of all that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.state.file import open_for_reading, open_nowhere, storage_errors
from batcher.state.rows import parameters_of, task_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from typing import Self

    from batcher.tasks import Task

_MOST_SHARED = 10_000
"""Rows of `parameters` that are kept read. A job has a handful, unless a prompt has parameters of its own."""


class Tables:
    """A connection."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        self.run_id: str | None = None
        self._shared: dict[int, Mapping[str, Any]] = {}

    @classmethod
    def open(cls, path: Path, *, thorough: bool = False) -> Self:
        """`thorough`: a great file is looked through, too, and not only a small one."""
        return cls(open_for_reading(path, thorough=thorough), path)

    @classmethod
    def empty(cls) -> Self:
        """A state that knows nothing and lies nowhere: what there is before the first run."""
        return cls(open_nowhere(), Path("state.db"))

    def close(self) -> None:
        self._db.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """For the rooms of the state alone."""
        return self._db

    def rows(self, statement: str, parameters: Any = ()) -> Iterator[dict[str, Any]]:
        """The rows of a question that only the rooms of the state know how to ask, one by one."""
        with storage_errors(self.path):
            cursor = self._db.execute(statement, parameters)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    def _rows(self, statement: str, parameters: Any = ()) -> list[dict[str, Any]]:
        return list(self.rows(statement, parameters))

    def _value(self, statement: str, parameters: Any = ()) -> Any:
        """The first column of the first row; None where there is none."""
        with storage_errors(self.path):
            row = self._db.execute(statement, parameters).fetchone()
        return row[0] if row else None

    def _execute(self, statement: str, parameters: Any = ()) -> None:
        with storage_errors(self.path):
            self._db.execute(statement, parameters)

    def _tasks(self, statement: str, parameters: Any = ()) -> list[Task]:
        """Whole rows of `tasks` as values."""
        return [self._task(row) for row in self._rows(statement, parameters)]

    def stream(self, statement: str, parameters: Any = ()) -> Iterator[Task]:
        """The same one by one, where there may be a million. Nothing may be written until it is read to its end."""
        return (self._task(row) for row in self.rows(statement, parameters))

    def _task(self, row: Mapping[str, Any]) -> Task:
        number = row["parameters"]
        if number not in self._shared:
            if len(self._shared) >= _MOST_SHARED:
                self._shared.clear()
            self._shared[number] = parameters_of(
                number, self._value("SELECT request FROM parameters WHERE id = ?", (number,))
            )
        return task_of(row, self._shared[number])
