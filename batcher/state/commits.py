"""Writing durably: one commit for each change, or inside a run one for all that a tick of the event loop brings.

A commit is an fsync, 1 to 2 ms in which the loop stands still. What many walks write at the same moment therefore
goes to the disk together; each waits for it before it tells, sends or goes on.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio import lowlevel

from batcher.state.file import storage_errors
from batcher.state.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Group:
    """What is written and not yet committed."""

    error: BaseException | None = None
    """Why none of it happened."""


class Commits(Queries):
    """Adds transactions to the queries."""

    _is_grouping = False
    _group: _Group | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing. On return it is on disk; inside of `grouped` only when `durable` returns.

        BEGIN IMMEDIATE, as a deferred one can fail half-way with BUSY_SNAPSHOT.
        """
        with storage_errors(self.path):
            if self._is_grouping:
                with self._part():
                    yield
                return
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                self._db.rollback()
                raise

    @contextmanager
    def grouped(self) -> Iterator[None]:
        """In here, transactions share a commit: that of the first `durable` after them, or the one at the end."""
        self._is_grouping = True
        try:
            yield
        finally:
            self._is_grouping = False
            if self._group is not None:
                self._commit(self._group)

    async def durable(self) -> None:
        """Wait until what the caller wrote is on disk. To be awaited right after the write, and before all else.

        Who else is ready in this tick of the event loop writes first; then whoever is woken first commits for all.
        Never cancelled. Raises `DiskError` or `StateError` where the commit failed: then nothing that was written
        in this tick happened, the rows are as they were, and the same change may be tried again.
        """
        group = self._group
        if group is None:
            return
        await lowlevel.cancel_shielded_checkpoint()
        if group is self._group:
            self._commit(group)
        if group.error is not None:
            raise group.error

    @contextmanager
    def _part(self) -> Iterator[None]:
        """One transaction of the group: its failure takes no other with it."""
        if self._group is None:
            self._run("BEGIN IMMEDIATE")
            self._group = _Group()
        group = self._group
        self._run("SAVEPOINT part")
        try:
            yield
            self._run("RELEASE part")
        except BaseException as exc:
            try:
                self._run("ROLLBACK TO part")
                self._run("RELEASE part")
            except sqlite3.Error:  # a full disk or the like: SQLite has given up the whole, savepoints and all
                self._abandon(group, exc)
            raise

    def _commit(self, group: _Group) -> None:
        """Commit, or note why not."""
        try:
            with storage_errors(self.path):
                self._run("COMMIT")
        except BaseException as exc:
            self._abandon(group, exc)
            raise
        self._group = None

    def _abandon(self, group: _Group, error: BaseException) -> None:
        group.error = error
        self._group = None
        with suppress(sqlite3.Error):
            self._db.rollback()

    def _run(self, statement: str) -> None:
        self._db.execute(statement)
