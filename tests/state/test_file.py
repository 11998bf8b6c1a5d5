from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from batcher.errors import DiskError, LockedError, StateError
from batcher.state.file import hold_lock, open_for_reading, open_for_writing
from batcher.state.queries import Queries
from batcher.state.schema import APPLICATION_ID, pending
from batcher.state.store import Store
from state.samples import ALL, add, want

AT = "2026-11-22T13:06:33.120Z"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# ---- the file -----------------------------------------------------------------------------------------------------


def test_a_new_state_is_for_its_owner_only(path):
    """It says what was bought; the default would let everybody read it."""
    previous = os.umask(0)
    try:
        with hold_lock(path, started_at=AT), closing(Store(path)) as store:
            add(store, want())
            made = {file.name: mode(file) for file in path.parent.iterdir()}
    finally:
        os.umask(previous)
    assert made == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm", "state.db.lock"], 0o600)


def test_a_state_is_made_with_its_folder(tmp_path):
    with closing(Store(tmp_path / "a" / "b" / "state.db")) as store:
        assert store.tasks(ALL) == []


def test_what_a_killed_creation_left_behind_is_no_obstacle(path):
    """A new state appears whole or not at all."""
    path.with_name("state.db.new").write_bytes(b"half a file")
    with closing(Store(path)) as store:
        assert add(store, want())
    assert not path.with_name("state.db.new").exists()


def test_a_new_state_does_not_play_the_journal_of_another(path):
    """Somebody moved `state.db` away and left its `-wal` behind: what was in it is kept, aside."""
    with closing(Store(path)) as store:
        add(store, want("theirs"))
        journals = {suffix: path.with_name(f"state.db{suffix}").read_bytes() for suffix in ("-wal", "-shm")}
    path.unlink()
    for suffix, data in journals.items():
        path.with_name(f"state.db{suffix}").write_bytes(data)
    with closing(Store(path)) as store:
        assert store.tasks(ALL) == []
        assert [task.name for task in add(store, want("ours"))] == ["ours"]
    with closing(Store(path)) as store:
        assert [task.name for task in store.tasks(ALL)] == ["ours"]
    for suffix, data in journals.items():
        assert path.with_name(f"state.db.stray{suffix}").read_bytes() == data


def test_a_state_behind_a_link_is_made_where_the_link_leads(path, tmp_path):
    """In the link's place it would be another state than the one that is locked."""
    real = tmp_path / "elsewhere" / "real.db"
    real.parent.mkdir()
    path.symlink_to(real)
    with closing(Store(path)) as store:
        add(store, want())
    assert path.is_symlink()
    with closing(Store(real)) as store:
        assert len(store.tasks(ALL)) == 1


def test_commits_are_durable_and_foreign_keys_are_held(path):
    with closing(open_for_writing(path)) as db:
        names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "cell_size_check", "application_id")
        settings = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "application_id": APPLICATION_ID,
    }


def open_files(path):
    """How often this process has a file open."""
    return sum(os.path.realpath(entry) == str(path) for entry in Path("/proc/self/fd").iterdir())


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux lists them")


@needs_proc
def test_a_store_has_one_connection(store, path):
    """Some versions of SQLite corrupt a WAL that two connections write to."""
    add(store, want())
    assert open_files(path) == 1 + 1  # the other is what `check_alive` reads


def test_a_store_works_from_one_thread(store):
    """Shared between threads, sqlite-utils loses acknowledged writes."""
    with ThreadPoolExecutor(1) as threads, pytest.raises(sqlite3.ProgrammingError):
        threads.submit(store.jobs).result()


def test_reading_goes_on_while_a_run_writes_and_cannot_write(store, path):
    add(store, want())
    with closing(Queries.open(path)) as state:
        assert [task.name for task in state.tasks(ALL)] == ["fox"]
        with store.transaction():
            store._execute("UPDATE tasks SET name = 'owl'")
            assert [task.name for task in state.tasks(ALL)] == ["fox"]
        assert [task.name for task in state.tasks(ALL)] == ["owl"]
        with pytest.raises(DiskError, match="readonly"):
            state._execute("UPDATE tasks SET name = 'elk'")


