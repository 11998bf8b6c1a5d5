"""How many tasks there are of each kind, and which go next: from counters and indexes, however many there are."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from batcher.policy.retry import LONGEST_WAIT_S
from batcher.state import slim
from batcher.state.rows import moment_of
from batcher.state.tables import Tables
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.state.selection import Selection
    from batcher.tasks import Task

_ROUNDS = 32
"""So many priorities are looked through one by one for the longest class; then all that is left in one go."""

IN_FLIGHT = "status IN ('submitting','submitted','processing')"
OPEN = "status IN ('submitting','submitted','processing','succeeded','unclear')"
"""The term of the index over open tasks: without it in the words of a query, SQLite reads all tasks."""


class Counters(Tables):
    """What is asked for at every turn of a run."""

    def counts(self, selection: Selection) -> dict[str, int]:
        """How many tasks there are of each status."""
        if selection.is_whole:
            where, values = selection.counted()
            rows = self._rows(
                f"SELECT status, sum(tasks) AS n FROM counters WHERE {where} GROUP BY status HAVING n > 0", values
            )
        else:
            where, values = selection.where()
            rows = self._rows(f"SELECT status, count(*) AS n FROM tasks WHERE {where} GROUP BY status", values)
        return {row["status"]: row["n"] for row in rows}

    def overdue_count(self, selection: Selection) -> int:
        """How many of the accepted ones no run waits for any more."""
        where, values = selection.counted()
        return int(
            self._value(
                "SELECT coalesce(sum(tasks), 0) FROM counters"
                f" WHERE {where} AND idle = 1 AND status IN ('submitted', 'processing')",
                values,
            )
        )

    def waiting(self, selection: Selection) -> tuple[int, str | None]:
        """How many are pending, and when the first of those that wait for a time may go."""
        where, values = selection.where()
        pending = f"{where} AND status = 'pending'"
        if selection.is_whole:
            number = self.counts(selection).get("pending", 0)
        else:
            number = self._value(f"SELECT count(*) FROM tasks WHERE {pending}", values)
        due = None
        if number:
            due = self._value(f"SELECT min(not_before) FROM tasks WHERE {pending} AND not_before IS NOT NULL", values)
        if due is not None:
            moment_of(due, "the time that a task waits for")
        return number, due

    def in_flight(self, scope: str, *, overdue_before: float) -> int:
        """How many of the account's slots this state holds, or may hold.

        An overdue task counts until it was submitted before `overdue_before` (Unix seconds).
        """
        counted = {
            row["idle"]: row["n"]
            for row in self._rows(
                f"SELECT idle, sum(tasks) AS n FROM counters WHERE scope = ? AND {IN_FLIGHT} GROUP BY idle", (scope,)
            )
        }
        if not counted.get(1):
            return int(counted.get(0, 0))
        held = self._value(
            f"SELECT count(*) FROM tasks WHERE scope = ? AND {OPEN} AND {IN_FLIGHT}"
            " AND overdue = 1 AND NOT submitted_at < ?",
            (scope, iso(overdue_before)),
        )
        return int(counted.get(0, 0) + held)

    def orphans(self, *, job: str, edition: str, scope: str) -> int:
        """How many tasks the manifest no longer names."""
        return int(
            self._value(
                "SELECT coalesce(sum(tasks), 0) FROM counters"
                " WHERE job = ? AND edition = ? AND scope = ? AND orphaned = 1",
                (job, edition, scope),
            )
        )

    def editions(self, *, job: str, scope: str) -> list[tuple[str, int]]:
        """A job's editions, newest first, with how many of their tasks still want work.

        An overdue one is at the provider and may stay there for ever, and a clip that a run could not fetch may never
        come: each run looks at them, and none waits for them.
        """
        rows = self._rows(
            "SELECT edition, max(newest) AS newest, sum(CASE WHEN idle = 0 AND status IN"
            " ('pending','submitting','submitted','processing','succeeded') THEN tasks ELSE 0 END) AS unfinished"
            " FROM counters WHERE job = ? AND scope = ? AND orphaned = 0 AND tasks > 0"
            " GROUP BY edition ORDER BY newest DESC",
            (job, scope),
        )
        return [(row["edition"], row["unfinished"]) for row in rows]

    def prices(self, selection: Selection) -> tuple[float, int, bool]:
        """What the pending ones of a whole selection cost, of how many nobody knows, and if it is an estimate."""
        where, values = selection.counted()
        row = self._rows(
            "SELECT coalesce(sum(microusd), 0) AS microusd, coalesce(sum(unpriced), 0) AS unpriced,"
            f" coalesce(sum(estimated), 0) AS estimated FROM counters WHERE {where} AND status = 'pending'",
            values,
        )[0]
        return row["microusd"] / 1e6, row["unpriced"], row["estimated"] > 0

    # ---- which go next --------------------------------------------------------------------------------------

    def ready(self, selection: Selection, *, now: float, limit: int, slowest_first: Sequence[str] = ()) -> list[Task]:
        """Pending tasks whose time has come, or is further away than any wait: the clock was set back.

        The highest priority first; then the classes in the order of `slowest_first` and those it does not name (long
        ones first: the last to end are short ones then); then as planned.
        """
        where, values = selection.where()
        where += " AND status = 'pending' AND (not_before IS NULL OR not_before <= ? OR not_before > ?)"
        values += [iso(now), iso(now + LONGEST_WAIT_S)]
        ranks = self._ranks(slowest_first)
        found: list[Task] = []
        key = (selection.scope, selection.job, selection.edition)
        if selection.ids is None and None not in key and not selection.orphaned:
            priority = None
            for _ in range(_ROUNDS):
                priority = self._next_priority(key, priority)
                if priority is None or len(found) >= limit:
                    return found
                classes = sorted((ranks.get(c, len(ranks)), c) for c in self._classes_of(key, priority))
                for _, alike in groupby(classes, key=itemgetter(0)):
                    some = [
                        task
                        for _, class_id in alike
                        for task in self._tasks(
                            f"SELECT * FROM tasks WHERE {where} AND priority = ? AND class = ? ORDER BY id LIMIT ?",
                            [*values, priority, class_id, limit - len(found)],
                        )
                    ]
                    found += sorted(some, key=attrgetter("id"))[: limit - len(found)]
                    if len(found) >= limit:
                        return found
            where += " AND priority < ?"
            values.append(priority)
        rank = "".join(f" WHEN {class_id} THEN {n}" for class_id, n in ranks.items())
        order = f"CASE class{rank} ELSE {len(ranks)} END, id" if ranks else "id"
        return found + self._tasks(
            f"SELECT * FROM tasks WHERE {where} ORDER BY priority DESC, {order} LIMIT ?",
            [*values, limit - len(found)],
        )

    def _ranks(self, slowest_first: Sequence[str]) -> dict[int, int]:
        """The number of each class that the state knows, to its place in the order."""
        ranks = {}
        for n, name in enumerate(slowest_first):
            number = self._value("SELECT id FROM classes WHERE class = ?", (name,))
            if number is not None:
                ranks[number] = n
        return ranks

    def _next_priority(self, key: tuple[Any, ...], below: int | None) -> int | None:
        bound, values = ("", key) if below is None else (" AND priority < ?", (*key, below))
        return self._value(  # type: ignore[no-any-return]
            "SELECT max(priority) FROM tasks WHERE scope = ? AND job = ? AND edition = ?"
            f" AND status = 'pending' AND orphaned = 0{bound}",
            values,
        )

    def _classes_of(self, key: tuple[Any, ...], priority: int) -> list[int]:
        """The classes that wait with this priority: one step of the index each, whatever stands between them."""
        found: list[int] = []
        after = -1
        while after is not None:
            after = self._value(
                "SELECT min(class) FROM tasks WHERE scope = ? AND job = ? AND edition = ? AND priority = ?"
                " AND class > ? AND status = 'pending' AND orphaned = 0",
                (*key, priority, after),
            )
            if after is not None:
                found.append(after)
        return found

    # ---- whether they are right -----------------------------------------------------------------------------

    def miscounted(self) -> int:
        """How many counters are not what a count of all tasks gives. Reads every task."""
        key = "scope, job, edition, orphaned, status, idle"
        what = f"{key}, tasks, microusd, unpriced, estimated"
        counted = (
            f"SELECT {key}, count(*), sum(microusd), sum(unpriced), sum(estimated) FROM ({slim.EACH}) GROUP BY {key}"
        )
        return int(
            self._value(
                f"SELECT count(*) FROM (SELECT * FROM (SELECT {what} FROM counters WHERE tasks != 0 EXCEPT {counted})"
                f" UNION ALL SELECT * FROM ({counted} EXCEPT SELECT {what} FROM counters))",
                {"above": 0},
            )
        )
