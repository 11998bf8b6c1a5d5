"""Adding tasks to the state, and the guarded statement that every change of one goes through."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batcher.errors import StateError
from batcher.identity import content_hash, external_task_id
from batcher.state.records import Records
from batcher.state.rows import task_of
from batcher.tasks import NEXT, ErrorCode, Status
from batcher.text import command
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batcher.tasks import Task, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One task to add: what the manifest says, where its files go, what it may cost."""

    spec: TaskSpec
    output: str
    """Below the output root, without extension."""
    price_usd: float | None
    price_is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the output folder knows of a task that was sent, whatever this state knows of it."""

    external_task_id: str
    attempt: int
    posts: int
    account: str
    """The fingerprint of the key it was sent with; empty where that is not known."""


NO_ERROR = {"error_class": None, "error_code": None, "error_message": None}


class Planning(Records):
    """Adds the planning of tasks to the bookkeeping."""

    def add(
        self,
        wanted: Iterable[Wanted],
        *,
        scope: str,
        namespace: str,
        attempts: int,
        used: Mapping[str, Used],
        unclear: str | None = None,
        now: float,
    ) -> list[Task]:
        """Insert what is new; leave what is known alone. Returns the new tasks.

        `used` maps a content hash to what the output folder knows of it: such a task was submitted by a state that
        is gone, so it starts in `submitting`, never in `pending`, and under the id it had. The others start in
        `unclear` where that has a reason: they may have been bought, too.
        """
        added = []
        for want in wanted:
            spec = want.spec
            content = content_hash(spec, scope=scope)
            before = used.get(content)
            number = before.attempt if before else 1
            row = {
                "job": spec.job,
                "name": spec.name,
                "edition": spec.edition,
                "take": spec.take,
                "scope": scope,
                "content_hash": content,
                "external_task_id": before.external_task_id
                if before
                else external_task_id(job=spec.job, content=content, namespace=namespace, attempt=number),
                "status": Status.SUBMITTING if before else Status.UNCLEAR if unclear else Status.PENDING,
                "prompt": str(spec.request.get("prompt", "")),
                "request": json.dumps(dict(spec.request), ensure_ascii=False),
                **{name: spec.request.get(name) for name in ("model_name", "mode", "duration", "aspect_ratio")},
                "variables": json.dumps(dict(spec.variables), ensure_ascii=False),
                "source": spec.source,
                "priority": spec.priority,
                "output": want.output,
                "attempt": number,
                "attempts_allowed": max(attempts, number),
                "cost_usd": want.price_usd,
                "cost_is_estimate": int(want.price_is_estimate),
                "created_at": iso(now),
            }
            if unclear and not before:
                row |= {"error_class": ErrorCode.UNCLEAR, "error_code": ErrorCode.UNMATCHED, "error_message": unclear}
            task = self._insert(row)
            if task is not None:
                added.append(task)
                if before:
                    self._reserve(task, now=now, account=before.account, posts=before.posts)
                elif unclear:
                    self._reserve(task, now=now, account="", posts=1)
                    self._attempt(task, "status = 'unclear', error_message = ?", unclear)
        return added

    def _insert(self, row: dict[str, Any]) -> Task | None:
        """Insert a task unless its content is known; a path that another task owns gets six hex digits more."""
        for output in (row["output"], f"{row['output']}-{row['content_hash'][:6]}"):
            values = {**row, "output": output}
            names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
            try:
                inserted = self._rows(
                    f"INSERT INTO tasks ({names}) VALUES ({marks}) ON CONFLICT (content_hash) DO NOTHING RETURNING *",
                    values,
                )
            except sqlite3.IntegrityError as exc:
                if "tasks.output" not in str(exc) and "tasks_output" not in str(exc):
                    raise
                continue
            return task_of(inserted[0]) if inserted else None
        raise StateError(
            f"two tasks of {row['job']} want the file {row['output']}", hint="give output.name another part"
        )

    def refresh(self, wanted: Mapping[str, tuple[str, int, str]], *, job: str, edition: str, scope: str) -> None:
        """Mark what the manifest no longer names as orphaned, and what it names (again) as wanted.

        `wanted` maps content hash to (name, priority, source): these may change without making a new task.
        """
        for row in self._rows(
            "SELECT id, content_hash, name, priority, source, orphaned FROM tasks"
            " WHERE job = ? AND edition = ? AND scope = ? AND take NOT LIKE 'r%'",
            (job, edition, scope),
        ):
            now_called = wanted.get(row["content_hash"])
            if now_called is None:
                if not row["orphaned"]:
                    self._execute("UPDATE tasks SET orphaned = 1 WHERE id = ?", (row["id"],))
            elif row["orphaned"] or now_called != (row["name"], row["priority"], row["source"]):
                self._execute(
                    "UPDATE tasks SET orphaned = 0, name = ?, priority = ?, source = ? WHERE id = ?",
                    (*now_called, row["id"]),
                )

    def take_over(self, task: Task, *, job: str, content: str) -> None:
        """A renamed job keeps its tasks: the ids they were bought under stay, the content is the new job's."""
        self._execute(
            "UPDATE tasks SET job = ?, content_hash = ?, orphaned = 0 WHERE id = ?", (job, content, task.id)
        )

    def inherit(self, task: Task, before: Used, *, instead: bool = False, now: float) -> Task:
        """This task was sent, as a receipt, the list or a person says, which the state does not know.

        No step of a task's life, but a jump to where it is already: `NEXT` says nothing of it. What is home or was
        given up stays so. `instead`: what the state has as unclear is this, and its own id bought nothing.
        """
        if task.status in (Status.DOWNLOADED, Status.CANCELLED):
            raise StateError(
                f"{task.name} is {task.status}: it cannot go back to {Status.SUBMITTING}",
                hint=f"{command('show', task.name)}  tells what became of it",
            )
        if instead and task.status is Status.UNCLEAR:
            self._attempt(task, "status = 'pending', cost_usd = 0, error_message = NULL")
        moved = self._put(
            task,
            Status.SUBMITTING,
            attempt=before.attempt,
            attempts_allowed=max(task.attempts_allowed, before.attempt),
            external_task_id=before.external_task_id,
            generation_id=None,
            submitted_at=None,
            finished_at=None,
            overdue=0,
            **NO_ERROR,
        )
        self._reserve(moved, now=now, account=before.account, posts=before.posts)
        return moved

    def remember(self, task: Task, before: Used, generation_id: str, *, status: Status, at: str) -> None:
        """An earlier attempt of a task, as the provider's list has it: it was paid for, and counts."""
        self._execute(
            "INSERT INTO attempts (external_task_id, task, number, status, task_id, body_hash, inherited, posts,"
            " key_fingerprint, claimed_at, submitted_at, cost_usd) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?)"
            " ON CONFLICT (external_task_id) DO NOTHING",
            (
                before.external_task_id,
                task.id,
                before.attempt,
                status,
                generation_id,
                task.content_hash,
                before.posts,
                before.account,
                at,
                at,
                task.cost_usd or 0.0,
            ),
        )

    def mend(self, task: Task, spec: TaskSpec, content: str) -> None:
        """A damaged row holds again what the manifest says; what became of the task stays as it is."""
        self._execute(
            "UPDATE tasks SET job = ?, edition = ?, take = ?, content_hash = ?, prompt = ?, request = ? WHERE id = ?",
            (
                spec.job,
                spec.edition,
                spec.take,
                content,
                str(spec.request.get("prompt", "")),
                json.dumps(dict(spec.request), ensure_ascii=False),
                task.id,
            ),
        )

    def _reserve(self, task: Task, *, now: float, account: str, posts: int = 0) -> None:
        """The attempt's row: its price reserved, and the create call that may follow counted.

        `posts` is how many calls are known to have been made already, where the state did not count them itself.
        """
        self._execute(
            "INSERT INTO attempts (external_task_id, task, number, status, body_hash, inherited, posts,"
            " key_fingerprint, claimed_at, cost_usd) VALUES (?, ?, ?, 'submitting', ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (external_task_id) DO UPDATE SET status = 'submitting', claimed_at = excluded.claimed_at,"
            " posts = max(posts + 1, excluded.posts), key_fingerprint = excluded.key_fingerprint,"
            " cost_usd = excluded.cost_usd",
            (
                task.external_task_id,
                task.id,
                task.attempt,
                task.content_hash,
                int(posts > 0),
                posts or 1,
                account,
                iso(now),
                task.cost_usd or 0.0,
            ),
        )

    # ---- the machinery --------------------------------------------------------------------------------------

    def _move(self, task: Task, to: Status, **changes: Any) -> Task:
        """The guarded statement: `task` must still be as we know it, and `to` must be allowed from there."""
        if to not in NEXT[task.status]:
            raise StateError(
                f"{task.name} cannot go from {task.status} to {to}",
                hint=f"{command('show', task.name)}  tells how it came there; please report it",
            )
        return self._put(task, to, **changes)

    def _put(self, task: Task, to: Status, **changes: Any) -> Task:
        names = "".join(f", {name} = ?" for name in changes)
        return self._one(
            f"UPDATE tasks SET status = ?{names} WHERE id = ? AND status = ? AND external_task_id = ?",
            (to, *changes.values(), task.id, task.status, task.external_task_id),
            task,
        )

    def _one(self, statement: str, parameters: tuple[Any, ...], task: Task) -> Task:
        rows = self._rows(f"{statement} RETURNING *", parameters)
        if len(rows) != 1:
            raise StateError(
                f"{task.name} is no longer {task.status} in {self.path}: something else changed it",
                hint="let one program work on the state, and run again",
            )
        return task_of(rows[0])

    def _attempt(self, task: Task, changes: str, *parameters: Any) -> None:
        self._execute(
            f"UPDATE attempts SET {changes} WHERE external_task_id = ?", (*parameters, task.external_task_id)
        )

    def _event(self, task: Task, what: str, at: str, detail: Mapping[str, Any]) -> None:
        self._execute(
            "INSERT INTO events (task, run, at, what, detail) VALUES (?, ?, ?, ?, ?)",
            (task.id, self.run_id, at, what, json.dumps(dict(detail), ensure_ascii=False) if detail else None),
        )
