"""Generations that fail: what fails alone, what is bought again, what a person may retry."""

from __future__ import annotations

import pytest

from batcher.providers.cometapi import CometApi
from batcher.tasks import Status

from .harness import PRICE_USD

pytestmark = pytest.mark.anyio


async def test_refused_by_moderation(make_lab):
    """A prompt that is refused fails alone, unpaid, and is not tried again however many attempts are allowed."""
    lab = make_lab()
    manifest = lab.manifest(["the sea", "simulate refusal", "a ship"], run={"attempts": 3})
    ran = await lab.run(manifest)
    assert ran.exit_code == 1
    failed = lab.tasks(Status.FAILED)[0]
    assert (failed.error_class, failed.attempt) == ("content", 1)
    assert lab.ledger.outcomes == {"accepted": 2, "refused 1301": 1}
    assert lab.spent_usd() == pytest.approx(2 * PRICE_USD)


async def test_failed_by_moderation(make_lab):
    """A generation that risk control ends counts as bought, and is not bought again."""
    lab = make_lab()
    manifest = lab.manifest(["the sea", "simulate failure", "a ship"], run={"attempts": 3})
    assert (await lab.run(manifest)).exit_code == 1
    failed = lab.tasks(Status.FAILED)[0]
    assert (failed.error_class, failed.attempt) == ("content", 1)
    assert lab.ledger.totals["charged"] == 3
    assert lab.spent_usd() == pytest.approx(3 * PRICE_USD)
    assert (await lab.run(manifest)).exit_code == 1
    assert lab.ledger.totals["charged"] == 3


async def test_a_second_attempt_is_a_second_purchase(make_lab):
    """With `attempts: 2` a failure of the provider is bought once more, under the next id."""
    lab = make_lab(script=("ok", "fails"))
    ran = await lab.run(lab.manifest(3, run={"attempts": 2}))
    assert ran.exit_code == 0
    assert lab.counts() == {"downloaded": 3}
    assert sorted(task.attempt for task in lab.tasks()) == [1, 1, 2]
    assert lab.ledger.totals["charged"] == 4
    assert set(lab.ledger.charges.values()) == {1}
    assert sum(name.endswith("-a2") for name in lab.ledger.charges) == 1
    assert lab.spent_usd() == pytest.approx(4 * PRICE_USD)


async def test_one_attempt_is_the_default(make_lab):
    """Nobody agreed to pay again: a failure stays one."""
    lab = make_lab(script=("ok", "fails"))
    assert (await lab.run(lab.manifest(3))).exit_code == 1
    assert lab.counts() == {"downloaded": 2, "failed": 1}
    assert lab.ledger.totals["charged"] == 3


async def test_attempts_end(make_lab):
    """Two attempts are two, however often the job is run."""
    lab = make_lab(faults={"fails": 1.0})
    manifest = lab.manifest(2, run={"attempts": 2})
    for _ in range(3):
        assert (await lab.run(manifest)).exit_code == 1
    assert lab.ledger.totals["charged"] == 4


async def test_another_attempt_stays_in_the_budget(make_lab):
    """What the budget does not hold is not bought a second time either."""
    lab = make_lab(script=("ok", "fails"))
    manifest = lab.manifest(2, run={"attempts": 2}, budget={"max_usd": 2.5 * PRICE_USD})
    assert (await lab.run(manifest)).exit_code == 3
    assert lab.ledger.totals["charged"] == 2
    assert (await lab.run(manifest, max_usd=3 * PRICE_USD)).exit_code == 0
    assert lab.ledger.totals["charged"] == 3


async def test_retry_of_what_was_never_bought(make_lab):
    """`retry` of a refused prompt burns no id."""
    lab = make_lab()
    await lab.run(lab.manifest(["the sea", "simulate refusal"]))
    failed = lab.tasks(Status.FAILED)
    lab.change_provider(refused_words=())
    assert (await lab.retry(failed)).exit_code == 0
    lab.assert_all_home(2)
    assert failed[0].external_task_id in lab.ledger.charges


async def test_retry_of_what_failed(make_lab):
    """`retry` of a failed generation is a purchase of its own."""
    lab = make_lab(script=("ok", "fails"))
    await lab.run(lab.manifest(3))
    failed = lab.tasks(Status.FAILED)
    assert (await lab.retry(failed)).exit_code == 0
    assert lab.counts() == {"downloaded": 3}
    assert failed[0].external_task_id.removesuffix("-a1") + "-a2" in lab.ledger.charges
    assert lab.ledger.totals["charged"] == 4


async def test_a_machine_without_memory_stops_the_buying(make_lab):
    """Whichever task meets it first, the next one would too: 78, and what may have been sent is paid once."""

    async def find(api, generation_id):
        raise MemoryError

    lab = make_lab()
    lab.meddle(find=find)
    manifest = lab.manifest(6)
    ran = await lab.run(manifest, concurrency=1)
    assert (ran.exit_code, ran.summary.reason) == (78, "out of memory")
    assert lab.ledger.totals["charged"] == 1
    lab.meddle()
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(6)


async def test_a_defect_takes_nobody_with_it(make_lab):
    """When the code breaks over one task, the others come home, and nothing is sent a second time for it."""

    class Breaks(CometApi):
        is_broken = True

        async def create(self, request, *, external_task_id):
            posted = await super().create(request, external_task_id=external_task_id)
            if self.is_broken and request["prompt"].startswith("scene 2"):
                raise KeyError("a defect")
            return posted

    lab = make_lab()
    lab.provider = lambda api: Breaks(api._client, scope=api.scope)
    manifest = lab.manifest(4)
    ran = await lab.run(manifest)
    assert ran.exit_code == 75
    assert lab.counts() == {"downloaded": 3, "submitting": 1}
    lab.provider = lambda api: api
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)
