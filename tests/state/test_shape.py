"""A state file from a stranger, or changed by hand: no SQL of its own runs on what we write."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batcher.errors import StateError
from batcher.state.file import open_for_reading, open_for_writing
from batcher.state.store import Store

EXAMPLE = Path(__file__).parents[2] / "state.db.example"


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "state.db"
    shutil.copy(EXAMPLE, path)
    return path


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(path, name, old, new):
    """Change the text of a table's own statement, as only somebody with an editor does."""
    change(
        path,
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = '{name}'",
        "PRAGMA writable_schema = RESET",
    )


TAMPERED = {
    "a trigger that buys again": lambda p: change(
        p,
        "CREATE TRIGGER t AFTER UPDATE ON tasks WHEN new.status = 'downloaded'"
        " BEGIN UPDATE tasks SET status = 'pending' WHERE id = new.id; END",
    ),
    "a trigger on the table of migrations": lambda p: change(
        p, "CREATE TRIGGER m AFTER INSERT ON _sqlite_migrations BEGIN DELETE FROM attempts; END"
    ),
    "a trigger on a view": lambda p: change(
        p, "CREATE TRIGGER v INSTEAD OF INSERT ON progress BEGIN DELETE FROM tasks; END"
    ),
    "a view in a table's place": lambda p: change(
        p, "ALTER TABLE limits RENAME TO l2", "CREATE VIEW limits AS SELECT * FROM l2"
    ),
    "a table that takes any status": lambda p: rewrite(p, "attempts", "''unclear'',", "''unclear'',''paid'',"),
    "a table without types": lambda p: rewrite(p, "events", ") STRICT", ")"),
    "no rule against doubles": lambda p: change(p, "DROP INDEX tasks_content"),
    "another rule on doubles": lambda p: change(
        p, "DROP INDEX tasks_content", "CREATE UNIQUE INDEX tasks_content ON tasks (content_hash, id)"
    ),
    "a table that is gone": lambda p: change(p, "DROP TABLE limits"),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("opened", [open_for_reading, open_for_writing])
def test_a_state_with_rules_of_its_own_is_refused_and_left_alone(state, tamper, opened):
    """A trigger fires on what we write: nothing is written to a file that has one."""
    tamper(state)
    before = state.read_bytes()
    with pytest.raises(StateError, match="changed by hand or made by somebody else") as refused:
        opened(state)
    assert "--state" in refused.value.hint
    assert state.read_bytes() == before


def test_tables_views_and_indexes_of_a_persons_own_are_welcome(state):
    """The state is yours: what people add beside our tables hinders nothing."""
    change(
        state,
        "CREATE TABLE stars (task INTEGER, stars INTEGER)",
        "CREATE VIEW best AS SELECT * FROM tasks JOIN stars ON task = tasks.id",
        "CREATE INDEX tasks_prompt ON tasks (prompt)",
        "DROP VIEW slowest",
        "ANALYZE",
    )
    open_for_reading(state).close()
    Store(state).close()


def test_a_copy_is_still_ours(state, tmp_path):
    """`VACUUM INTO` is how a state is backed up."""
    copy = tmp_path / "copy.db"
    change(state, f"VACUUM INTO '{copy}'")
    Store(copy).close()
