"""Generations that never end, and providers that are gone for a while."""

from __future__ import annotations

import random

import anyio
import pytest

from batcher.events import EventKind
from batcher.generations import Look, Sight
from batcher.tasks import IN_FLIGHT, Status

pytestmark = pytest.mark.anyio


async def outage(lab, *, after_s, for_s):
    await anyio.sleep(after_s)
    lab.network.down = True
    await anyio.sleep(for_s)
    lab.network.down = False


async def test_a_generation_that_never_ends(make_lab):
    """It is overdue after the time-out: the run ends (exit 1), nothing is resubmitted, the next run looks once."""
    lab = make_lab(script=("ok", "never-ends"))
    manifest = lab.manifest(3)
    ran = await lab.run(manifest)
    assert ran.exit_code == 1
    assert len(ran.of(EventKind.OVERDUE)) == 1
    assert 1800 <= lab.clock.monotonic() < 1900
    looks, started = lab.ledger.totals["looks"], lab.clock.monotonic()
    ran = await lab.run(manifest)
    assert ran.exit_code == 1
    assert lab.ledger.totals["looks"] == looks + 1
    assert lab.clock.monotonic() - started < 30
    assert lab.ledger.totals["charged"] == 3
    assert [task.overdue for task in lab.tasks(Status.PROCESSING)] == [True]


@pytest.mark.timeout(20)
async def test_the_last_looks_are_slow(make_lab):
    """Nothing but overdue tasks is left, and one's look is still under way: it is waited for, without spinning."""

    rng = random.Random(1)

    async def find(api, generation_id):
        await anyio.sleep(rng.choice((0, 45)) if lab.clock.monotonic() > 1800 else 0)
        return await api.find(generation_id)

    lab = make_lab(faults={"never-ends": 1.0})
    lab.meddle(find=find)
    assert (await lab.run(lab.manifest(6))).exit_code == 1
    assert lab.clock.monotonic() < 2000


async def test_late_is_better_than_never(make_lab):
    """An overdue generation that ends after all comes home with a later run."""
    lab = make_lab(script=("ok", "slow-tail"))
    manifest = lab.manifest(3, run={"timeout": "10m"})
    assert (await lab.run(manifest)).exit_code == 1
    await anyio.sleep(3600)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(3)
    assert not any(task.overdue for task in lab.tasks())


async def test_an_overdue_one_gives_its_slot_back(make_lab):
    """It counts against the limit for twice the time-out, and then no more."""
    lab = make_lab(script=("never-ends",))
    manifest = lab.manifest(3, run={"timeout": "10m"})
    ran = await lab.run(manifest, concurrency=1)
    assert ran.exit_code == 1
    assert lab.counts() == {"downloaded": 2, "processing": 1}
    second = sorted(create["at"] for create in lab.ledger.creates)[1]
    assert second - lab.ledger.creates[0]["at"] >= 1200


async def test_a_generation_that_vanishes(make_lab):
    """Accepted, and then unknown to the provider: kept with its id, never sent again, told; it may come back."""
    lab = make_lab()
    manifest = lab.manifest(2)
    lost = []

    async def find(api, generation_id):
        if not lost:
            lost.append(generation_id)
        if generation_id in lost:
            return Look(sight=Sight.ABSENT, detail="HTTP 400, code 1201")
        return await api.find(generation_id)

    lab.meddle(find=find)
    ran = await lab.run(manifest)
    assert ran.exit_code == 1
    assert any("does not know it" in event.detail["message"] for event in ran.of(EventKind.WARNING))
    assert [(task.generation_id, task.overdue) for task in lab.tasks(*IN_FLIGHT)] == [(lost[0], True)]
    assert set(lab.ledger.charges.values()) == {1}
    lab.provider = lambda api: api
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


async def test_an_outage_of_most_of_an_hour(make_lab):
    """The provider is gone for 50 minutes in the middle: the run waits, and ends well."""
    lab = make_lab()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: outage(lab, after_s=100, for_s=3000))
        ran = await lab.run(lab.manifest(8, run={"timeout": "3h"}), concurrency=3)
    assert ran.exit_code == 0
    lab.assert_all_home(8)


async def test_an_outage_without_end(make_lab):
    """After an hour without an answer the run ends (exit 69), and a later one goes on."""
    lab = make_lab()
    manifest = lab.manifest(8, run={"timeout": "3h"})
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: outage(lab, after_s=100, for_s=9000))
        ran = await lab.run(manifest, concurrency=3)
        assert ran.exit_code == 69
        assert 3600 <= lab.clock.monotonic() - 100 < 4000
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(8)


@pytest.mark.parametrize("left", ["nothing", "doubt", "paid"])
async def test_nobody_there_from_the_start(make_lab, left):
    """Whatever an earlier run left, half a minute without an answer is enough: exit 69."""
    lab = make_lab()
    manifest = lab.manifest(3)
    if left == "doubt":
        lab.network.at_post = lambda number, where: lab.kill() if (number, where) == (1, "back") else None
        await lab.run(manifest)
    if left == "paid":
        await lab.run(manifest, submit_only=True)
    lab.network.at_post = lambda number, where: None
    lab.network.down = True
    started = lab.clock.monotonic()
    ran = await lab.run(manifest)
    assert ran.exit_code == 69
    assert lab.clock.monotonic() - started < 240
    assert "failed" not in lab.counts()
    lab.network.down = False
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)
