"""Hints that a generation moved, true and false, in virtual time: they make looks earlier and change nothing else."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

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


@pytest.fixture
def hardly_polls(monkeypatch):
    monkeypatch.setattr("batcher.runner.walk._next_look", lambda *_: 3600.0)


async def test_a_hint_brings_the_look_forward(make_lab, hardly_polls):
    """By the provider's id or by ours, told once when it is done: minutes instead of hours, one look each."""
    lab = make_lab()

    async def tell(take):
        told = set()
        while True:
            await anyio.sleep(1)
            for g in generations(lab):
                if g.ends_at is not None and g.ends_at <= lab.clock.now() and g.id not in told:
                    told.add(g.id)
                    take(g.id if len(told) % 2 else g.external_id)

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
