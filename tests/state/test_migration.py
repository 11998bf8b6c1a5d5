"""A state that an earlier version made is brought up to date with all that it holds."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batcher.errors import StateError
from batcher.identity import is_intact
from batcher.state.file import open_for_reading
from batcher.state.queries import Queries
from batcher.state.store import Store
from state.samples import ALL

FIRST = Path(__file__).parent / "old" / "m001.db"
"""The demo's state as version 0.1 of the tables had it."""


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "state.db"
    shutil.copy(FIRST, path)
    return path


def rows(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


def test_every_task_is_what_it_was(old):
    before = rows(old, "SELECT * FROM tasks ORDER BY id")
    views = {view: rows(old, f"SELECT * FROM {view}") for view in ("progress", "gallery", "failures", "slowest")}
    with closing(Store(old)) as store:
        tasks = store.tasks(ALL)
        assert all(is_intact(task) for task in tasks)
        assert store.miscounted() == 0
        found = [(t.id, t.name, t.content_hash, t.external_task_id, t.status, t.prompt, t.output) for t in tasks]
        assert list(store.rows("PRAGMA foreign_key_check")) == []
    names = ("id", "name", "content_hash", "external_task_id", "status", "prompt", "output")
    assert found == [tuple(row[name] for name in names) for row in before]
    assert {view: rows(old, f"SELECT * FROM {view}") for view in views} == views
    with closing(Queries.open(old)) as state:
        assert len(state.videos(ALL)) == len(before)


def test_a_migrated_state_is_one_that_was_made_new(old, tmp_path):
    """So that a strange table is told from ours, wherever it came from."""
    Store(old).close()
    Store(tmp_path / "new.db").close()
    shape = "SELECT type, name, replace(sql, '\"', '') AS sql FROM sqlite_master WHERE name"
    shape += " NOT GLOB '*sqlite*' ORDER BY 2"
    assert rows(old, shape) == rows(tmp_path / "new.db", shape)


def test_what_people_added_to_an_old_state_stays(old):
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT name, prompt FROM tasks")
        connection.execute("CREATE VIEW broken AS SELECT request FROM tasks")
        connection.execute("CREATE INDEX by_prompt ON tasks (prompt)")
        connection.execute("CREATE INDEX by_request ON tasks (request)")
        connection.commit()
    Store(old).close()
    Store(old).close()
    assert len(rows(old, "SELECT * FROM mine")) == len(rows(FIRST, "SELECT * FROM tasks"))
    assert rows(old, "SELECT name FROM sqlite_master WHERE name LIKE 'by_%'") == [{"name": "by_prompt"}]


def test_a_damaged_row_of_an_old_state_stays_damaged(old):
    """It is not made whole by being moved: what is sent is still held against its hash."""
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE tasks SET request = replace(request, 'heron', 'egret') WHERE id = 1")
        connection.execute("UPDATE tasks SET request = replace(request, 'lighthouse', 'tower') WHERE id = 1")
        connection.execute("UPDATE tasks SET content_hash = 'no hash' WHERE id = 2")
        connection.commit()
    with closing(Store(old)) as store:
        assert [is_intact(task) for task in store.tasks(ALL)][:3] == [False, False, True]


def test_a_request_that_is_no_json_is_said_when_it_is_read(old):
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE tasks SET request = 'no json' WHERE id = 3")
        connection.commit()
    with closing(Store(old)) as store, pytest.raises(StateError, match="parameters in the state cannot be read"):
        store.tasks(ALL)


def test_an_old_state_that_is_only_read_says_so(old):
    with pytest.raises(StateError, match="from an older version"):
        open_for_reading(old)
