"""One commit for all that is written at the same moment: on disk before it is told, and undone as one."""

from __future__ import annotations

from contextlib import closing, contextmanager

import anyio
import pytest
from choked import choked

from batcher.errors import DiskError, StateError
from batcher.state.queries import Queries
from batcher.tasks import Status
from state.samples import NOW, add, want

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def tasks(store):
    return add(store, *(want(f"fox-{n}") for n in range(5)))


@contextmanager
def commits(store):
    """Every COMMIT in here."""
    found = []
    store._db.set_trace_callback(lambda statement: found.append(statement) if statement == "COMMIT" else None)
    yield found
    store._db.set_trace_callback(None)


def on_disk(path):
    """What another process sees."""
    with closing(Queries.open(path)) as queries:
        return [queries.task(task_id).status for task_id in range(1, 6)]


async def claim_together(store, tasks):
    """Claim each in a task of its own. What each got: `claimed`, or its error."""
    results = []

    async def claim(task):
        try:
            store.claim(task, now=NOW)
            await store.durable()
        except (DiskError, StateError) as exc:
            results.append(exc)
        else:
            results.append("claimed")
            assert on_disk(store.path)[task.id - 1] == Status.SUBMITTING

    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(claim, task)
    return results


async def test_what_is_written_together_is_committed_once(store, tasks):
    """And each that waited finds its own on the disk, as another process would."""
    with store.grouped(), commits(store) as made:
        assert await claim_together(store, tasks) == ["claimed"] * 5
        assert len(made) == 1


async def test_nobody_else_sees_it_before(store, tasks, path):
    with store.grouped():
        store.claim(tasks[0], now=NOW)
        assert store.task(tasks[0].id).status is Status.SUBMITTING
        assert on_disk(path)[0] == Status.PENDING
        await store.durable()
        assert on_disk(path)[0] == Status.SUBMITTING


async def test_one_that_fails_takes_no_other_with_it(store, tasks):
    stale = tasks[2]
    store.dropped(stale, now=NOW)
    with store.grouped():
        results = await claim_together(store, tasks)
    assert results.count("claimed") == 4
    assert [type(result) for result in results if result != "claimed"] == [StateError]
    assert on_disk(store.path) == ["submitting", "submitting", "cancelled", "submitting", "submitting"]


async def test_a_transaction_that_fails_half_way_leaves_nothing_of_itself(store, tasks):

    def claim_and_fall():
        with store.transaction():
            store.claim(tasks[1], now=NOW)
            raise ZeroDivisionError

    with store.grouped():
        store.claim(tasks[0], now=NOW)
        with pytest.raises(ZeroDivisionError):
            claim_and_fall()
        await store.durable()
    assert on_disk(store.path)[:2] == [Status.SUBMITTING, Status.PENDING]


async def test_a_commit_that_fails_is_everybodys(store, tasks):
    """All who wrote are told, nothing of it happened, and the same can be tried again."""
    with store.grouped():
        with choked():
            results = await claim_together(store, tasks)
        assert [type(result) for result in results] == [DiskError] * 5
        assert {store.task(task.id).status for task in tasks} == {Status.PENDING}
        assert await claim_together(store, tasks) == ["claimed"] * 5


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # which is first started is first run
async def test_a_group_that_sqlite_gives_up_is_everybodys(store, tasks):
    """A full disk may end the transaction at a statement, savepoints and all: who wrote before is told, too."""

    async def fall():
        with pytest.raises(DiskError), store.transaction():  # noqa: PT012 - two steps of one death
            store._db.execute("ROLLBACK")  # as SQLite itself does
            raise DiskError("full", hint="make room")

    with store.grouped():
        async with anyio.create_task_group() as group:
            group.start_soon(fall)
            store.claim(tasks[0], now=NOW)
            with pytest.raises(DiskError):
                await store.durable()
        assert await claim_together(store, tasks[2:3]) == ["claimed"]
    assert on_disk(store.path) == ["pending", "pending", "submitting", "pending", "pending"]


async def test_cancelling_leaves_nothing_half_way(store, tasks):
    """Who wrote and is cancelled at once has written."""
    with store.grouped():
        with anyio.CancelScope() as scope:
            scope.cancel()
            store.claim(tasks[0], now=NOW)
            await store.durable()
        assert on_disk(store.path)[0] == Status.SUBMITTING


async def test_the_end_of_a_run_leaves_nothing_open(store, tasks, path):
    with store.grouped():
        store.claim(tasks[0], now=NOW)
    assert on_disk(path)[0] == Status.SUBMITTING
    store.claim(tasks[1], now=NOW)
    assert on_disk(path)[1] == Status.SUBMITTING
