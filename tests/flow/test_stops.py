"""Ways to stop: each says why, buys nothing more, and can be gone on from."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace

import anyio
import pytest

from batcher.errors import DiskError, StateError
from batcher.events import EventKind
from batcher.generations import Fate, Posted, Refusal, RefusalKind
from batcher.simulator.faults import Moods
from batcher.state.store import Store
from batcher.tasks import Status

from .harness import PRICE_USD

pytestmark = pytest.mark.anyio

SPACE = "batcher.assets.disk.CLIP_BYTES"
BLIND = {"finds_external_ids": False, "lists": False, "used_ids": "create"}


FULL = DiskError("database or disk is full", hint="make room")
LOCKED = StateError("state.db is locked by another program", hint="close it")


def fail_acceptances(monkeypatch, error, *, times):
    """Let the state refuse so many times to write an acceptance down."""
    left, accepted = iter(range(times)), Store.accepted

    def full(self, *args, **options):
        if next(left, None) is not None:
            raise error
        return accepted(self, *args, **options)

    monkeypatch.setattr(Store, "accepted", full)


def fails(error):
    def fail(*_, **__):
        raise error

    return fail


async def test_a_key_that_is_refused(make_lab):
    """One request tells: exit 77, nothing failed, and with a good key all goes on."""
    lab = make_lab(keys=frozenset({"another"}))
    manifest = lab.manifest(4)
    ran = await lab.run(manifest)
    assert ran.exit_code == 77
    assert lab.counts() == {"pending": 4}
    assert lab.ledger.totals["creates"] == 1
    lab.change_provider(keys=None)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


@pytest.mark.parametrize("faults", [("401",), ("gateway-401",), ("1304",), ("look-401",) * 9], ids=lambda f: f[0])
async def test_a_key_that_dies_on_the_way(make_lab, faults):
    """Nothing fails for it: the run leaves, and the next one brings everything home."""
    lab = make_lab(script=("ok", "ok", *faults))
    manifest = lab.manifest(5)
    ran = await lab.run(manifest, concurrency=2)
    assert ran.exit_code == 77
    assert "failed" not in lab.counts()
    lab.world.moods = Moods({}, (), seed=0)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(5)


@pytest.mark.parametrize("fault", ["1101", "1102", "gateway-quota"])
async def test_an_empty_account(make_lab, fault):
    """No more is sent, what is paid for comes home (exit 69); topped up, the run goes on."""
    lab = make_lab(script=("ok", "ok", fault))
    manifest = lab.manifest(5)
    ran = await lab.run(manifest, concurrency=2)
    assert ran.exit_code == 69
    assert lab.counts() == {"downloaded": 2, "pending": 3}
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(5)


async def test_the_balance_ends(make_lab):
    """An account with money for three clips makes three."""
    lab = make_lab(balance_units=6)
    ran = await lab.run(lab.manifest(5))
    assert ran.exit_code == 69
    assert lab.counts() == {"downloaded": 3, "pending": 2}


async def test_a_budget_in_dollars(make_lab):
    """Two clips fit: two are bought, and it says so with exit 3."""
    lab = make_lab()
    manifest = lab.manifest(5, budget={"max_usd": 2.9 * PRICE_USD})
    ran = await lab.run(manifest)
    assert ran.exit_code == 3
    assert "max_usd" in ran.summary.reason
    assert lab.counts() == {"downloaded": 2, "pending": 3}
    assert (await lab.run(manifest)).exit_code == 3
    assert lab.ledger.totals["charged"] == 2
    assert (await lab.run(manifest, max_usd=100)).exit_code == 0
    lab.assert_all_home(5)


@pytest.mark.parametrize(("factor", "bought"), [(1, 5), (2, 3), (0.5, 5)])
async def test_a_provider_that_takes_another_number_of_units(make_lab, factor, bought):
    """Told with the clip: twice as many count twice against the budget, and it is said; fewer free nothing."""
    lab = make_lab()

    async def find(api, generation_id):
        seen = await api.find(generation_id)
        if seen.generation is None or seen.generation.units is None:
            return seen
        return replace(seen, generation=replace(seen.generation, units=factor * seen.generation.units))

    lab.meddle(find=find)
    manifest = lab.manifest(5, budget={"max_usd": 5 * PRICE_USD})
    ran = await lab.run(manifest, concurrency=1)
    assert lab.counts() == {"downloaded": bought} | ({"pending": 5 - bought} if bought < 5 else {})
    assert ran.exit_code == (0 if bought == 5 else 3)
    assert lab.spent_usd() == pytest.approx(bought * PRICE_USD * max(1, factor))
    assert ran.summary.cost_usd == pytest.approx(bought * PRICE_USD * max(1, factor))
    warned = [event.detail["message"] for event in ran.of(EventKind.WARNING)]
    assert len(warned) == (factor != 1)
    assert factor == 1 or f"{2 * factor:g} units where 2 are usual" in warned[0]


async def test_a_budget_in_tasks(make_lab):
    """The same with a number of submissions."""
    lab = make_lab()
    manifest = lab.manifest(5, budget={"max_tasks": 3})
    for _ in range(2):
        assert (await lab.run(manifest)).exit_code == 3
    assert lab.counts() == {"downloaded": 3, "pending": 2}


async def test_a_budget_for_the_day(make_lab):
    """Two a day, over all jobs: five clips take three days."""
    lab = make_lab()
    manifests = [
        lab.manifest(n, job=job, budget={"max_usd_per_day": 2 * PRICE_USD}) for n, job in ((3, "one"), (2, "two"))
    ]
    for day in range(3):
        codes = [(await lab.run(manifest)).exit_code for manifest in manifests]
        assert lab.ledger.totals["charged"] == min(2 * (day + 1), 5)
        await anyio.sleep(86400)
    assert codes == [0, 0]
    lab.assert_all_home(5)


@pytest.mark.parametrize("seed", range(3))
async def test_a_budget_holds_over_kills(make_lab, seed):
    """Killed again and again, with faults: never is more bought than allowed, never more counted."""
    rng = random.Random(seed)
    lab = make_lab(seed=seed, faults={"html-502-created": 0.2, "fails": 0.2, "html-502": 0.1})
    manifest = lab.manifest(8, run={"attempts": 2}, budget={"max_usd": 5.5 * PRICE_USD})
    for _ in range(6):
        left = iter(range(rng.randrange(3, 30), -1, -1))
        await lab.run(manifest, concurrency=3, watch=lambda _, left=left: lab.kill() if next(left, 1) == 0 else None)
        assert lab.spent_usd() <= 5.5 * PRICE_USD
    ran = await lab.run(manifest)
    assert ran.exit_code == 3
    assert lab.ledger.totals["charged"] == 5
    assert set(lab.ledger.charges.values()) == {1}


async def test_a_deadline(make_lab):
    """After the time given it leaves, unfinished: exit 75."""
    lab = make_lab()
    manifest = lab.manifest(4)
    ran = await lab.run(manifest, deadline_s=60)
    assert ran.exit_code == 75
    assert lab.clock.monotonic() == pytest.approx(60, abs=2)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


async def test_fail_fast(make_lab):
    """The first failure is the last submission; what is at the provider comes home."""
    lab = make_lab()
    manifest = lab.manifest(["the sea", "simulate refusal", *(f"ship {n}" for n in range(8))])
    ran = await lab.run(manifest, concurrency=2, fail_fast=True)
    assert ran.exit_code == 1
    counts = lab.counts()
    assert counts["failed"] == 1
    assert counts["pending"] >= 6
    assert counts.keys() == {"failed", "pending", "downloaded"}


async def test_fail_fast_sends_nothing_that_was_only_claimed(make_lab):
    """A task claimed before the failure, and not sent yet as nobody could be reached, is not sent after it."""
    lab = make_lab()
    await lab.run(lab.manifest(1, job="before"))
    refused = Refusal(kind=RefusalKind.CONTENT, code="1301", message="risk", http_status=400)
    calls = iter(range(100))

    async def create(api, request, *, external_task_id):
        call = next(calls)
        if call == 0:
            return Posted(fate=Fate.REFUSED, refusal=refused)
        if call < 4:
            return Posted(fate=Fate.NOT_SENT, detail="no connection")
        return await api.create(request, external_task_id=external_task_id)

    lab.meddle(create=create)
    assert (await lab.run(lab.manifest(2), fail_fast=True, concurrency=2)).exit_code == 1
    assert lab.counts() == {"downloaded": 1, "failed": 1, "pending": 1}
    assert lab.ledger.totals["charged"] == 1


@pytest.mark.parametrize("left", ["busy", "html-502-created"])
async def test_canaries_go_alone(make_lab, left):
    """--canary 1: nobody else is sent while it was told to wait; where it ends unclear, nobody else at all."""
    lab = make_lab(**BLIND)
    await lab.run(lab.manifest(1, job="before"))
    lab.world.moods = Moods({}, ("1303" if left == "busy" else left,), seed=0)
    ran = await lab.run(lab.manifest(4), canary=1)
    asked = [create["external_task_id"] for create in lab.ledger.creates[1:]]
    if left == "busy":
        assert ran.exit_code == 0
        assert asked[0] == asked[1]
        assert lab.ledger.creates[3]["at"] > lab.ends()[asked[0]]
    else:
        assert ran.exit_code == 1
        assert lab.counts() == {"downloaded": 1, "unclear": 1, "pending": 3}


async def test_a_canary_that_never_ends(make_lab):
    """It is past its time-out: nobody else is sent, and the run ends (exit 1) instead of waiting for ever."""
    lab = make_lab(script=("never-ends",))
    with anyio.fail_after(24 * 3600):
        ran = await lab.run(lab.manifest(3), canary=1)
    assert ran.exit_code == 1
    assert ran.summary.reason == "a canary failed: s01-t1"
    assert lab.counts() == {"processing": 1, "pending": 2}


@pytest.mark.parametrize(("most", "failures"), [(2, 3), (0.2, 3), (20, 10)])
async def test_max_failures(make_lab, most, failures):
    """More failures than allowed, as a number or a share, stop the run."""
    lab = make_lab()
    ran = await lab.run(lab.manifest(["simulate refusal " + "x" * n for n in range(10)]), max_failures=most)
    assert ran.exit_code == 1
    assert failures <= lab.counts()["failed"] <= failures + 1


async def test_a_limit_on_this_run(make_lab):
    """--limit 2 twice is four clips, each a success of its own."""
    lab = make_lab()
    manifest = lab.manifest(5)
    for home in (2, 4, 5):
        assert (await lab.run(manifest, limit=2)).exit_code == 0
        assert lab.counts()["downloaded"] == home
    lab.assert_all_home(5)


async def test_submit_now_and_collect_later(make_lab):
    """--submit-only leaves at once with exit 75; `collect` brings all of it home and sends no create call."""
    lab = make_lab()
    manifest = lab.manifest(4)
    assert (await lab.run(manifest, submit_only=True)).exit_code == 75
    assert lab.clock.monotonic() < 10
    assert lab.counts() == {"submitted": 4}
    ran = await lab.collect("film")
    assert ran.exit_code == 0
    assert ran.summary.downloaded == 4
    lab.assert_all_home(4)


@pytest.mark.parametrize("number", [4, 8, 12, 18])
async def test_collect_never_buys(make_lab, number):
    """Whatever a dead run left, `collect` sends nothing; the next run still finds everything in order."""
    lab = make_lab(script=("ok", "html-502"))
    manifest = lab.manifest(5)
    left = iter(range(number))
    await lab.run(manifest, concurrency=2, watch=lambda _: lab.kill() if next(left, None) == number - 1 else None)
    before = lab.ledger.totals["creates"]
    await lab.collect()
    assert lab.ledger.totals["creates"] == before
    assert "unclear" not in lab.counts()
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(5)


async def test_a_selection(make_lab):
    """-s takes some, and the rest stays as it is."""
    lab = make_lab()
    ran = await lab.run(lab.manifest(5), include=("s0[12]*",))
    assert ran.exit_code == 0
    home = Counter(task.name for task in lab.tasks(Status.DOWNLOADED))
    assert home == {"s01-t1": 1, "s02-t1": 1}
    assert lab.ledger.totals["charged"] == 2


async def test_a_full_disk(make_lab):
    """No space for a clip: the run stops (exit 78), and with space again it comes home, unpaid."""
    lab = make_lab()
    manifest = lab.manifest(5)
    lab.is_disk_full = True
    ran = await lab.run(manifest, concurrency=2)
    assert ran.exit_code == 78
    assert ran.of(EventKind.STOPPING)
    assert not lab.clips()
    assert lab.ledger.totals["charged"] == 2
    lab.is_disk_full = False
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(5)


async def test_a_disk_that_fills_between_the_claim_and_the_call(make_lab, monkeypatch):
    """No space is left for the clip: it is not ordered (78), and its price and its id are free again."""
    lab = make_lab()
    manifest = lab.manifest(2)
    fill = lambda event: monkeypatch.setattr(SPACE, 10**18) if event.kind is EventKind.SUBMIT else None  # noqa: E731 - a watch
    assert (await lab.run(manifest, watch=fill)).exit_code == 78
    assert lab.counts() == {"pending": 2}
    assert lab.spent_usd() == 0
    assert not lab.ledger.creates
    monkeypatch.undo()
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


@pytest.mark.parametrize("error", [FULL, LOCKED], ids=["full", "locked"])
async def test_an_acceptance_that_cannot_be_written_for_a_moment(make_lab, monkeypatch, error):
    """A full disk at the worst moment: the provider's id is told, and kept in hand until it is on the disk."""
    lab = make_lab(**BLIND)
    fail_acceptances(monkeypatch, error, times=3)
    ran = await lab.run(lab.manifest(2), concurrency=1)
    assert ran.exit_code == 0
    [first, *_] = ran.of(EventKind.WARNING)
    assert f"accepted as generation {lab.tasks()[0].generation_id}: trying again" in first.detail["message"]
    lab.assert_all_home(2)


