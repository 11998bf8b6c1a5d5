"""Runs that nothing disturbs: limits, order, canaries, editions, gateways."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import anyio
import pytest

from batcher.events import EventKind
from batcher.providers.shapes import read_generation
from batcher.state.queries import Queries
from batcher.tasks import Status

pytestmark = pytest.mark.anyio

DAY_S = 86400.0


def first_sent(lab):
    """When each id was first sent, and which task it was, in that order."""
    names = {task.external_task_id: task.name for task in lab.tasks()}
    sent = {}
    for create in lab.ledger.creates:
        sent.setdefault(names[create["external_task_id"]], create["at"])
    return sent


async def test_a_given_limit_is_kept_and_used(make_lab):
    """Fifteen prompts become fifteen clips, each paid once, never more than -j at the provider, and no slot idles."""
    lab = make_lab()
    ran = await lab.run(lab.manifest(15), concurrency=4)
    assert ran.exit_code == 0
    lab.assert_all_home(15)
    assert lab.ledger.totals["max_in_flight"] == 4
    assert lab.busy_share(slots=4) > 0.85
    assert ran.summary.downloaded == ran.summary.submitted == 15


async def test_an_unknown_limit_is_learnt_and_kept(make_lab):
    """A provider with three slots refuses the fourth: nothing is lost by it, and the next run knows."""
    lab = make_lab(limit=3)
    manifest = lab.manifest(15)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(15)
    assert lab.ledger.outcomes["refused 1303"] <= 12
    assert lab.busy_share(slots=3) > 0.85
    queries = Queries.open(lab.state)
    learnt, _ = queries.learnt(lab.endpoint.scope)
    queries.close()
    assert learnt in (3, 4)
    before = lab.ledger.outcomes["refused 1303"]
    await lab.run(lab.manifest(6, job="sequel"))
    assert lab.ledger.outcomes["refused 1303"] - before <= 3
    assert set(lab.ledger.charges.values()) == {1}


async def test_waiting_for_a_slot_costs_nothing(make_lab, monkeypatch):
    """While refused prompts wait for room, the run sleeps: it looks into its state when something has changed."""
    questions = []
    ask = Queries.waiting
    monkeypatch.setattr(Queries, "waiting", lambda *args: questions.append(args) or ask(*args))
    lab = make_lab(limit=1)
    await lab.run(lab.manifest(6))
    assert len(questions) < 200


async def test_the_downloads_hold_no_slot(make_lab):
    """Files that take their time do not keep the next prompt waiting."""
    lab = make_lab(faults={"asset-slow": 1.0})
    assert (await lab.run(lab.manifest(12), concurrency=3)).exit_code == 0
    lab.assert_all_home(12)
    assert lab.busy_share(slots=3) > 0.85


async def test_on_a_new_account_the_first_goes_alone(make_lab):
    """Until one is accepted and found again, no second is sent; later runs do not wait."""
    lab = make_lab()
    await lab.run(lab.manifest(4), concurrency=4)
    first, second, *_ = first_sent(lab).values()
    assert second - first > 2 * lab.network.latency_s
    assert lab.account().finds_ids
    started = lab.clock.now()
    await lab.run(lab.manifest(4, job="sequel"), concurrency=4)
    sent = list(first_sent(lab).values())[-4:]
    assert max(sent) - started < 1


async def test_canaries_go_to_the_end_first(make_lab):
    """With --canary 2, the third prompt waits for the first two clips."""
    lab = make_lab()
    ran = await lab.run(lab.manifest(5), canary=2)
    assert ran.exit_code == 0
    ends = sorted(lab.ends().values())
    assert list(first_sent(lab).values())[2] >= ends[1]
    lab.assert_all_home(5)


async def test_a_dead_canary_stops_the_run(make_lab):
    """When a canary fails, nothing more is bought."""
    lab = make_lab()
    ran = await lab.run(lab.manifest(["simulate failure", "the sea", "the shore", "a ship"]), canary=2)
    assert ran.exit_code == 1
    assert lab.counts() == {"failed": 1, "downloaded": 1, "pending": 2}
    assert ran.summary.reason


@pytest.mark.parametrize("shape", ["native", "taskdto", "openai", "hybrid"])
async def test_every_kind_of_gateway(make_lab, shape):
    """Whatever wraps the replies, a run ends with every clip at home."""
    lab = make_lab(shape=shape, limit=3)
    ran = await lab.run(lab.manifest([f"scene {n}" for n in range(5)] + ["simulate failure"]))
    assert ran.exit_code == 1
    assert lab.counts() == {"downloaded": 5, "failed": 1}
    assert lab.tasks(Status.FAILED)[0].error_class == "content"
    assert set(lab.ledger.charges.values()) == {1}


async def test_priority_is_the_order_of_submission(make_lab):
    """What an override puts first goes first."""
    lab = make_lab()
    overrides = [{"when": {"id": "s03"}, "set": {"priority": 10}}]
    await lab.run(lab.manifest(4, overrides=overrides), concurrency=1)
    assert list(first_sent(lab)) == ["s03-t1", "s01-t1", "s02-t1", "s04-t1"]


async def test_jobs_share_the_slots_of_their_account(make_lab):
    """What another job left at the provider counts, and comes home with this run."""
    lab = make_lab()
    assert (await lab.run(lab.manifest(2, job="prequel"), submit_only=True)).exit_code == 75
    ran = await lab.run(lab.manifest(5), concurrency=3)
    assert ran.exit_code == 0
    lab.assert_all_home(7)
    assert lab.ledger.totals["max_in_flight"] == 3


async def test_an_unfinished_edition_comes_first(make_lab):
    """Last night's edition is finished before tonight's begins; a finished one leaves no trace in the next."""
    lab = make_lab()
    manifest = lab.manifest(3, edition="{{ today }}")
    await lab.run(manifest, limit=1)
    await anyio.sleep(DAY_S)
    ran = await lab.run(manifest)
    assert any("unfinished" in str(event.detail) for event in ran.of(EventKind.WARNING))
    assert {task.edition for task in lab.tasks()} == {"2026-11-22"}
    lab.assert_all_home(3)
    ran = await lab.run(manifest)
    assert {task.edition for task in lab.tasks()} == {"2026-11-22", "2026-11-23"}
    lab.assert_all_home(6)
    assert (await lab.run(manifest)).summary.submitted == 0


async def test_a_clip_that_cannot_be_fetched_holds_up_no_edition(make_lab):
    """Its host is not allowed: it is tried at every run, tells so by the exit code, and tonight's set is made."""
    lab = make_lab(script=("ok", "hostile-url"))
    manifest = lab.manifest(2, edition="{{ today }}")
    assert (await lab.run(manifest)).exit_code == 75
    await anyio.sleep(DAY_S)
    ran = await lab.run(manifest)
    assert ran.exit_code == 75
    assert ran.of(EventKind.DOWNLOAD), "the old one was tried again"
    editions = Counter((task.edition, str(task.status)) for task in lab.tasks())
    assert editions == {
        ("2026-11-22", "downloaded"): 1,
        ("2026-11-22", "succeeded"): 1,
        ("2026-11-23", "downloaded"): 2,
    }


