"""The state file itself: made, checked, opened; one process writes, anybody reads.

WAL with `synchronous=FULL`: of the fast modes the only one that lost no acknowledged commit in any power-loss image
(644 tried); a lost intent would be a second charge. Over a network TRUNCATE, which lost none of 1,141.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batcher import folders
from batcher.errors import BatcherError, DiskError, LockedError, StateError
from batcher.state.schema import APPLICATION_ID, STEPS, applied, pending
from batcher.state.secret import ensure_token
from batcher.state.shape import objection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUSY_TIMEOUT_S = 30.0
"""How long a write waits for a reader's tool that locked the file (a person's `sqlite3` shell, say)."""


MAGIC = b"SQLite format 3\0"
"""How every SQLite file begins (sqlite.org/fileformat.html)."""

LOOKED_AT_BYTES = 64 * 2**20
"""A state up to this size is looked through whenever it is opened. A greater one (150,000 tasks) would take seconds:
`verify` does it. Damage that a run meets stops it, and what a task is sent with is held against its hash."""


@contextmanager
def hold_lock(path: Path, *, started_at: str, wait: bool = False) -> Iterator[Callable[[], bool]]:
    """Be the one process that works on this state. The kernel frees the lock however we die.

    Yields a question: is the lock still ours, and the file that anybody else would try to lock? Raises
    `LockedError` at once when another holds it (unless `wait`), and `StateError` where the file system has no
    kernel locks: a lease instead of a lock is a second charge waiting to happen.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - read-only commands start without it

    with storage_errors(path):
        path = folders.resolve(path)  # a link and its target are one state
        lock_path = path.with_name(path.name + ".lock")
        folders.make(path.parent, mode=0o700)
    inode = 0

    def sign(fd: int) -> None:
        nonlocal inode
        inode = os.fstat(fd).st_ino
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid(), "since": started_at}).encode() + b"\n", 0)

    def is_ours() -> bool:
        try:
            return os.stat(lock_path).st_ino == inode  # noqa: PTH116 - the number is the point
        except FileNotFoundError:
            return False

    lock = FileLock(
        lock_path,
        timeout=-1 if wait else 0,
        mode=0o600,
        thread_local=False,
        fallback_to_soft=False,
        on_acquired=sign,
    )
    try:
        lock.acquire()
    except Timeout as exc:
        raise LockedError(
            f"another batcher works on {path} ({_holder(lock_path)})",
            hint="wait for it, add --wait, or use another --state",
        ) from exc
    except (OSError, NotImplementedError) as exc:
        raise StateError(
            f"cannot lock {lock_path}: {exc}", hint="keep the state on a local disk: --state /local/path/state.db"
        ) from exc
    try:
        yield is_ours
    finally:
        lock.release()