@pytest.mark.parametrize("error", [FULL, LOCKED], ids=["full", "locked"])
async def test_an_acceptance_that_cannot_be_written(make_lab, monkeypatch, error):
    """It stops the run (78) and says the id; with space again and a blind gateway, a person puts it in."""
    lab = make_lab(**BLIND)
    manifest = lab.manifest(1)
    with monkeypatch.context() as full:
        fail_acceptances(full, error, times=100)
        ran = await lab.run(manifest)
    assert ran.exit_code == 78
    generation_id = next(iter(lab.world._accounts.values())).generations.popitem()[0]
    assert f"generation {generation_id} " in ran.summary.reason
    assert ran.summary.hint.startswith(f"{error.hint}; ")
    assert f"resolve s01-t1 --adopt {generation_id}" in ran.summary.hint
    assert (await lab.run(manifest)).exit_code == 1
    assert lab.counts() == {"unclear": 1}
    assert lab.ledger.totals["charged"] == 1


async def test_a_disk_too_small_to_begin_with(make_lab, monkeypatch):
    """Where the clips will not fit, nothing is bought."""
    monkeypatch.setattr(SPACE, 10**18)
    lab = make_lab()
    with pytest.raises(Exception, match="free"):
        await lab.run(lab.manifest(2))
    assert lab.ledger.totals["creates"] == 0


