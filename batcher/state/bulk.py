"""From a plan into the tables, in one statement: a million tasks at a time, or one."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

from batcher.errors import StateError
from batcher.identity import external_task_id
from batcher.state import slim
from batcher.tasks import ErrorCode, Status
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.state.plan import Plan
    from batcher.state.tables import Tables

GREAT = 20_000
"""New tasks from which on their indexes are built after them, where the state has not many more already: a random
key is eight times as dear one by one (measured)."""


def add_new(state: Tables, plan: Plan, *, namespace: str, attempts: int, unclear: str | None, now: float) -> None:
    """Insert what is new of a plan. A path that another task owns gets six hex digits more.

    In the caller's transaction. Raises `StateError` where even then two tasks want one file.
    """
    number = plan.new_size
    if not number:
        return
    db = state.connection
    known = db.execute("SELECT coalesce(sum(tasks), 0) FROM counters").fetchone()[0]
    is_great = number >= GREAT and known <= 2 * number
    add_shared(state, ((r["request"], r["class"]) for r in state.rows(f"SELECT request, class FROM {plan.shared}")))
    db.create_function(
        "external_task_id", 1, partial(_external_id, job=plan.job, namespace=namespace), deterministic=True
    )
    values = {
        "scope": plan.scope,
        "job": plan.job,
        "edition": plan.edition,
        "status": Status.UNCLEAR if unclear else Status.PENDING,
        "attempts": max(attempts, 1),
        "error": ErrorCode.UNCLEAR if unclear else None,
        "code": ErrorCode.UNMATCHED if unclear else None,
        "message": unclear,
        "now": iso(now),
    }
    if not plan.is_first:
        _tell_apart(state, plan, f"EXISTS (SELECT 1 FROM tasks t WHERE t.scope = :scope AND t.output = {_PATH})")
    try:
        _insert(state, plan, values, is_great=is_great)
    except sqlite3.IntegrityError:  # two of the plan itself
        table = plan.table.partition(".")[2]
        db.execute(f"CREATE INDEX planned.{table}_output ON {table} (output COLLATE NOCASE)")
        other = f"SELECT 1 FROM {plan.table} o WHERE o.output = {_PATH} AND o.seq < w.seq AND o.known IS NULL"
        _tell_apart(state, plan, f"EXISTS ({other})")
        try:
            _insert(state, plan, values, is_great=False)
        except sqlite3.IntegrityError as exc:
            raise StateError(
                f"two tasks of {plan.job} want the file {_contested(state, plan)}",
                hint="give output.name another part",
            ) from exc


_PATH = "w.output COLLATE NOCASE"


def _tell_apart(state: Tables, plan: Plan, where: str) -> None:
    state.connection.execute(
        f"UPDATE {plan.table} AS w SET output = output || '-' || substr(lower(hex(content)), 1, 6)"
        f" WHERE known IS NULL AND {where}",
        {"scope": plan.scope} if ":scope" in where else {},
    )


def _contested(state: Tables, plan: Plan) -> str:
    taken = f"EXISTS (SELECT 1 FROM tasks t WHERE t.scope = ? AND t.output = {_PATH})"
    other = f"EXISTS (SELECT 1 FROM {plan.table} o WHERE o.output = {_PATH} AND o.seq < w.seq AND o.known IS NULL)"
    row = state.connection.execute(
        f"SELECT output FROM {plan.table} w WHERE known IS NULL AND ({taken} OR {other}) LIMIT 1", (plan.scope,)
    ).fetchone()
    return str(row[0]) if row else "of another"


def _insert(state: Tables, plan: Plan, values: dict[str, Any], *, is_great: bool) -> None:
    """All or nothing."""
    db = state.connection
    db.execute("SAVEPOINT planned_tasks")
    try:
        last = db.execute("SELECT coalesce(max(id), 0) FROM tasks").fetchone()[0]
        if is_great:
            for name in slim.INDEXES:
                db.execute(f"DROP INDEX {name}")
            db.execute("DROP TRIGGER tasks_added")
        db.execute(
            "INSERT INTO tasks (job, name, edition, take, scope, content_hash, external_task_id, status, prompt,"
            " parameters, class, variables, source, priority, output, attempts_allowed, cost_usd, cost_is_estimate,"
            " error_class, error_code, error_message, created_at)"
            " SELECT :job, w.name, :edition, w.take, :scope, w.content, external_task_id(w.content), :status,"
            " w.prompt, p.id, p.class, w.variables, w.source, w.priority, w.output, :attempts, w.cost_usd,"
            f" w.estimated, :error, :code, :message, :now FROM {plan.table} w"
            f" CROSS JOIN {plan.shared} s ON s.id = w.shared CROSS JOIN parameters p ON p.request = s.request"
            " WHERE w.known IS NULL ORDER BY w.seq" + ("" if is_great else " ON CONFLICT (content_hash) DO NOTHING"),
            values,
        )
        if is_great:
            db.execute(slim.RECOUNT, {"above": last})
            for statement in (*slim.INDEXES.values(), slim.TRIGGERS["tasks_added"]):
                db.execute(statement)
    except BaseException:
        db.execute("ROLLBACK TO planned_tasks")
        raise
    finally:
        db.execute("RELEASE planned_tasks")


def add_shared(state: Tables, requests: Iterable[tuple[str, str]]) -> None:
    """Have a row of `parameters` for each of these, with its class."""
    db = state.connection
    for text, name in list(requests):
        db.execute("INSERT INTO classes (class) VALUES (?) ON CONFLICT DO NOTHING", (name,))
        known = json.loads(text)
        columns = [known.get(column) for column in ("model_name", "mode", "duration", "aspect_ratio")]
        db.execute(
            "INSERT INTO parameters (request, class, model_name, mode, duration, aspect_ratio)"
            " VALUES (?, (SELECT id FROM classes WHERE class = ?), ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (text, name, *(None if value is None else str(value) for value in columns)),
        )


def _external_id(content: bytes, *, job: str, namespace: str) -> str:
    return external_task_id(job=job, content=content.hex(), namespace=namespace, attempt=1)
