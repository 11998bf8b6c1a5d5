"""Create calls whose fate nobody knows: they rest, are looked up, and are never simply sent again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import anyio
import pytest

from batcher.events import EventKind
from batcher.simulator.faults import FAULTS, Door
from batcher.tasks import Status

from .harness import PRICE_USD

pytestmark = pytest.mark.anyio

QUIET_S = 120.0
LOST = [name for name, fault in FAULTS.items() if fault.door is Door.CREATE and fault.creates and not fault.mark]
NOT_CREATED = ["html-502", "gateway-envelope", "rewritten-429", "redirect", "reset-before", "5001"]
BLIND = {"shape": "taskdto", "used_ids": "create"}
"""A gateway that finds no id of ours, has no list, and would sell the same id twice."""


def settled_after(ran, kind):
    """Seconds from the first doubt to what settled it."""
    doubt = ran.of(EventKind.DOUBT)[0]
    settled = next(e for e in ran.of(kind) if e.task.name == doubt.task.name)
    return seconds(settled) - seconds(doubt)


def seconds(event):
    return datetime.fromisoformat(event.at).timestamp()


def blind_lab(make_lab, **settings):
    return make_lab(**{**BLIND, **settings})


async def test_a_lost_reply_is_found(make_lab):
    """The provider took it and its answer was lost: after the quiet window it is found and adopted."""
    lab = make_lab()
    lab.network.lost = {2: "reply"}
    ran = await lab.run(lab.manifest(3))
    assert ran.exit_code == 0
    assert ran.of(EventKind.DOUBT)[0].detail["wait_s"] == QUIET_S
    assert settled_after(ran, EventKind.ADOPTED) >= QUIET_S
    lab.assert_all_home(3)
    assert len(lab.ledger.creates) == 3


async def test_a_lost_request_is_sent_again(make_lab):
    """It never arrived, and the provider is proved to find what is there: after the window it goes again."""
    lab = make_lab()
    lab.network.lost = {2: "request"}
    ran = await lab.run(lab.manifest(3))
    assert ran.exit_code == 0
    assert settled_after(ran, EventKind.SUBMITTED) >= QUIET_S
    lab.assert_all_home(3)


@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize("choices", [{}, {"concurrency": 1}, {"canary": 1}, {"canary": 2}], ids=str)
async def test_the_very_first_call_is_lost(make_lab, what, choices):
    """Nothing is known of the provider yet: another task goes ahead and proves what a look is worth."""
    lab = make_lab()
    lab.network.lost = {1: what}
    assert (await lab.run(lab.manifest(3), **choices)).exit_code == 0
    lab.assert_all_home(3)


async def test_the_very_first_call_is_lost_and_was_the_only_one_allowed(make_lab):
    """A run that may not send another leaves the doubt to the next, which settles it."""
    lab = make_lab()
    lab.network.lost = {1: "request"}
    manifest = lab.manifest(3)
    assert (await lab.run(manifest, limit=1)).exit_code == 75
    assert lab.counts() == {"submitting": 1, "pending": 2}
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


@pytest.mark.parametrize("fault", ["look-502", "look-1302", "look-reset"])
async def test_bad_weather_while_it_proves_itself(make_lab, fault):
    """Looks that fail prove nothing against the provider: the controls are tried again before anything is unclear."""
    lab = make_lab(script=(*([fault] * 7), "ok", "html-502"))
    assert (await lab.run(lab.manifest(3))).exit_code == 0
    lab.assert_all_home(3)
    assert lab.account().finds_ids


async def test_the_only_call_is_lost(make_lab):
    """With nothing to prove a look by, it is left to a person."""
    lab = make_lab()
    lab.network.lost = {1: "request"}
    assert (await lab.run(lab.manifest(1))).exit_code == 1
    assert lab.counts() == {"unclear": 1}


@pytest.mark.parametrize("fault", LOST)
async def test_created_whatever_the_answer_said(make_lab, fault):
    """Every answer that hides a success ends in one charge and one clip."""
    lab = make_lab(script=("ok", fault), used_ids="create")
    assert (await lab.run(lab.manifest(3))).exit_code == 0
    lab.assert_all_home(3)


@pytest.mark.parametrize("fault", NOT_CREATED)
async def test_not_created_whatever_the_answer_said(make_lab, fault):
    """Every answer that looks like trouble and created nothing ends in one charge and one clip as well."""
    lab = make_lab(script=("ok", fault), used_ids="create")
    assert (await lab.run(lab.manifest(3))).exit_code == 0
    lab.assert_all_home(3)


@pytest.mark.parametrize("late_s", [5, 60, 110])
async def test_a_request_that_outlives_its_answer(make_lab, late_s):
    """A call that arrives after its error was read is waited for."""
    lab = make_lab(script=("ok", "zombie"), late_s=late_s, used_ids="create")
    assert (await lab.run(lab.manifest(3))).exit_code == 0
    lab.assert_all_home(3)


async def test_a_look_that_lags(make_lab):
    """A provider that shows a new generation only after a while is given ten times that while."""
    lab = make_lab(visible_after_s=10.0, used_ids="create")
    lab.network.lost = {3: "reply"}
    ran = await lab.run(lab.manifest(4, run={"quiet_window": "60s"}), concurrency=4)
    assert ran.exit_code == 0
    assert ran.of(EventKind.DOUBT)[0].detail["wait_s"] > 90
    lab.assert_all_home(4)


@pytest.mark.parametrize("fault", ["html-502", "html-502-created"])
async def test_a_blind_gateway_leaves_it_to_a_person(make_lab, fault):
    """Neither found nor proved absent: unclear, counted against the budget, never sent again by itself."""
    lab = blind_lab(make_lab, script=("ok", fault))
    manifest = lab.manifest(3, budget={"max_usd": 3 * PRICE_USD})
    ran = await lab.run(manifest)
    assert ran.exit_code == 1
    assert lab.counts() == {"downloaded": 2, "unclear": 1}
    assert any("resolve" in line for line in ran.summary.next)
    assert lab.spent_usd() == pytest.approx(3 * PRICE_USD)
    before = len(lab.ledger.creates)
    for _ in range(2):
        await anyio.sleep(3600)
        assert (await lab.run(manifest)).exit_code == 1
    assert len(lab.ledger.creates) == before


async def test_a_person_says_that_it_was_not_taken(make_lab):
    """`resolve --resubmit`: it goes again under the id it had."""
    lab = blind_lab(make_lab, script=("ok", "html-502"))
    manifest = lab.manifest(3)
    await lab.run(manifest)
    unclear = lab.tasks(Status.UNCLEAR)[0]
    async with lab.open() as batch:
        batch.store.resubmit(unclear, now=lab.clock.now())
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)
    assert unclear.external_task_id in lab.ledger.charges


async def test_an_unclear_task_found_later(make_lab):
    """A later run looks once more, for nothing, and takes home what it finds."""
    lab = blind_lab(make_lab, script=("ok", "html-502-created"))
    manifest = lab.manifest(3)
    await lab.run(manifest)
    lab.change_provider(finds_external_ids=True)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    assert ran.of(EventKind.ADOPTED)
    lab.assert_all_home(3)


async def test_a_blind_gateway_that_refuses_used_ids(make_lab):
    """Seen to refuse a used id, it cannot sell one twice: the same id is sent again, and told that it exists."""
    lab = make_lab(shape="taskdto", script=("ok", "html-502"))
    manifest = lab.manifest(3)
    await lab.run(lab.manifest(1, job="first"))
    async with lab.open() as batch:
        account = replace(batch.store.account(lab.endpoint.scope), refuses_ids=True)
        batch.store.save_account(account, now=lab.clock.now())
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


async def test_the_budget_holds_for_what_is_in_doubt(make_lab):
    """An unclear task's price stays reserved: the last prompt does not fit any more."""
    lab = blind_lab(make_lab, script=("ok", "html-502-created"))
    ran = await lab.run(lab.manifest(4, budget={"max_usd": 3.2 * PRICE_USD}), concurrency=1)
    assert ran.exit_code == 3
    assert lab.counts() == {"downloaded": 2, "unclear": 1, "pending": 1}
    assert lab.ledger.totals["charged"] == 3


