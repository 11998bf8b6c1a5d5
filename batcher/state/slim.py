"""The second migration: a million tasks in 450 MB, counted without being looked at.

What many tasks share stands once, in `parameters`; hashes are bytes; `counters` is kept by triggers, so that it is
right whoever writes. Its triggers are the only ones that a state may have (`shape`).
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from typing import Any

from batcher.catalog import class_of

TABLES = (
    "CREATE TABLE classes (id INTEGER PRIMARY KEY, class TEXT NOT NULL UNIQUE) STRICT",
    """CREATE TABLE parameters (
        id INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, class INTEGER NOT NULL REFERENCES classes(id),
        model_name TEXT, mode TEXT, duration TEXT, aspect_ratio TEXT
    ) STRICT""",
    """CREATE TABLE counters (
        scope TEXT NOT NULL, job TEXT NOT NULL, edition TEXT NOT NULL, orphaned INTEGER NOT NULL,
        status TEXT NOT NULL, idle INTEGER NOT NULL, tasks INTEGER NOT NULL, microusd INTEGER NOT NULL,
        unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL, newest INTEGER NOT NULL,
        PRIMARY KEY (scope, job, edition, orphaned, status, idle)
    ) STRICT, WITHOUT ROWID""",
)
"""`idle` is 1 where no run waits for a task: it is overdue, or finished and its clip could not be fetched."""

_STATUSES = "'pending','submitting','submitted','processing','succeeded','downloaded','failed','unclear','cancelled'"

TASKS = f"""CREATE TABLE new_tasks (
        id INTEGER PRIMARY KEY, job TEXT NOT NULL, name TEXT NOT NULL, edition TEXT NOT NULL, take TEXT NOT NULL,
        scope TEXT NOT NULL, content_hash BLOB NOT NULL, external_task_id TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ({_STATUSES})),
        prompt TEXT NOT NULL, parameters INTEGER NOT NULL REFERENCES parameters(id),
        class INTEGER NOT NULL REFERENCES classes(id),
        variables TEXT NOT NULL DEFAULT '{{}}', source TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 0,
        output TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 1, attempts_allowed INTEGER NOT NULL DEFAULT 1,
        generation_id TEXT, cost_usd REAL, cost_is_estimate INTEGER NOT NULL DEFAULT 1,
        error_class TEXT, error_code TEXT, error_message TEXT, not_before TEXT,
        overdue INTEGER NOT NULL DEFAULT 0, orphaned INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, submitted_at TEXT, finished_at TEXT
    ) STRICT"""

INDEXES = {
    "tasks_content": "CREATE UNIQUE INDEX tasks_content ON tasks (content_hash)",
    "tasks_output": "CREATE UNIQUE INDEX tasks_output ON tasks (scope, output COLLATE NOCASE)",
    "tasks_pending": """CREATE INDEX tasks_pending ON tasks (scope, job, edition, priority DESC, class, id)
       WHERE status = 'pending' AND orphaned = 0""",
}
"""Those that every new task is in: a great plan is added without them, and they are built after it."""

MORE_INDEXES = (
    """CREATE INDEX tasks_resting ON tasks (scope, job, edition, not_before)
       WHERE status = 'pending' AND orphaned = 0 AND not_before IS NOT NULL""",
    """CREATE INDEX tasks_open ON tasks (scope, status)
       WHERE status IN ('submitting','submitted','processing','succeeded','unclear')""",
    "CREATE INDEX tasks_failed ON tasks (job, finished_at) WHERE status IN ('failed','cancelled')",
    "CREATE INDEX attempts_generation ON attempts (task_id) WHERE task_id IS NOT NULL",
)

_KEY = "scope, job, edition, orphaned, status, idle"
_ADD = (
    f" ON CONFLICT ({_KEY}) DO UPDATE SET tasks = tasks + excluded.tasks, microusd = microusd + excluded.microusd,"
    " unpriced = unpriced + excluded.unpriced, estimated = estimated + excluded.estimated,"
    " newest = max(newest, excluded.newest)"
)


def _price(row: str = "") -> str:
    return f"CAST(round(coalesce({row}cost_usd, 0) * 1000000) AS INTEGER)"


def _idle(row: str = "") -> str:
    return f"({row}overdue OR ({row}status = 'succeeded' AND {row}error_code IS NOT NULL))"


def _values(row: str, *, sign: str = "") -> str:
    """What one task adds to its counter; the names of its columns behind `row`."""
    price = _price(row)
    key = f"{row}scope, {row}job, {row}edition, {row}orphaned, {row}status, {_idle(row)}"
    what = f"1, {price}, {row}cost_usd IS NULL, {row}cost_is_estimate, {row}id"
    return (
        f"{key}, {what}" if not sign else f"{key}, -1, -{price}, -({row}cost_usd IS NULL), -{row}cost_is_estimate, 0"
    )


def _count(row: str, *, sign: str = "") -> str:
    return f"INSERT INTO counters VALUES ({_values(row, sign=sign)}){_ADD};"


_COUNTED = ("scope", "job", "edition", "orphaned", "status", "overdue", "error_code", "cost_usd", "cost_is_estimate")
_OLD, _NEW = (", ".join(f"{row}.{name}" for name in _COUNTED) for row in ("old", "new"))

TRIGGERS = {
    "tasks_added": f"CREATE TRIGGER tasks_added AFTER INSERT ON tasks BEGIN {_count('new.')} END",
    "tasks_removed": f"CREATE TRIGGER tasks_removed AFTER DELETE ON tasks BEGIN {_count('old.', sign='-')} END",
    "tasks_changed": f"CREATE TRIGGER tasks_changed AFTER UPDATE OF {', '.join(_COUNTED)} ON tasks"
    f" WHEN ({_OLD}) IS NOT ({_NEW}) BEGIN {_count('old.', sign='-')} {_count('new.')} END",
}

EACH = (
    f"SELECT scope, job, edition, orphaned, status, {_idle()} AS idle, {_price()} AS microusd,"
    " cost_usd IS NULL AS unpriced, cost_is_estimate AS estimated, id FROM tasks WHERE id > :above"
)
"""What each task above an id counts."""

RECOUNT = (
    f"INSERT INTO counters SELECT {_KEY}, count(*), sum(microusd), sum(unpriced), sum(estimated), max(id)"
    f" FROM ({EACH}) WHERE true GROUP BY {_KEY}{_ADD}"
)
"""Count the tasks above an id, that no trigger counted."""

VIEWS = {
    "progress": """CREATE VIEW progress AS
       SELECT job, edition, scope, status, sum(tasks) AS tasks, round(sum(microusd) / 1000000.0, 4) AS cost_usd
       FROM counters WHERE NOT orphaned GROUP BY job, edition, scope, status HAVING sum(tasks) > 0""",
    "gallery": """CREATE VIEW gallery AS
       SELECT t.job, t.edition, t.name, t.prompt, p.model_name, p.mode, p.duration, p.aspect_ratio,
              a.path, a.bytes, a.seconds, a.width, a.height, a.sha256, t.cost_usd, a.downloaded_at
       FROM tasks t JOIN parameters p ON p.id = t.parameters JOIN assets a ON a.task = t.id AND a.kind = 'video'
       ORDER BY t.job, t.edition, t.id""",
}


def shared(request: dict[str, Any]) -> str:
    """What a request holds beside its prompt, as the one text that stands for it."""
    return json.dumps({k: v for k, v in request.items() if k != "prompt"}, ensure_ascii=False, sort_keys=True)


def shorten(db: sqlite3.Connection) -> None:
    """From the tables of the first migration to these."""
    for statement in (*TABLES, TASKS):
        db.execute(statement)
    known: dict[str, tuple[int, int]] = {}
    classes: dict[str, int] = {}
    names = [row[1] for row in db.execute("PRAGMA table_info(new_tasks)")]
    kept = [name for name in names if name not in ("content_hash", "prompt", "parameters", "class")]
    marks = ", ".join("?" * (len(kept) + 4))
    insert = f"INSERT INTO new_tasks ({', '.join([*kept, 'content_hash', 'prompt', 'parameters', 'class'])})"
    for row in db.execute(f"SELECT content_hash, prompt, request, {', '.join(kept)} FROM tasks ORDER BY id"):
        content, prompt, text, *others = row
        prompt, parameters = _parted(prompt, text)
        if parameters not in known:
            name = _class(parameters)
            if name not in classes:
                classes[name] = len(classes) + 1
                db.execute("INSERT INTO classes (id, class) VALUES (?, ?)", (classes[name], name))
            known[parameters] = len(known) + 1, classes[name]
            _insert_parameters(db, *known[parameters], parameters)
        db.execute(f"{insert} VALUES ({marks})", (*others, _bytes(content), prompt, *known[parameters]))
    theirs = _indexes_of_others(db)
    for name in VIEWS:
        db.execute(f"DROP VIEW IF EXISTS {name}")
    db.execute("DROP TABLE tasks")
    db.execute("PRAGMA legacy_alter_table = ON")  # else a view of the table that is gone for this moment is an error
    db.execute("ALTER TABLE new_tasks RENAME TO tasks")
    db.execute("PRAGMA legacy_alter_table = OFF")
    db.execute(RECOUNT, {"above": 0})
    for statement in (*INDEXES.values(), *MORE_INDEXES, *TRIGGERS.values(), *VIEWS.values()):
        db.execute(statement)
    for statement in theirs:
        with suppress(sqlite3.Error):  # on a column that is no more
            db.execute(statement)


def _indexes_of_others(db: sqlite3.Connection) -> list[str]:
    """What people put on the table for themselves."""
    ours = ("tasks_content", "tasks_output", "tasks_name", "tasks_pending", "tasks_open")
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'tasks' AND type = 'index' AND sql > ''")
    return [sql for name, sql in found if name not in ours]


def _insert_parameters(db: sqlite3.Connection, number: int, class_id: int, text: str) -> None:
    known = _mapping(text) or {}
    columns = [known.get(name) for name in ("model_name", "mode", "duration", "aspect_ratio")]
    db.execute(
        "INSERT INTO parameters (id, class, request, model_name, mode, duration, aspect_ratio)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, class_id, text, *(None if value is None else str(value) for value in columns)),
    )


def _parted(prompt: str, text: str) -> tuple[str, str]:
    """A request as prompt and the rest. What somebody's hand made of it stays as it is: reading it says so."""
    request = _mapping(text)
    if request is None:
        return prompt, text
    return str(request.get("prompt", "")), shared(request)


def _mapping(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _class(text: str) -> str:
    return class_of(_mapping(text) or {})


def _bytes(content: str) -> bytes:
    try:
        return bytes.fromhex(content)
    except ValueError:
        return content.encode()
