"""Small real things for the tests of the state: tasks wanted, a generation, a clip."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batcher.generations import Generation, GenerationStatus, Video
from batcher.state.plan import Plan, Wanted
from batcher.state.planning import Used
from batcher.state.selection import Selection
from batcher.tasks import Asset, Status, TaskSpec
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.policy.budget import Spent
    from batcher.state.store import Store
    from batcher.tasks import Task

NOW = 1_795_352_793.120
AT = "2026-11-22T13:06:33.120Z"
DAY = 86400.0
SCOPE = "cometapi"
NAMESPACE = "north"
ALL = Selection(orphaned=True)
URL = "https://cdn.example/clips/fox.mp4?token=secret#x"


def want(name: str = "fox", *, output: str | None = None, price_usd: float | None = 0.5, **changes) -> Wanted:
    spec = TaskSpec(**{"job": "autumn", "name": name, "request": {"prompt": f"A {name}"}, **changes})
    return Wanted(spec=spec, output=output or f"autumn/{name}", price_usd=price_usd, price_is_estimate=True)


def add(
    store: Store,
    *wanted: Wanted,
    scope: str = SCOPE,
    used: Mapping[str, Used] | None = None,
    attempts: int = 1,
) -> list[Task]:
    """Plan and add them, each job's edition by itself. Returns the new tasks."""
    last = max((task.id for task in store.tasks(ALL)), default=0)
    for job, edition in dict.fromkeys((w.spec.job, w.spec.edition) for w in wanted):
        mine = [w for w in wanted if (w.spec.job, w.spec.edition) == (job, edition)]
        with planned(store, *mine, job=job, edition=edition, scope=scope) as plan, store.transaction():
            store.add(plan, namespace=NAMESPACE, attempts=attempts, used=used or {}, now=NOW)
    return sorted((task for task in store.tasks(ALL) if task.id > last), key=lambda task: task.id)


@contextmanager
def planned(
    store: Store, *wanted: Wanted, job: str = "autumn", edition: str = "", scope: str = SCOPE
) -> Iterator[Plan]:
    """What a manifest wants."""
    plan = Plan(store, job=job, edition=edition, scope=scope)
    plan.extend(wanted)
    yield plan
    plan.close()


def used(task_id: str = "autumn-elsewhere-a1", *, attempt: int = 1, posts: int = 1, account: str = "k1") -> Used:
    """What an output folder may know of a task."""
    return Used(external_task_id=task_id, attempt=attempt, posts=posts, account=account)


def generation(**changes) -> Generation:
    known = {"id": "845", "status": GenerationStatus.SUBMITTED}
    return Generation(**(known | changes))


def bring(store: Store, task: Task, status: Status, *, now: float = NOW) -> Task:
    """Walk a task on to a status, as a run would."""
    steps = {
        Status.SUBMITTING: lambda t: store.claim(t, now=now),
        Status.SUBMITTED: lambda t: store.accepted(t, generation(), request_id="r-1", how="create", now=now),
        Status.PROCESSING: lambda t: store.processing(t, now=now),
        Status.SUCCEEDED: lambda t: store.succeeded(t, generation(videos=(Video(url=URL),)), now=now),
        Status.DOWNLOADED: lambda t: store.downloaded(t, [clip(t)], now=now),
    }
    order = [Status.PENDING, *steps]
    for step in order[order.index(task.status) + 1 : order.index(status) + 1]:
        if step is not Status.PROCESSING or status is step:
            task = steps[step](task)
    return task


def clip(task: Task) -> Asset:
    return Asset(task_id=task.id, kind="video", path=f"{task.output}.mp4", size_bytes=9, sha256="ab", duration_s=5.1)


def spent(store: Store, *, now: float = NOW, **which) -> Spent:
    return store.spent(**({"job": "autumn", "edition": "", "scope": SCOPE, "day": iso(now)[:10]} | which))


def attempt_row(store: Store, task: Task) -> dict[str, Any]:
    return store.attempts(task)[-1]