# ---- 1201 -------------------------------------------------------------------------------------------------------


async def test_a_bad_value_buys_nothing(make_lab):
    """What the provider refuses by the field's name fails alone, unpaid."""
    lab = make_lab(prompt_limit=20)
    ran = await lab.run(lab.manifest(["the sea", "a prompt that is too long for this one", "a ship"]))
    assert ran.exit_code == 1
    assert lab.counts() == {"downloaded": 2, "failed": 1}
    failed = lab.tasks(Status.FAILED)[0]
    assert (failed.error_class, failed.error_code) == ("invalid", "1201")
    assert failed.external_task_id not in lab.ledger.charges
    assert lab.spent_usd() == pytest.approx(2 * PRICE_USD)


async def test_a_bad_value_on_a_blind_gateway(make_lab):
    """One call and a message that names the field: that is a refusal there too."""
    lab = blind_lab(make_lab, prompt_limit=20)
    ran = await lab.run(lab.manifest(["the sea", "a prompt that is too long for this one", "a ship"]))
    assert ran.exit_code == 1
    assert lab.counts() == {"downloaded": 2, "failed": 1}


async def test_a_bad_value_in_the_very_first_call(make_lab):
    """Nothing is known of the provider yet, and it is a refusal all the same."""
    lab = make_lab(prompt_limit=20)
    await lab.run(lab.manifest(["a prompt that is too long for this one", "the sea"]))
    assert lab.counts() == {"downloaded": 1, "failed": 1}


@pytest.mark.parametrize("fault", ["half-reply", "reset-before"])
async def test_a_reworded_duplicate_is_looked_up(make_lab, fault):
    """A provider that says "invalid" for a used id is not believed: what it holds is found."""
    lab = make_lab(script=("ok", fault), used_ids="reword")
    assert (await lab.run(lab.manifest(3))).exit_code == 0
    lab.assert_all_home(3)
