"""Hints that a generation moved, true and false, in virtual time: they make looks earlier and change nothing else."""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager

import anyio
import pytest

from batcher.events import EventKind

pytestmark = pytest.mark.anyio


def hinted(lab, hints):
    """Give this lab's runs a source of hints."""
    opening = lab.open

    @asynccontextmanager
    async def opened():
        async with opening() as batch:
            batch.hints = hints
            yield batch

    lab.open = opened


def generations(lab):
    """Those of which the provider knows, whatever the run knows yet."""
    return [g for account in lab.world._accounts.values() for g in account.generations.values()]


async def tell_of_ends(lab, tell, *, every_s=1.0):
    """Call `tell` once for each generation that has ended, with how many that makes."""
    told = set()
    while True:
        await anyio.sleep(every_s)
        for g in generations(lab):
            if g.ends_at is not None and g.ends_at <= lab.clock.now() and g.id not in told:
                told.add(g.id)
                tell(g, len(told))


@pytest.fixture
def hardly_polls(monkeypatch):
    monkeypatch.setattr("batcher.runner.waiting._gap_s", lambda *_: 3600.0)


async def test_a_hint_brings_the_look_forward(make_lab, hardly_polls):
    """By the provider's id or by ours, told once when it is done: minutes instead of hours, one look each."""
    lab = make_lab(lists=False)

    async def tell(take):
        await tell_of_ends(lab, lambda g, number: take(g.id if number % 2 else g.external_id))

    hinted(lab, tell)
    started = lab.clock.monotonic()
    assert (await lab.run(lab.manifest(6))).exit_code == 0
    assert lab.clock.monotonic() - started < 1800
    lab.assert_all_home(6)


@pytest.mark.timeout(20)
async def test_any_hints_at_any_time_end_as_without_them(make_lab):
    """Each second, for every id there is, and for nobody's: from before the acceptance until after the end."""
    lab = make_lab(faults={"reset-after": 0.3})

    async def shout(take):
        while True:
            await anyio.sleep(5)
            for g in generations(lab):
                take(g.external_id)
                take(g.id)
            take("nobody-a1")

    hinted(lab, shout)
    assert (await lab.run(lab.manifest(6))).exit_code == 0
    lab.assert_all_home(6)


async def test_a_run_that_waits_for_hints_leaves_when_it_is_told_to(make_lab, hardly_polls):
    lab = make_lab(faults={"never-ends": 1.0})

    async def silence(_):
        await anyio.sleep_forever()

    hinted(lab, silence)
    started = lab.clock.monotonic()
    assert (await lab.run(lab.manifest(3), deadline_s=100.0)).exit_code == 75
    assert lab.clock.monotonic() - started < 200


async def looks_at_hints(make_lab, hints, *, tasks=6, **settings):
    """Run with these hints; the lab, and when each generation was looked at by itself."""
    lab, looks = make_lab(lists=False, limit=20, **settings), defaultdict(list)

    async def find(api, generation_id):
        looks[generation_id].append(lab.clock.monotonic())
        return await api.find(generation_id)

    lab.meddle(find=find)
    hinted(lab, lambda take: hints(lab, take))
    ran = await lab.run(lab.manifest(tasks), concurrency=6)
    assert ran.exit_code == 0
    return lab, looks, ran


async def test_many_hints_for_one_task_are_one_look(make_lab, hardly_polls):
    """All callbacks of an end arrive ten times over."""

    async def shout(lab, take):
        await tell_of_ends(lab, lambda g, _: [take(each) for each in (g.id, g.external_id) * 10])

    lab, looks, _ = await looks_at_hints(make_lab, shout)
    lab.assert_all_home(6)
    assert {len(each) for each in looks.values()} <= {1, 2}


async def test_a_hint_that_comes_before_the_acceptance_is_kept(make_lab, hardly_polls):
    """The provider may call back before its answer to the create call is here."""

    async def early(lab, take):
        lab.network.at_post = lambda number, where: [take(g.external_id) for g in generations(lab)]
        await anyio.sleep_forever()

    _, looks, _ = await looks_at_hints(make_lab, early, tasks=1, faults={"fails": 0.0})
    assert min(min(each) for each in looks.values()) < 10


async def test_without_callbacks_that_arrive_looks_are_as_often_as_ever(make_lab):
    """A tunnel is down, or its address wrong: told once, after a few ends of which nobody called."""

    async def silence(lab, take):
        await anyio.sleep_forever()

    lab, _, ran = await looks_at_hints(make_lab, silence, tasks=30)
    lab.assert_all_home(30)
    told = [event for event in ran.of(EventKind.WARNING) if "no callback" in event.detail["message"]]
    assert len(told) == 1


async def test_with_callbacks_looks_of_our_own_are_rare(make_lab):
    """One in fifty is lost, and found by the sweep."""

    told_at = []

    async def tell(lab, take):
        def tell_most(g, number):
            if number % 50:
                told_at.append(lab.clock.monotonic())
                take(g.id)

        await tell_of_ends(lab, tell_most, every_s=0.5)

    lab, looks, _ = await looks_at_hints(make_lab, tell, tasks=60)
    lab.assert_all_home(60)
    # Until the first callback has come nobody counts on any; from then on each end is looked at once, for its word.
    assert sum(at >= told_at[0] for each in looks.values() for at in each) <= 1.5 * 60