async def test_an_error_before_the_first_call_ends_the_run_in_the_books(make_lab):
    """What is damaged stands in the way of the plan: `status` does not show a run that never ended."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=0)
    (lab.out / "film" / ".batcher.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        await lab.run(manifest)
    with closing(sqlite3.connect(lab.state)) as state:
        [*_, last] = state.execute(
            "SELECT outcome, exit_code, finished_at IS NULL FROM runs ORDER BY rowid"
        ).fetchall()
    assert last == ("stopped", 78, 0)
    assert not lab.ledger.creates


async def test_a_state_that_is_full_to_the_end_still_lets_the_summary_tell_why(make_lab, monkeypatch):
    """The last line of the books cannot be written either; that takes neither the reason nor the hint away."""
    lab = make_lab()
    monkeypatch.setattr(Store, "claim", fails(FULL))
    monkeypatch.setattr(Store, "end_run", fails(FULL))
    ran = await lab.run(lab.manifest(2))
    assert (ran.exit_code, ran.summary.reason, ran.summary.hint) == (78, FULL.message, FULL.hint)


async def test_books_that_cannot_be_closed_are_no_success(make_lab, monkeypatch):
    lab = make_lab()
    monkeypatch.setattr(Store, "end_run", fails(FULL))
    with pytest.raises(DiskError):
        await lab.run(lab.manifest(1))
    lab.assert_all_home(1)
