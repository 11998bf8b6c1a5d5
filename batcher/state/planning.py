"""Adding tasks to the state, and the guarded statement that every change of one goes through."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batcher.catalog import class_of
from batcher.errors import StateError
from batcher.state.bulk import add_new, add_shared
from batcher.state.records import Records
from batcher.state.rows import bytes_of
from batcher.state.slim import shared
from batcher.tasks import NEXT, Status
from batcher.text import command
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.state.plan import Plan
    from batcher.state.selection import Selection
    from batcher.tasks import Task, TaskSpec


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
        plan: Plan,
        *,
        namespace: str,
        attempts: int,
        used: Mapping[str, Used],
        unclear: str | None = None,
        now: float,
    ) -> list[Task]:
        """Insert what is new of a plan; leave what is known alone. Returns the new tasks that are not pending.

        `used` maps a content hash to what the output folder knows of it: such a task was submitted by a state that
        is gone, so it starts in `submitting`, never in `pending`, and under the id it had. The others start in
        `unclear` where that has a reason: they may have been bought, too.
        """
        last = self._value("SELECT coalesce(max(id), 0) FROM tasks")
        add_new(self, plan, namespace=namespace, attempts=attempts, unclear=unclear, now=now)
        if self._value("SELECT coalesce(max(id), 0) FROM tasks") == last:
            return []
        sent = []
        for content, before in used.items():
            for task in self._tasks(
                "SELECT * FROM tasks WHERE content_hash = ? AND id > ?", (bytes_of(content), last)
            ):
                sent.append(
                    self._put(
                        task,
                        Status.SUBMITTING,
                        external_task_id=before.external_task_id,
                        attempt=before.attempt,
                        attempts_allowed=max(attempts, before.attempt),
                        **NO_ERROR,
                    )
                )
                self._reserve(sent[-1], now=now, account=before.account, posts=before.posts)
        if not unclear:
            return sent
        doubtful = self._tasks("SELECT * FROM tasks WHERE status = 'unclear' AND id > ?", (last,))
        for task in doubtful:
            self._reserve(task, now=now, account="", posts=1)
            self._attempt(task, "status = 'unclear', error_message = ?", unclear)
        return sent + doubtful

    def refresh(self, plan: Plan) -> None:
        """Mark what the manifest no longer names as orphaned, and what it names (again) as wanted.

        Name, priority and source may change without making a new task. Comes before `add`.
        """
        if plan.is_first:
            return
        self._execute(f"UPDATE tasks SET orphaned = 1 WHERE {plan.orphaned} AND orphaned = 0", plan.key)
        self._execute(
            "UPDATE tasks SET orphaned = 0, name = w.name, priority = w.priority, source = w.source"
            f" FROM {plan.table} w WHERE w.known = tasks.id AND (orphaned, tasks.name, tasks.priority, tasks.source)"
            " IS NOT (0, w.name, w.priority, w.source)"
        )

    def price(self, selection: Selection, own: Mapping[str, float]) -> None:
        """Give a price to what is bought next and has none: US dollars a clip by class. A known one stays."""
        where, values = selection.where()
        for name, usd in own.items():
            self._execute(
                f"UPDATE tasks SET cost_usd = ?, cost_is_estimate = 0 WHERE {where} AND cost_usd IS NULL"
                " AND status IN ('pending','failed','unclear') AND class = (SELECT id FROM classes WHERE class = ?)",
                [usd, *values, name],
            )

    def take_over(self, task: Task, *, job: str, content: str) -> None:
        """A renamed job keeps its tasks: the ids they were bought under stay, the content is the new job's."""
        self._execute(
            "UPDATE tasks SET job = ?, content_hash = ?, orphaned = 0 WHERE id = ?", (job, bytes_of(content), task.id)
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
        parameters, class_id = self._share(spec.request)
        self._execute(
            "UPDATE tasks SET job = ?, edition = ?, take = ?, content_hash = ?, prompt = ?, parameters = ?, class = ?"
            " WHERE id = ?",
            (
                spec.job,
                spec.edition,
                spec.take,
                bytes_of(content),
                str(spec.request.get("prompt", "")),
                parameters,
                class_id,
                task.id,
            ),
        )

    def _share(self, request: Mapping[str, Any]) -> tuple[int, int]:
        """The numbers of what a request holds beside its prompt, and of its class."""
        text = shared(dict(request))
        add_shared(self, [(text, class_of(request))])
        [row] = self._rows("SELECT id, class FROM parameters WHERE request = ?", (text,))
        return row["id"], row["class"]

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
        tasks = self._tasks(f"{statement} RETURNING *", parameters)
        if len(tasks) != 1:
            raise StateError(
                f"{task.name} is no longer {task.status} in {self.path}: something else changed it",
                hint="let one program work on the state, and run again",
            )
        return tasks[0]

    def _attempt(self, task: Task, changes: str, *parameters: Any) -> None:
        self._execute(
            f"UPDATE attempts SET {changes} WHERE external_task_id = ?", (*parameters, task.external_task_id)
        )

    def _event(self, task: Task, what: str, at: str, detail: Mapping[str, Any]) -> None:
        self._execute(
            "INSERT INTO events (task, run, at, what, detail) VALUES (?, ?, ?, ?, ?)",
            (task.id, self.run_id, at, what, json.dumps(dict(detail), ensure_ascii=False) if detail else None),
        )