async def test_a_provider_with_a_mad_clock(make_lab):
    """Begun in 1971 and ended in 2027 by its own times: the next clips are looked at all the same."""
    lab = make_lab()

    async def find(api, generation_id):
        seen = await api.find(generation_id)
        if seen.generation is None or not seen.generation.videos:
            return seen
        body = {
            "task_id": generation_id,
            "task_status": "succeed",
            "created_at": 31_536_000,
            "updated_at": 1.8e12,
            "task_result": {"videos": [{"url": seen.generation.videos[0].url}]},
        }
        return replace(seen, generation=read_generation(body))

    lab.meddle(find=find)
    ran = await lab.run(lab.manifest(3), concurrency=1)
    assert ran.exit_code == 0
    assert ran.summary.elapsed_s < 3600
    assert lab.counts() == {"downloaded": 3}


async def test_odd_generations_come_home_too(make_lab):
    """Strange words, statuses that go backwards, ids as numbers, answers as lists, two files: all end well."""
    odd = ("unknown-status", "backwards", "array-data", "numeric-id", "two-videos", "late-url", "slow-tail")
    lab = make_lab(script=("ok", *odd))
    ran = await lab.run(lab.manifest(1 + len(odd), run={"timeout": "5h"}))
    assert ran.exit_code == 0
    lab.assert_all_home(1 + len(odd))


async def test_looks_that_fail_lose_nothing(make_lab):
    """A third of all looks ends in some error: every clip comes home all the same, none bought twice."""
    sorts = ("look-502", "look-524", "look-html", "look-empty", "look-reset", "look-stall", "look-1302", "look-5000")
    lab = make_lab(faults=dict.fromkeys(sorts, 0.04))
    assert (await lab.run(lab.manifest(8))).exit_code == 0
    lab.assert_all_home(8)
