"""The account's limit: found, followed, shared and remembered."""

from __future__ import annotations

from bisect import bisect

import anyio
import pytest

from batcher.events import EventKind
from batcher.policy.concurrency import START
from batcher.state.queries import Queries

from .harness import Network

pytestmark = pytest.mark.anyio


def learnt_of(lab):
    queries = Queries.open(lab.state)
    try:
        return queries.learnt(lab.endpoint.scope)[0]
    finally:
        queries.close()


def running_at(lab, date):
    """How many generations the provider had at work."""
    accepted = sorted(create["at"] for create in lab.ledger.creates if create["charged"])
    return bisect(accepted, date) - bisect(sorted(lab.ends().values()), date)


def refused_share(lab):
    outcomes = lab.ledger.outcomes
    return outcomes["refused 1303"] / outcomes.total()


@pytest.mark.parametrize("lists", [True, False])
async def test_a_roomy_account_is_filled(make_lab, lists):
    """Nobody said how many it takes: thirty are at work before the first is done, and none was refused."""
    lab = make_lab(lists=lists, limit=100)
    await lab.run(lab.manifest(30))
    lab.assert_all_home(30)
    assert running_at(lab, min(lab.ends().values()) - 1) == 30
    assert not refused_share(lab)
    assert learnt_of(lab) > START


@pytest.mark.slow
@pytest.mark.parametrize("lists", [True, False])
async def test_a_limit_that_moves_is_followed(make_lab, lists):
    """Twelve slots, then three, then twelve again: few are refused, and all twelve are found again."""
    lab = make_lab(lists=lists, limit=12)
    manifest = lab.manifest(160)

    async def move():
        await anyio.sleep(900)
        lab.change_provider(limit=3)
        await anyio.sleep(1800)
        assert running_at(lab, lab.clock.now()) in (2, 3)  # one may have ended just now
        lab.change_provider(limit=12)
        await anyio.sleep(1500)
        now = lab.clock.now()
        assert max(running_at(lab, now - ago) for ago in range(1400)) == 12

    async with anyio.create_task_group() as group:
        group.start_soon(move)
        await lab.run(manifest)
    lab.assert_all_home(160)
    assert refused_share(lab) < 0.2


@pytest.mark.slow
async def test_two_states_on_one_account_find_a_division(make_lab, tmp_path):
    """Another program uses the same account: it is seen only as refusals. Both end, neither floods the provider."""
    (tmp_path / "other").mkdir()
    lab = make_lab(limit=10)
    other = type(lab)(tmp_path / "other")
    other.clock, other.world, other.app, other.network = lab.clock, lab.world, lab.app, Network(lab.app)
    async with anyio.create_task_group() as group:
        group.start_soon(lab.run, lab.manifest(60, job="ours"))
        group.start_soon(other.run, other.manifest(60, job="theirs"))
    for each in (lab, other):
        assert each.counts() == {"downloaded": 60}
    assert set(lab.ledger.charges.values()) == {1}
    assert lab.ledger.totals["max_in_flight"] == 10
    assert lab.busy_share(slots=10) > 0.75
    assert refused_share(lab) < 0.2


async def test_a_killed_run_leaves_what_it_learnt(make_lab):
    """The limit is written down when it changes, not at the end."""
    lab = make_lab(limit=2)

    def die(event):
        if event.kind is EventKind.DONE:
            lab.kill()

    ran = await lab.run(lab.manifest(12), watch=die)
    assert ran.summary is None
    assert learnt_of(lab) == 2
    before = lab.ledger.outcomes["refused 1303"]
    await lab.run(lab.manifest(12))
    assert lab.ledger.outcomes["refused 1303"] - before <= 6
    lab.assert_all_home(12)


async def test_a_small_wish_does_not_shrink_what_is_known(make_lab):
    """A run with -j 2 on an account of 12 says nothing of the other ten."""
    lab = make_lab(limit=12)
    await lab.run(lab.manifest(40))
    known = learnt_of(lab)
    assert known >= 12
    await lab.run(lab.manifest(4, job="sequel"), concurrency=2)
    assert learnt_of(lab) == known


async def test_too_many_requests_a_second_are_no_wall(make_lab):
    """1302 is about haste: the run goes on growing beyond the number at which it met it."""
    lab = make_lab(limit=100, faults={"1302": 0.1})
    await lab.run(lab.manifest(40))
    lab.assert_all_home(40)
    assert lab.ledger.outcomes["refused 1302"] > 0
    assert learnt_of(lab) > START
