"""`retry` is consent to one purchase more, and to no other."""

from __future__ import annotations

import pytest

from batcher.errors import UsageError
from batcher.generations import Fate, Posted, Refusal, RefusalKind
from batcher.simulator.faults import Moods
from batcher.tasks import Status

from .harness import PRICE_USD

pytestmark = pytest.mark.anyio


async def test_retry_of_what_was_never_bought_buys_one(make_lab):
    """Refused, so unbought: its retry is the first purchase. When that one fails, nobody consented to another."""
    lab = make_lab()
    refused = Posted(
        fate=Fate.REFUSED,
        refusal=Refusal(kind=RefusalKind.CONTENT, code="1301", message="risk", http_status=400),
    )

    async def create(api, request, *, external_task_id):
        return refused

    lab.meddle(create=create)
    await lab.run(lab.manifest(1))
    lab.meddle()
    lab.world.moods = Moods({}, ("fails",), seed=0)
    assert (await lab.retry(lab.tasks(Status.FAILED))).exit_code == 1
    assert lab.ledger.totals["charged"] == 1


async def test_an_interrupted_retry_is_not_undone(make_lab):
    """Stopped by its budget before it sent anything: what it marked waits for the next run, under its new id."""
    lab = make_lab(finds_external_ids=False, lists=False, script=("fails",))
    manifest = lab.manifest(1)
    await lab.run(manifest)
    assert (await lab.retry(lab.tasks(), max_usd=PRICE_USD / 2)).exit_code == 3
    marked = lab.tasks()
    assert marked[0].status is Status.PENDING
    assert (await lab.run(manifest)).exit_code == 0
    assert lab.tasks()[0].external_task_id == marked[0].external_task_id
    assert lab.ledger.totals["charged"] == 2
    assert lab.spent_usd() == pytest.approx(2 * PRICE_USD)


async def test_a_retry_marked_twice_is_bought_once(make_lab):
    """`retry` again, after one that was stopped before it sent anything: the same attempt, not one more."""
    lab = make_lab(script=("fails",))
    await lab.run(lab.manifest(1))
    await lab.retry(lab.tasks(), max_usd=PRICE_USD / 2)
    assert (await lab.retry(lab.tasks())).exit_code == 0
    assert [task.attempt for task in lab.tasks()] == [2]
    assert lab.ledger.totals["charged"] == 2


async def test_retry_of_what_has_no_price(make_lab):
    """A budget in dollars cannot hold a clip of unknown price: nothing is marked, nothing is sent."""
    lab = make_lab(script=("fails",))
    await lab.run(lab.manifest(1, defaults={"model_name": "kling-v9-new", "mode": "std", "duration": 5}))
    before = lab.tasks()
    with pytest.raises(UsageError, match="price"):
        await lab.retry(before, max_usd=100)
    assert lab.tasks() == before
    assert len(lab.ledger.creates) == 1
