"""The secret of a state: a random token, the end of its callback address.

It is a table of its own: in no view, no export, no sidecar and no page. Who wants another deletes the row.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

CALLBACK_TOKEN = "callback_token"  # noqa: S105 - the name of it
TOKEN_BYTES = 16


def ensure_token(connection: sqlite3.Connection) -> None:
    """Make the token where there is none yet."""
    if connection.execute("SELECT 1 FROM secrets WHERE name = ?", (CALLBACK_TOKEN,)).fetchone() is None:
        connection.execute("INSERT INTO secrets VALUES (?, ?)", (CALLBACK_TOKEN, secrets.token_hex(TOKEN_BYTES)))


def token_of(connection: sqlite3.Connection) -> str | None:
    """The token of a state."""
    row = connection.execute("SELECT value FROM secrets WHERE name = ?", (CALLBACK_TOKEN,)).fetchone()
    return str(row[0]) if row else None
