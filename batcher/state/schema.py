"""Tables, indexes, triggers and views of the state, as migrations. A migration that was released is never edited.

Times are ISO-8601 UTC text, money is US dollars, sizes are bytes. The API key is nowhere in it; asset URLs are kept
until the clip is downloaded, then cut at their query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.state import slim

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

APPLICATION_ID = 0x62746368
"""`btch`: tells our files from others (`PRAGMA application_id`)."""

MIGRATION_SET = "batcher"
"""The name of ours among the migrations of a file, as sqlite-utils keeps them."""

STATUSES = "'pending','submitting','submitted','processing','succeeded','downloaded','failed','unclear','cancelled'"


def m001_tables(db: sqlite3.Connection) -> None:
    """Everything of version 0.1."""
    for statement in TABLES + INDEXES + VIEWS:
        db.execute(statement)


def m002_million(db: sqlite3.Connection) -> None:
    """What tasks share stands once; counters."""
    slim.shorten(db)


def m003_secrets(db: sqlite3.Connection) -> None:
    """The callback token has a place of its own, which nothing that is shown or exported reads."""
    db.execute("CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")


STEPS: list[Callable[[sqlite3.Connection], None]] = [m001_tables, m002_million, m003_secrets]
"""The migrations in their order; each is known by its name."""


def applied(connection: sqlite3.Connection) -> list[str]:
    """The names of the migrations that a file has had.

    Read without sqlite-utils, which takes as long to load as all the rest of the state: `migrate` is for what it
    makes, a new state or an older one.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,))
    return [name for (name,) in rows]


def pending(connection: sqlite3.Connection) -> list[str]:
    """The names of those that it has not had yet."""
    had = applied(connection)
    return [step.__name__ for step in STEPS if step.__name__ not in had]


TABLES = (
    """CREATE TABLE runs (
        id TEXT PRIMARY KEY, command TEXT NOT NULL, job TEXT NOT NULL, manifest TEXT, manifest_sha256 TEXT,
        provider TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT, outcome TEXT, exit_code INTEGER,
        version TEXT NOT NULL, sqlite_version TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE jobs (
        job TEXT NOT NULL, scope TEXT NOT NULL, root TEXT NOT NULL, folder TEXT NOT NULL,
        manifest TEXT, manifest_sha256 TEXT, settings TEXT NOT NULL DEFAULT '{}', updated_at TEXT NOT NULL,
        PRIMARY KEY (job, scope)
    ) STRICT""",
    f"""CREATE TABLE tasks (
        id INTEGER PRIMARY KEY, job TEXT NOT NULL, name TEXT NOT NULL, edition TEXT NOT NULL, take TEXT NOT NULL,
        scope TEXT NOT NULL, content_hash TEXT NOT NULL, external_task_id TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ({STATUSES})),
        prompt TEXT NOT NULL, request TEXT NOT NULL,
        model_name TEXT, mode TEXT, duration TEXT, aspect_ratio TEXT,
        variables TEXT NOT NULL DEFAULT '{{}}', source TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 0,
        output TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 1, attempts_allowed INTEGER NOT NULL DEFAULT 1,
        generation_id TEXT, cost_usd REAL, cost_is_estimate INTEGER NOT NULL DEFAULT 1,
        error_class TEXT, error_code TEXT, error_message TEXT, not_before TEXT,
        overdue INTEGER NOT NULL DEFAULT 0, orphaned INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, submitted_at TEXT, finished_at TEXT
    ) STRICT""",
    f"""CREATE TABLE attempts (
        external_task_id TEXT PRIMARY KEY, task INTEGER NOT NULL REFERENCES tasks(id), number INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ({STATUSES})),
        task_id TEXT, request_id TEXT, body_hash TEXT NOT NULL,
        key_fingerprint TEXT NOT NULL DEFAULT '', inherited INTEGER NOT NULL DEFAULT 0,
        claimed_at TEXT NOT NULL, submitted_at TEXT, finished_at TEXT, posts INTEGER NOT NULL DEFAULT 0,
        refusals INTEGER NOT NULL DEFAULT 0, polls INTEGER NOT NULL DEFAULT 0,
        cost_usd REAL NOT NULL DEFAULT 0, units REAL, error_code TEXT, error_message TEXT,
        asset_url TEXT, asset_expires_at TEXT
    ) STRICT""",
    """CREATE TABLE assets (
        id INTEGER PRIMARY KEY, task INTEGER NOT NULL REFERENCES tasks(id), kind TEXT NOT NULL, path TEXT NOT NULL,
        bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, width INTEGER, height INTEGER, seconds REAL,
        downloaded_at TEXT NOT NULL, UNIQUE (task, kind)
    ) STRICT""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY, task INTEGER REFERENCES tasks(id), run TEXT, at TEXT NOT NULL, what TEXT NOT NULL,
        detail TEXT
    ) STRICT""",
    """CREATE TABLE limits (
        scope TEXT NOT NULL, class TEXT NOT NULL, concurrency INTEGER, durations TEXT, updated_at TEXT NOT NULL,
        PRIMARY KEY (scope, class)
    ) STRICT""",
    """CREATE TABLE accounts (
        scope TEXT NOT NULL, key_fingerprint TEXT NOT NULL, base_url TEXT NOT NULL, namespace TEXT NOT NULL,
        finds_ids INTEGER, refuses_ids INTEGER NOT NULL DEFAULT 0, has_list INTEGER, lag_s REAL NOT NULL DEFAULT 0,
        used INTEGER NOT NULL DEFAULT 0, seen_at TEXT NOT NULL, PRIMARY KEY (scope, key_fingerprint)
    ) STRICT""",
)

