"""Whether the tables of a state file are those we made: a stranger's may hold SQL that runs on our writes.

Tables, views and indexes that a person added beside ours are theirs to have: nothing here reads them. A trigger not
ours is another matter, as it fires on what we write; so is a table of ours that was made anew with other rules.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from batcher.state.schema import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable

_MASTER = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"


def objection(connection: sqlite3.Connection, *, applied: Iterable[str]) -> str | None:
    """What stands in the file's schema that our migrations did not put there, in words; None where all is well.

    `applied` names the migrations that the file says it has had.
    """
    found = {}
    ours = _ours(tuple(applied))
    for kind, name, table, sql in connection.execute(_MASTER):
        found[name] = (kind, _bare(sql or ""))
        if kind == "trigger" and ours.get(name) != found[name]:
            return f"the trigger {name!r} on {table}"
    for name, (kind, sql) in ours.items():
        if name not in found:
            if kind != "view":
                return f"no {kind} {name}"
        elif found[name] != (kind, sql):
            return f"another {name} than the one batcher makes"
    return None


@cache
def _ours(applied: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Name to kind and statement, as the migrations of this version make them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for step in STEPS:
            if step.__name__ in applied:
                step(connection)
        return {
            name: (kind, _bare(sql))
            for kind, name, _, sql in connection.execute(_MASTER)
            if not name.startswith(("_", "idx__"))  # sqlite-utils' own table of migrations: its words are its own
        }


def _bare(sql: str) -> str:
    """A statement without what tools add or lose: blanks and quotes around names."""
    return " ".join(sql.replace('"', "").split())
