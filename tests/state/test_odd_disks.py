"""Disks that cannot do what the state needs, and a process that dies while it brings the file up to date."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from functools import partial

import pytest

from batcher.errors import StateError
from batcher.state.file import hold_lock, open_for_writing
from batcher.state.schema import APPLICATION_ID, pending
from batcher.state.store import Store
from state.samples import ALL, add, want


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_kernel_locks_is_refused(path, monkeypatch, number):
    """As some network and FUSE ones answer: a lease instead of a lock is a second charge waiting to happen."""

    def flock(fd, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StateError, match="cannot lock") as refused, hold_lock(path, started_at="now"):
        pass
    assert "local disk" in refused.value.hint
    assert not path.exists()


def test_a_disk_without_shared_memory_is_refused(path, monkeypatch):
    """Without a write-ahead log an acknowledged intent may be lost with the power: no run begins on such a disk."""
    connect = sqlite3.connect

    def without_shared_memory(database, **options):
        return connect(f"file:{database}?vfs=unix-dotfile", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", without_shared_memory)
    with pytest.raises(StateError, match="write-ahead log") as refused:
        open_for_writing(path)
    assert "local disk" in refused.value.hint


def die_at(statement, path):
    """Open the state in a process that ends before this statement; False where it got through."""
    child = os.fork()
    if child == 0:
        done, connect = iter(range(statement)), sqlite3.connect

        class Dying(sqlite3.Connection):
            def execute(self, *arguments):
                if next(done, None) is None:
                    os._exit(9)
                return super().execute(*arguments)

        sqlite3.connect = partial(connect, factory=Dying)
        try:
            open_for_writing(path)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_at_any_statement_of_an_upgrade_the_next_run_completes_it(path):
    """A migration is one transaction with the note that it was made."""
    statement = 0
    while True:
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as older:
            older.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        died = die_at(statement, path)
        with closing(Store(path)) as store:
            assert pending(store.connection) == []
            assert add(store, want())
            assert len(store.tasks(ALL)) == 1
        if not died:
            break
        statement += 1
    assert statement > 20