# ---- files that are not a state of ours ---------------------------------------------------------------------------


def foreign(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")


def truncated(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("version: 1\n" * 200)


def damaged(path):
    with closing(Store(path)) as store:
        add(store, *(want(f"clip-{n}") for n in range(200)))
    data = bytearray(path.read_bytes())
    data[8192:-4096] = bytes(len(data) - 8192 - 4096)
    path.write_bytes(data)


def cut(path):
    damaged(path)
    path.write_bytes(path.read_bytes()[:5000])


def newer(path):
    with closing(Store(path)) as store:
        store._execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('batcher', 'm999_colours', '')"
        )


BROKEN = pytest.mark.parametrize(
    ("breakage", "message", "hint"),
    [
        (foreign, "SQLite file of another program", "--state PATH"),
        (truncated, r"empty \(0 bytes\)", "nothing is paid twice"),
        (text, "damaged or no SQLite file", "state.db-wal"),
        (damaged, "damaged", "nothing is paid twice"),
        (cut, "damaged", "nothing is paid twice"),
        (newer, r"newer batcher \(m999_colours\)", "pip install -U"),
    ],
)


@BROKEN
@pytest.mark.parametrize("opened", [open_for_writing, open_for_reading])
def test_a_file_that_is_no_whole_state_of_ours_is_refused_and_left_alone(path, breakage, message, hint, opened):
    breakage(path)
    before = path.read_bytes()
    with pytest.raises(StateError, match=message) as refused:
        opened(path)
    assert refused.value.exit_code == 78
    assert str(path) in refused.value.message
    assert hint in refused.value.hint
    assert path.read_bytes() == before


@needs_proc
@pytest.mark.parametrize("breakage", [foreign, damaged, newer])
@pytest.mark.parametrize("opened", [open_for_writing, open_for_reading])
def test_a_refused_file_is_let_go(path, breakage, opened):
    """Closed at once, not whenever the error is forgotten."""
    breakage(path)
    with pytest.raises(StateError) as refused:
        opened(path)
    assert open_files(path) == 0, refused


def older(path):
    """As a version before the first migration would have left it."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def test_an_older_state_is_brought_up_to_date_by_a_run_only(path):
    older(path)
    with pytest.raises(StateError, match="older version") as refused:
        open_for_reading(path)
    assert "any run" in refused.value.hint
    with closing(Store(path)) as store:
        assert add(store, want())
    with closing(open_for_reading(path)) as db:
        assert pending(db) == []


def test_reading_makes_no_state(path):
    with pytest.raises(StateError, match="there is no state"):
        open_for_reading(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("opened", [open_for_writing, open_for_reading])
def test_a_folder_in_its_place_is_named(path, opened):
    path.mkdir()
    with pytest.raises(DiskError, match=r"state\.db"):
        opened(path)


def test_a_status_somebody_made_up_is_refused_by_the_file_and_by_us(store, path):
    add(store, want())
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        store._execute("UPDATE tasks SET status = 'bought'")
    store._execute("UPDATE parameters SET request = 'no json'")
    with (
        closing(Queries.open(path)) as other,
        pytest.raises(StateError, match="row 1 of parameters in the state cannot be read") as refused,
    ):
        other.tasks(ALL)
    assert "edited by hand" in refused.value.hint


# ---- it vanishes --------------------------------------------------------------------------------------------------


def test_a_deleted_state_is_noticed_before_anything_more_is_bought(store, path):
    """SQLite goes on writing into the nameless file without an error."""
    [task] = add(store, want())
    store.check_alive()
    path.unlink()
    store.claim(task, now=0.0)
    with pytest.raises(StateError, match="deleted or replaced"):
        store.check_alive()


def test_a_replaced_state_is_noticed(store, path, tmp_path):
    with closing(Store(tmp_path / "other.db")):
        pass
    (tmp_path / "other.db").replace(path)
    with pytest.raises(StateError, match="deleted or replaced") as refused:
        store.check_alive()
    assert refused.value.exit_code == 78


@pytest.mark.parametrize("harm", ["deleted", "replaced"])
def test_a_lock_that_others_would_not_meet_is_no_lock(path, harm):
    """A second run would lock a file of its own, and both would buy: the first one stops before its next call."""
    lock = path.with_name("state.db.lock")
    with hold_lock(path, started_at=AT) as is_locked, closing(Store(path, is_locked=is_locked)) as store:
        store.check_alive()
        lock.unlink()
        if harm == "replaced":
            with hold_lock(path, started_at=AT):
                pass
        with pytest.raises(StateError, match="its lock was deleted or replaced"):
            store.check_alive()


# ---- one run at a time --------------------------------------------------------------------------------------------

HOLD = """
import sys, pathlib
from batcher.state.file import hold_lock
with hold_lock(pathlib.Path(sys.argv[1]), started_at="2026-11-22T13:06:33.120Z"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(path):
    """Another process that has the lock, until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_at_once_and_told_who_works_there(holder, path):
    with pytest.raises(LockedError, match=f"pid {holder.pid}, since {AT}") as refused, hold_lock(path, started_at=AT):
        pass
    assert refused.value.exit_code == 4
    assert "--wait" in refused.value.hint


def test_the_lock_of_a_killed_process_is_free(holder, path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold_lock(path, started_at=AT):
        assert json.loads(path.with_name("state.db.lock").read_text()) == {"pid": os.getpid(), "since": AT}


WAIT = """
import sys, pathlib
from batcher.errors import LockedError
from batcher.state.file import hold_lock
path = pathlib.Path(sys.argv[1])
try:
    hold_lock(path, started_at="").__enter__()
except LockedError:
    print("refused", flush=True)
with hold_lock(path, started_at="", wait=True):
    print("held", flush=True)
"""


def test_a_waiting_process_gets_its_turn(holder, path):
    waiting = subprocess.Popen([sys.executable, "-c", WAIT, str(path)], stdout=subprocess.PIPE, text=True)
    assert waiting.stdout.readline() == "refused\n"
    holder.communicate("")
    assert waiting.communicate()[0] == "held\n"


def test_a_link_to_a_state_is_locked_with_it(holder, path):
    """Two names of one file, two locks: both runs would buy."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(LockedError, match=f"pid {holder.pid}"), hold_lock(link, started_at=AT):
        pass


def test_a_linked_folder_leads_to_the_same_lock(holder, path, tmp_path):
    (tmp_path / "here").symlink_to(path.parent, target_is_directory=True)
    with pytest.raises(LockedError), hold_lock(tmp_path / "here" / "state.db", started_at=AT):
        pass


def test_a_lock_nobody_signed_is_still_a_lock(holder, path):
    path.with_name("state.db.lock").write_text("")
    with pytest.raises(LockedError, match="holder unknown"), hold_lock(path, started_at=AT):
        pass


def test_the_lock_outlives_no_error(path):
    with pytest.raises(ZeroDivisionError), hold_lock(path, started_at=AT):
        raise ZeroDivisionError
    with hold_lock(path, started_at=AT):
        pass


# ---- killed at any moment -----------------------------------------------------------------------------------------

WORKER = """
import sys, pathlib
from batcher.state.store import Store
from state.samples import add, want
store = Store(pathlib.Path(sys.argv[1]))
for n in range(10_000):
    [task] = add(store, want(f"clip-{n}"))
    print(store.claim(task, now=0.0).name, flush=True)
"""


def test_a_kill_loses_no_acknowledged_commit(path):
    """Every intent that was announced is on disk, with its price; at most one more was on its way."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    told = [process.stdout.readline().strip() for _ in range(60)]
    process.kill()
    told += process.communicate()[0].split()
    with closing(Store(path)) as store:
        claimed = [task.name for task in store.tasks(ALL) if task.status == "submitting"]
        reserved = store.spent(job="autumn", edition="", scope="cometapi", day="1970-01-01")
    assert claimed[: len(told)] == told
    assert len(claimed) <= len(told) + 1
    assert reserved.tasks == len(claimed)