INDEXES = (
    "CREATE UNIQUE INDEX tasks_content ON tasks (content_hash)",
    "CREATE UNIQUE INDEX tasks_output ON tasks (scope, output COLLATE NOCASE)",
    "CREATE INDEX tasks_name ON tasks (job, edition, name)",
    "CREATE INDEX tasks_pending ON tasks (scope, job, edition, priority DESC, id) WHERE status = 'pending'",
    """CREATE INDEX tasks_open ON tasks (scope, status)
       WHERE status IN ('submitting','submitted','processing','succeeded','unclear')""",
    "CREATE INDEX attempts_task ON attempts (task, number)",
    "CREATE INDEX attempts_day ON attempts (claimed_at)",
    "CREATE INDEX events_task ON events (task)",
)

VIEWS = (
    """CREATE VIEW progress AS
       SELECT job, edition, scope, status, count(*) AS tasks, round(sum(coalesce(cost_usd, 0)), 4) AS cost_usd
       FROM tasks WHERE NOT orphaned GROUP BY job, edition, scope, status""",
    """CREATE VIEW failures AS
       SELECT job, edition, name, status, error_class, error_code, error_message, attempt, source, prompt, finished_at
       FROM tasks WHERE status IN ('failed', 'unclear') ORDER BY finished_at DESC""",
    """CREATE VIEW gallery AS
       SELECT t.job, t.edition, t.name, t.prompt, t.model_name, t.mode, t.duration, t.aspect_ratio,
              a.path, a.bytes, a.seconds, a.width, a.height, a.sha256, t.cost_usd, a.downloaded_at
       FROM tasks t JOIN assets a ON a.task = t.id AND a.kind = 'video' ORDER BY t.job, t.edition, t.id""",
    """CREATE VIEW spend_by_day AS
       SELECT substr(a.claimed_at, 1, 10) AS day, t.scope, t.job, count(*) AS attempts,
              round(sum(a.cost_usd), 4) AS cost_usd,
              round(sum(CASE WHEN a.status = 'failed' THEN a.cost_usd ELSE 0 END), 4) AS failed_usd,
              round(sum(CASE WHEN a.status = 'unclear' THEN a.cost_usd ELSE 0 END), 4) AS unclear_usd
       FROM attempts a JOIN tasks t ON t.id = a.task WHERE a.cost_usd > 0 GROUP BY 1, 2, 3""",
    """CREATE VIEW slowest AS
       SELECT t.job, t.name, a.number AS attempt, a.submitted_at, a.finished_at,
              round((julianday(a.finished_at) - julianday(a.submitted_at)) * 86400, 1) AS seconds
       FROM attempts a JOIN tasks t ON t.id = a.task
       WHERE a.submitted_at IS NOT NULL AND a.finished_at IS NOT NULL ORDER BY seconds DESC""",
    """CREATE VIEW expiring AS
       SELECT t.job, t.name, t.status, a.task_id, a.asset_expires_at
       FROM tasks t JOIN attempts a ON a.external_task_id = t.external_task_id
       WHERE t.status IN ('succeeded', 'submitted', 'processing') AND a.asset_expires_at IS NOT NULL
       ORDER BY a.asset_expires_at""",
)
