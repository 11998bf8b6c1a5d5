"""The reading side of the state. Works on the writing connection and on a read-only one alike."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from batcher.errors import UsageError
from batcher.generations import ASSET_LIFE_S
from batcher.policy.budget import Spent
from batcher.state.counters import IN_FLIGHT, OPEN, Counters
from batcher.state.rows import (
    Expiring,
    Line,
    account_of,
    asset_of,
    attempt_of,
    bytes_of,
    durations_of,
    job_of,
    moment_of,
)
from batcher.state.selection import Selection
from batcher.tasks import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batcher.policy.polling import Durations
    from batcher.state.rows import Account, Attempt, Job
    from batcher.tasks import Asset, Task


_FAILED = frozenset({Status.FAILED, Status.CANCELLED})
_OPEN = frozenset({Status.SUBMITTING, Status.SUBMITTED, Status.PROCESSING, Status.SUCCEEDED, Status.UNCLEAR})


class Queries(Counters):
    """Reads. Every method answers from the file as it is now."""

    # ---- tasks ----------------------------------------------------------------------------------------------

    def tasks(self, selection: Selection, *, statuses: Iterable[Status] = (), limit: int | None = None) -> list[Task]:
        """Tasks in the order they are submitted: highest priority first, then as planned."""
        statement, values = _picked(selection, statuses)
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        return self._tasks(f"{statement} ORDER BY priority DESC, id{bound}", values)

    def each(self, selection: Selection, *, statuses: Iterable[Status] = ()) -> Iterator[Task]:
        """The same one by one, as planned; nothing may be written before the last."""
        statement, values = _picked(selection, statuses)
        return self.stream(f"{statement} ORDER BY id", values)

    def open_tasks(self, scope: str) -> list[Task]:
        """What an earlier run left between pending and done, over all jobs of the account."""
        return self._tasks(f"SELECT * FROM tasks WHERE scope = ? AND {OPEN} ORDER BY id", (scope,))

    def known(self, hashes: Sequence[str]) -> dict[str, Task]:
        """The tasks with these content hashes."""
        found: dict[str, Task] = {}
        wanted = [content for each in hashes if (content := bytes_of(each))]
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ", ".join("?" * len(part))
            found |= {
                task.content_hash: task
                for task in self._tasks(f"SELECT * FROM tasks WHERE content_hash IN ({marks})", part)
            }
        return found

    def priced(self, selection: Selection, chosen: str, values: Sequence[str], *, limit: int | None) -> Counter[Line]:
        """How many pending ones of which class cost how much; at most `limit` are counted.

        `chosen` is a condition over `name`, `values` are its parameters.
        """
        where, known = selection.where()
        rows = self._rows(
            f"SELECT c.class, cost_usd, cost_is_estimate, count(*) AS n FROM (SELECT class AS number, cost_usd,"
            f" cost_is_estimate FROM tasks WHERE {where} AND status = 'pending' AND {chosen} LIMIT ?)"
            " JOIN classes c ON c.id = number GROUP BY number, cost_usd, cost_is_estimate",
            [*known, *values, -1 if limit is None else limit],
        )
        return Counter({Line(row["class"], row["cost_usd"], bool(row["cost_is_estimate"])): row["n"] for row in rows})

    def by_class(self, selection: Selection, *, running: bool) -> Counter[str]:
        """How many of each class wait, or are at the provider. Looks at each of them in an index."""
        where, values = selection.where()
        some = f"{OPEN} AND {IN_FLIGHT}" if running else "status = 'pending'"
        rows = self._rows(
            f"SELECT c.class, n FROM (SELECT class AS number, count(*) AS n FROM tasks WHERE {where} AND {some}"
            " GROUP BY class) JOIN classes c ON c.id = number",
            values,
        )
        return Counter({row["class"]: row["n"] for row in rows})

    def find_task(self, name: str, *, job: str | None = None) -> Task:
        """The task a person means: its name in the newest edition, `name@edition`, or an id of ours.

        Raises `UsageError` with what there is instead.
        """
        plain, at, edition = name.partition("@")
        selection = Selection(job=job, edition=edition if at else None, orphaned=True)
        where, values = selection.where()
        rows = self._rows(
            f"SELECT * FROM tasks WHERE {where} AND (name = ? OR external_task_id = ?) ORDER BY orphaned, id DESC",
            [*values, plain, name],
        )
        if not rows:
            near = self._rows(
                "SELECT DISTINCT name FROM tasks WHERE name LIKE ? ORDER BY name LIMIT 5", (f"%{plain[:4]}%",)
            )
            hint = "there are: " + ", ".join(r["name"] for r in near) if near else "batcher status  lists the jobs"
            raise UsageError(f"no task is called {name!r}", hint=hint)
        wanted = [r for r in rows if r["orphaned"] == rows[0]["orphaned"]]
        paid = [r for r in wanted if r["scope"] != "simulator"]  # a rehearsal does not hide the real thing
        newest = {(r["job"], r["scope"]): r for r in reversed(paid or wanted)}
        if len(newest) > 1:
            ids = ", ".join(sorted(f"{j} ({s}): {r['external_task_id']}" for (j, s), r in newest.items()))
            raise UsageError(f"{name!r} is a task of several jobs", hint=f"name it by its id.  {ids}")
        return self._task(next(iter(newest.values())))

    def task(self, task_id: int) -> Task:
        return self._tasks("SELECT * FROM tasks WHERE id = ?", (task_id,))[0]

    def task_of(self, external_id: str) -> Task:
        """The task that this id, the newest or an earlier one, was an attempt of."""
        return self._tasks(
            "SELECT t.* FROM tasks t JOIN attempts a ON a.task = t.id WHERE a.external_task_id = ?", (external_id,)
        )[0]

    def attempt(self, external_id: str) -> Attempt | None:
        rows = self._rows("SELECT * FROM attempts WHERE external_task_id = ?", (external_id,))
        return attempt_of(rows[0]) if rows else None

    def attempts(self, task: Task) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM attempts WHERE task = ? ORDER BY number", (task.id,))

    def events(self, task: Task) -> list[dict[str, Any]]:
        return self._rows("SELECT at, what, detail, run FROM events WHERE task = ? ORDER BY id", (task.id,))

    def assets(self, task: Task) -> list[Asset]:
        return [asset_of(row) for row in self._rows("SELECT * FROM assets WHERE task = ? ORDER BY id", (task.id,))]

    def recorded(self, selection: Selection) -> list[tuple[Task, list[Asset]]]:
        """Every task with the files that should be on disk for it; those that were given up have none."""
        where, values = selection.where()
        files: dict[int, list[Asset]] = {}
        for row in self._rows(
            f"SELECT * FROM assets WHERE task IN (SELECT id FROM tasks WHERE {where} AND status != 'cancelled')"
            " ORDER BY id",
            values,
        ):
            files.setdefault(row["task"], []).append(asset_of(row))
        return [(task, files.get(task.id, [])) for task in self.tasks(selection)]

    def videos(self, selection: Selection) -> list[tuple[Task, Asset]]:
        """Every downloaded clip with its task."""
        where, values = selection.where()
        tasks = self._rows(f"SELECT * FROM tasks WHERE {where} AND status = 'downloaded' ORDER BY id", values)
        assets = {
            row["task"]: asset_of(row)
            for row in self._rows(
                f"SELECT * FROM assets WHERE kind = 'video' AND task IN (SELECT id FROM tasks WHERE {where})", values
            )
        }
        return [(self._task(row), assets[row["id"]]) for row in tasks if row["id"] in assets]

    def control(self, scope: str, key_fingerprint: str) -> tuple[str, str] | None:
        """The newest submission accepted under this key (our id, the provider's), to prove a look-up with."""
        rows = self._rows(
            "SELECT a.external_task_id, a.task_id FROM attempts a JOIN tasks t ON t.id = a.task"
            " WHERE t.scope = ? AND a.key_fingerprint IN (?, '') AND a.task_id IS NOT NULL"
            " ORDER BY a.submitted_at DESC LIMIT 1",
            (scope, key_fingerprint),
        )
        return (rows[0]["external_task_id"], rows[0]["task_id"]) if rows else None

    # ---- money ----------------------------------------------------------------------------------------------

    def spent(self, *, job: str, edition: str, scope: str, day: str) -> Spent:
        """What counts against the budgets of a job's edition, and of the account on `day` (YYYY-MM-DD, UTC)."""
        of_job = self._rows(
            "SELECT coalesce(sum(a.cost_usd), 0) AS usd, count(*) AS n FROM attempts a JOIN tasks t ON t.id = a.task"
            " WHERE t.job = ? AND t.edition = ? AND t.scope = ? AND a.status NOT IN ('pending')"
            " AND NOT (a.status = 'failed' AND a.task_id IS NULL)",
            (job, edition, scope),
        )[0]
        of_day = self._rows(
            "SELECT coalesce(sum(a.cost_usd), 0) AS usd FROM attempts a JOIN tasks t ON t.id = a.task"
            " WHERE t.scope = ? AND a.claimed_at >= ? AND a.claimed_at < ?",
            (scope, day, day + "U"),  # "U" sorts after "T": every time of that day
        )[0]
        return Spent(usd=of_job["usd"], usd_today=of_day["usd"], tasks=of_job["n"])

    def known_ids(self, scope: str) -> dict[str, str]:
        """Every id that the state has: ours of each attempt, and the provider's; with the content it stands for."""
        found: dict[str, str] = {}
        for row in self._rows(
            "SELECT lower(hex(t.content_hash)) AS content_hash, t.external_task_id AS ours,"
            " a.external_task_id AS sent, a.task_id FROM tasks t"
            " LEFT JOIN attempts a ON a.task = t.id WHERE t.scope = ?",
            (scope,),
        ):
            found |= {row[key]: row["content_hash"] for key in ("ours", "sent", "task_id") if row[key]}
        return found

    def owner_of(self, generation_id: str, *, scope: str) -> str | None:
        """The name of the task that already has this generation."""
        rows = self._rows(
            "SELECT t.name FROM attempts a JOIN tasks t ON t.id = a.task WHERE a.task_id = ? AND t.scope = ?",
            (generation_id, scope),
        )
        return rows[0]["name"] if rows else None

    def spend(self, *, job: str, edition: str, scope: str) -> dict[str, float]:
        """Estimated US dollars of a job's edition by what came of them: status word to sum."""
        rows = self._rows(
            "SELECT a.status, sum(a.cost_usd) AS usd FROM attempts a JOIN tasks t ON t.id = a.task"
            " WHERE t.job = ? AND t.edition = ? AND t.scope = ? AND a.cost_usd > 0 GROUP BY a.status",
            (job, edition, scope),
        )
        return {row["status"]: row["usd"] for row in rows}

    # ---- jobs, accounts, runs -------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        return [job_of(row) for row in self._rows("SELECT * FROM jobs ORDER BY updated_at DESC, job")]

    def job(self, job: str, scope: str) -> Job | None:
        rows = self._rows("SELECT * FROM jobs WHERE job = ? AND scope = ?", (job, scope))
        return job_of(rows[0]) if rows else None

    def account(self, scope: str, key_fingerprint: str | None = None) -> Account | None:
        """The account with this key, or the scope's newest."""
        rows = self._rows(
            "SELECT * FROM accounts WHERE scope = ? AND (? IS NULL OR key_fingerprint = ?) ORDER BY seen_at DESC",
            (scope, key_fingerprint, key_fingerprint),
        )
        return account_of(rows[0]) if rows else None

    def expiring(self, *, job: str, scope: str) -> list[Expiring]:
        """Clips that are finished and not home, or may be, and when the provider deletes each; the first first."""
        rows = self._rows(
            "SELECT t.name, t.status, a.asset_expires_at AS told,"
            " coalesce(a.submitted_at, t.submitted_at) AS submitted FROM tasks t"
            " JOIN attempts a ON a.external_task_id = t.external_task_id"
            f" WHERE t.job = ? AND t.scope = ? AND t.{OPEN} AND t.status IN ('submitted','processing','succeeded')"
            " AND (told IS NOT NULL OR submitted IS NOT NULL)",
            (job, scope),
        )
        clips = [
            Expiring(
                name=row["name"],
                status=Status(row["status"]),
                dies_at=moment_of(row["told"] or row["submitted"], f"the end of the clip of {row['name']}")
                + (0.0 if row["told"] else ASSET_LIFE_S),
            )
            for row in rows
        ]
        return sorted(clips, key=attrgetter("dies_at"))

    def last_run(self, job: str | None = None) -> dict[str, Any] | None:
        rows = self._rows(
            "SELECT * FROM runs WHERE ? IS NULL OR job = ? ORDER BY started_at DESC, id DESC LIMIT 1", (job, job)
        )
        return rows[0] if rows else None

    def last_manifest(self) -> str | None:
        """The manifest of the newest run that had one."""
        rows = self._rows(
            "SELECT manifest FROM runs WHERE manifest IS NOT NULL ORDER BY started_at DESC, id DESC LIMIT 1"
        )
        return rows[0]["manifest"] if rows else None

    def learnt(self, scope: str) -> tuple[int | None, dict[str, Durations]]:
        """The learnt limit of an account, and how long generations take, by class."""
        limit, durations = None, {}
        for row in self._rows("SELECT * FROM limits WHERE scope = ?", (scope,)):
            if row["class"] == "":
                limit = row["concurrency"]
            elif row["durations"]:
                durations[row["class"]] = durations_of(row)
        return limit, durations


def _picked(selection: Selection, statuses: Iterable[Status]) -> tuple[str, list[Any]]:
    """The statement that reads these tasks. Where an index holds few of them, the words of it are in the query."""
    where, values = selection.where()
    wanted = list(statuses)
    if wanted:
        where += f" AND status IN ({', '.join('?' * len(wanted))})"
        values += wanted
        if _OPEN.issuperset(wanted):
            where += f" AND {OPEN}"
        elif _FAILED.issuperset(wanted):
            where += " AND status IN ('failed','cancelled')"
    return f"SELECT * FROM tasks WHERE {where}", values