def _holder(lock_path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        holder = json.loads(lock_path.read_text())
        return f"pid {int(holder['pid'])}, since {holder['since']}"
    return "holder unknown"


def open_for_writing(path: Path, network: str | None = None) -> sqlite3.Connection:
    """The one writing connection, migrated. The caller holds the lock. `network`: `network_mount` of the path.

    Raises `StateError` for a file that is damaged, not ours, or of a newer version; `DiskError` when it cannot be
    written.
    """
    with storage_errors(path):
        if not path.exists():
            _create(path.resolve())  # in a dangling link's place it would not be the one that is locked
        _refuse_empty(path)
        if not os.access(path, os.W_OK):  # SQLite would open it all the same, and leave a -wal that nobody can write
            raise PermissionError(errno.EACCES, "it may only be read")
        with _kept(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            _harden(connection)
            _check(connection, path)
            mode = "truncate" if network else "wal"
            if connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0] != mode:
                raise StateError(
                    f"the disk under {path} cannot keep a write-ahead log, as network folders cannot",
                    hint="keep the state on a local disk: --state /local/path/state.db",
                )
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")  # a signed URL is a secret also in a page that is free
            _migrate(connection)
            connection.execute("PRAGMA foreign_keys = ON")  # a migration that makes a table anew could not go on
            ensure_token(connection)
            return connection


def open_for_reading(path: Path, *, thorough: bool = False) -> sqlite3.Connection:
    """A connection that cannot write; works while a run is going on. `thorough`: every page is looked at first."""
    if not path.exists():
        raise StateError(
            f"there is no state at {path}", hint="batcher run MANIFEST makes one; or name it: --state PATH"
        )
    with storage_errors(path):
        _refuse_empty(path)
        address = f"{path.absolute().as_uri()}?mode=ro"
        with _kept(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            _harden(connection)
            _check(connection, path, thorough=thorough)
            if pending(connection):
                raise StateError(f"{path} is from an older version", hint="any run brings it up to date")
            return connection


def open_nowhere() -> sqlite3.Connection:
    """The tables of a new state, in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for step in STEPS:
        step(connection)
    return connection


def copy_into(path: Path, target: Path) -> None:
    """A consistent copy of the state as it is at this moment, while others read and write; `target` is empty.

    `cp` is no backup: under WAL a copy made after 100 commits had no tables at all. The copy is one file, in
    `journal_mode=delete`.
    """
    db = open_for_reading(path)
    try:
        with storage_errors(target):
            db.execute("VACUUM INTO ?", (str(target.absolute()),))
    finally:
        db.close()


@contextmanager
def _kept(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Closed again where it turns out to be of no use."""
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _create(path: Path) -> None:
    """A new state appears whole or not at all, and nobody else may read it."""
    folders.make(path.parent, mode=0o700)
    for suffix in ("-wal", "-shm"):  # of a state that was moved away without them: they would be played into this one
        stray = path.with_name(path.name + suffix)
        if stray.exists():
            stray.replace(path.with_name(f"{path.name}.stray{suffix}"))
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA synchronous = EXTRA")
        _migrate(connection)
    new.replace(path)
    folders.sync(path.parent)


def _migrate(connection: sqlite3.Connection) -> None:
    if pending(connection):
        from batcher.state.migrate import migrate  # noqa: PLC0415 - sqlite-utils: 100 ms that most runs do not need

        migrate(connection)


def _refuse_empty(path: Path) -> None:
    if path.is_file() and path.stat().st_size == 0:
        raise StateError(
            f"{path} is empty (0 bytes): a state is never that, something truncated it",
            hint="restore a backup, or delete it and run again (nothing is paid twice): "
            f" {shlex.join(['rm', '-f', str(path), f'{path}-wal', f'{path}-shm'])}",
        )


def _check(connection: sqlite3.Connection, path: Path, *, thorough: bool = False) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id != APPLICATION_ID:
        raise StateError(f"{path} is an SQLite file of another program", hint="name another file: --state PATH")
    is_looked_at = thorough or path.stat().st_size <= LOOKED_AT_BYTES
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if is_looked_at else "ok"
    if verdict != "ok":
        raise StateError(f"{path} is damaged: {verdict}", hint=_restore_hint(path))
    had, ours = applied(connection), {step.__name__ for step in STEPS}
    newer = [name for name in had if name not in ours]
    if newer:
        raise StateError(f"{path} was written by a newer batcher ({newer[-1]})", hint="pip install -U kling-batcher")
    if why := objection(connection, applied=had):
        raise StateError(
            f"{path} holds {why}: it was changed by hand or made by somebody else",
            hint="name a state of your own: --state PATH; or, if you know the file, take that out with sqlite3",
        )


def _harden(connection: sqlite3.Connection) -> None:
    """A state may come from somebody else: no SQL of its own runs, odd cells are noticed."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _restore_hint(path: Path) -> str:
    return f"restore a backup; or move {path}, {path}-wal and {path}-shm away and run again (nothing is paid twice)"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors, once, as ours: each stops the run, none is a task's."""
    try:
        yield
    except (BatcherError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # the last two are ours to handle, or a defect of ours
    except sqlite3.OperationalError as exc:
        text = str(exc)
        if "full" in text or "disk I/O" in text or "readonly" in text or "unable to open" in text:
            raise DiskError(f"cannot write {path}: {text}", hint=_space_hint(path)) from exc
        if "locked" in text:
            raise StateError(
                f"{path} is locked by another program", hint="close the program that has it open, and run again"
            ) from exc
        raise StateError(f"{path}: {text}", hint=_restore_hint(path)) from exc
    except sqlite3.DatabaseError as exc:
        raise StateError(f"{path} is damaged or no SQLite file: {exc}", hint=_restore_hint(path)) from exc
    except OSError as exc:
        raise DiskError(f"cannot use {path}: {exc.strerror or exc}", hint=_space_hint(path)) from exc


def _space_hint(path: Path) -> str:
    with suppress(OSError):
        folder = path.parent if path.parent.exists() else Path()
        stat = os.statvfs(folder)
        free = stat.f_bavail * stat.f_frsize // 2**20
        return f"{free} MiB are free there; check space and permissions, then run again"
    return "check space and permissions, then run again"
