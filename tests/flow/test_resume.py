"""Killed at any moment, any number of times: run again, and nothing is paid twice, nothing lost."""

from __future__ import annotations

import random

import anyio
import pytest

from batcher.events import EventKind

pytestmark = pytest.mark.anyio

PROMPTS = 5


async def finish(lab, manifest, **choices):
    """Run until a run says that it is done."""
    for _ in range(5):
        ran = await lab.run(manifest, **choices)
        if ran.exit_code == 0:
            return
    raise AssertionError(f"never done: {ran.summary}, {lab.counts()}")


def at_event(lab, number):
    """A watcher that kills the run as it tells its event of this number."""
    left = iter(range(number - 1, -1, -1))
    return lambda _: lab.kill() if next(left, -1) == 0 else None


@pytest.mark.parametrize("number", range(2, 41, 3))
async def test_killed_at_any_event(make_lab, number):
    """Whatever it was telling when it died, the next run goes on from there."""
    lab = make_lab()
    manifest = lab.manifest(PROMPTS)
    ran = await lab.run(manifest, concurrency=3, watch=at_event(lab, number))
    assert ran.summary is None or len(ran.events) < number
    await finish(lab, manifest, concurrency=3)
    lab.assert_all_home(PROMPTS)


@pytest.mark.parametrize("where", ["out", "back"])
@pytest.mark.parametrize("number", range(1, PROMPTS + 1))
async def test_killed_around_any_create_call(make_lab, number, where):
    """On its way, or answered and not yet written down: it is looked up first, even where an id would sell again."""
    lab = make_lab(used_ids="create")
    manifest = lab.manifest(PROMPTS)
    lab.network.at_post = lambda n, w: lab.kill() if (n, w) == (number, where) else None
    ran = await lab.run(manifest, concurrency=3)
    assert ran.summary is None
    lab.network.at_post = lambda n, w: None
    await finish(lab, manifest, concurrency=3)
    lab.assert_all_home(PROMPTS)


@pytest.mark.parametrize("used_ids", ["refuse", "reword", "return", "create"])
@pytest.mark.parametrize("seed", range(2))
async def test_killed_again_and_again(make_lab, seed, used_ids):
    """Six lives cut short at random moments, whatever the provider does with an id that it knows: one charge each."""
    rng = random.Random(seed)
    lab = make_lab(limit=3, used_ids=used_ids, seed=seed)
    manifest = lab.manifest(PROMPTS)
    for life in range(6):
        lab.seed = life
        async with anyio.create_task_group() as group:

            async def strike():
                await anyio.sleep(rng.uniform(0, 200))
                lab.kill()

            group.start_soon(strike)
            await lab.run(manifest)
            group.cancel_scope.cancel()
    await finish(lab, manifest)
    lab.assert_all_home(PROMPTS)


@pytest.mark.parametrize("seed", range(4))
async def test_killed_in_bad_weather(make_lab, seed):
    """Kills at random events while every third call meets some fault: one charge each, all clips whole."""
    rng = random.Random(seed)
    lab = make_lab(
        limit=3,
        seed=seed,
        faults={
            **dict.fromkeys(("reset-after", "html-502-created", "zombie", "html-502", "1302", "524-created"), 0.06),
            **dict.fromkeys(("look-502", "look-stall", "look-1302"), 0.05),
            **dict.fromkeys(("asset-403", "asset-cut", "asset-unsized", "asset-html"), 0.08),
        },
    )
    manifest = lab.manifest(PROMPTS)
    for _ in range(5):
        await lab.run(manifest, watch=at_event(lab, rng.randrange(1, 40)))
    lab.change_provider()
    for _ in range(5):
        ran = await lab.run(manifest)
    assert set(lab.ledger.charges.values()) == {1}
    assert lab.counts().keys() <= {"downloaded", "unclear"}
    assert ran.exit_code == (1 if "unclear" in lab.counts() else 0)


async def test_a_limit_holds_over_lives(make_lab):
    """What a dead run left at the provider counts against the limit of the next."""
    lab = make_lab()
    manifest = lab.manifest(8)
    for number in (6, 14, 20, 30):
        await lab.run(manifest, concurrency=2, watch=at_event(lab, number))
    await finish(lab, manifest, concurrency=2)
    lab.assert_all_home(8)
    assert lab.ledger.totals["max_in_flight"] <= 2


async def test_interrupted_once(make_lab):
    """The first Ctrl-C: nothing new is sent, what is at the provider waits for the next run, the state is clean."""
    lab = make_lab()
    manifest = lab.manifest(6)

    async with anyio.create_task_group() as group:

        async def interrupt():
            await anyio.sleep(50)
            lab.batch.session.halt(lab.interruption)

        group.start_soon(interrupt)
        ran = await lab.run(manifest, concurrency=3)
    assert ran.exit_code == 130
    assert lab.clock.monotonic() < 55
    assert lab.counts() == {"pending": 3, "processing": 3}
    await finish(lab, manifest)
    lab.assert_all_home(6)


async def test_interrupted_twice(make_lab):
    """The second Ctrl-C cuts even a create call: its task stays in doubt, and the next run settles it."""
    lab = make_lab(latency_s=10)
    manifest = lab.manifest(3)

    async with anyio.create_task_group() as group:

        async def interrupt():
            await anyio.sleep(15)
            lab.batch.session.halt(lab.interruption)
            await anyio.sleep(1)
            lab.batch.session.abort()

        group.start_soon(interrupt)
        await lab.run(manifest)
    assert lab.clock.monotonic() < 17
    assert lab.counts()["submitting"] == 1
    await finish(lab, manifest)
    lab.assert_all_home(3)


async def test_a_run_that_has_nothing_to_do_asks_nothing(make_lab):
    """A finished job run again sends not one request."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await finish(lab, manifest)
    before = lab.ledger.totals["requests"]
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    assert lab.ledger.totals["requests"] == before
    assert not ran.of(EventKind.SUBMIT)
