"""The migrations, carried out by sqlite-utils. Loaded only where there is one to make: see `schema.applied`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Database, Migrations

from batcher.state.schema import MIGRATION_SET, STEPS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a state up to date: each migration, and the note that it was made, as one transaction."""
    migrations = Migrations(MIGRATION_SET)
    for step in STEPS:
        migrations(name=step.__name__)(_on_connection(step))
    migrations.apply(Database(connection, execute_plugins=False))


def _on_connection(step: Callable[[sqlite3.Connection], None]) -> Callable[[Database], None]:
    def migration(db: Database) -> None:
        step(db.conn)

    return migration
