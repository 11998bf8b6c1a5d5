"""What a look is worth: a doubt is settled by what this key, in this run, was proved to see. Else by a person."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from batcher.generations import Listing, Look, Refusal, RefusalKind, Sight
from batcher.tasks import Status

from .harness import KEY

pytestmark = pytest.mark.anyio

ANOTHER_KEY = "sk-flow-another-0123456789"
BLIND = {"finds_external_ids": False, "lists": False, "used_ids": "create"}
HOUR = 3600.0


async def no_list(api, *, page, size):
    return Listing(supported=None)


@pytest.mark.parametrize(("fault", "left"), [("reset-after", "downloaded"), ("reset-before", "unclear")])
async def test_what_only_the_list_shows_proves_nothing_of_a_direct_look(make_lab, fault, left):
    """A gateway blind to ids, with a list: what the list shows is adopted, what it lacks is never sold again."""
    lab = make_lab(**{**BLIND, "lists": True}, script=("ok", fault))
    await lab.run(lab.manifest(2), concurrency=1)
    assert lab.counts().get(left)
    assert len(lab.ledger.creates) == 2
    assert not lab.account().finds_ids


async def test_a_doubt_belongs_to_its_key(make_lab):
    """Another key is proved to see, but not what the first one bought: a person decides, or the first key does."""
    lab = make_lab()
    manifest = lab.manifest(1, job="doubtful")
    await lab.run(lab.manifest(1, job="one"))
    lab.use_key(ANOTHER_KEY)
    await lab.run(lab.manifest(1, job="two"))
    lab.use_key(KEY)
    lab.die_at(3, "back")
    await lab.run(manifest)
    lab.use_key(ANOTHER_KEY)
    assert (await lab.run(manifest)).exit_code == 1
    assert lab.tasks(Status.UNCLEAR)
    lab.use_key(KEY)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


async def test_a_proof_of_another_run_is_stale(make_lab):
    """The gateway found ids yesterday and is blind today: today's doubt is not settled by yesterday's proof."""
    lab = make_lab(used_ids="create")
    await lab.run(lab.manifest(1, job="yesterday"))
    assert lab.account().finds_ids
    lab.change_provider(**BLIND)
    lab.die_at(2, "back")
    manifest = lab.manifest(1)
    await lab.run(manifest)
    assert (await lab.run(manifest)).exit_code == 1
    assert lab.tasks(Status.UNCLEAR)
    assert set(lab.ledger.charges.values()) == {1}


async def test_a_proof_without_answers_is_tried_again(make_lab):
    """A gateway has learnt to find ids: bad weather in the middle of its controls makes nothing unclear."""
    lab = make_lab(**BLIND)
    await lab.run(lab.manifest(1, job="before"))
    lab.change_provider(finds_external_ids=True)
    manifest = lab.manifest(1)
    lab.die_at(2, "out")
    await lab.run(manifest)
    looks = iter(range(100))

    async def find_external(api, external_id):
        bad_weather = 1 <= next(looks) <= 6
        return Look(sight=Sight.SILENT, detail="HTTP 502") if bad_weather else await api.find_external(external_id)

    lab.meddle(find_external=find_external, list=no_list)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


# ---- each run ends ----------------------------------------------------------------------------------------------


async def test_one_slot_and_the_first_reply_lost(make_lab):
    """-j 1 on a new, blind account: the task in doubt lends its slot to one that shows what a look is worth."""
    lab = make_lab(**BLIND, script=("html-502-created",))
    with anyio.fail_after(HOUR):
        assert (await lab.run(lab.manifest(2), concurrency=1)).exit_code == 1
    assert lab.counts() == {"unclear": 1, "downloaded": 1}
    assert lab.ledger.totals["charged"] == 2


async def test_funds_that_end_under_a_doubt(make_lab):
    """Sent again where that is safe, and then refused for lack of funds: the run stops (69), the doubt stays."""
    lab = make_lab(finds_external_ids=False, lists=False, script=("ok", "reset-before", "1102"))
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=1)
    async with lab.open() as batch:
        account = replace(batch.store.account(lab.endpoint.scope), refuses_ids=True)
        batch.store.save_account(account, now=lab.clock.now())
    with anyio.fail_after(HOUR):
        ran = await lab.run(manifest)
    assert ran.exit_code == 69
    assert lab.counts() == {"downloaded": 1, "submitting": 1}
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


async def test_a_look_refused_for_lack_of_funds(make_lab):
    """Some gateways bill looks: that stops the run as well, and is not asked again for ever."""
    lab = make_lab()
    manifest = lab.manifest(1)
    lab.die_at(1, "back")
    await lab.run(manifest)

    async def find_external(api, external_id):
        await anyio.sleep(0.1)
        refusal = Refusal(kind=RefusalKind.FUNDS, code="1101", message="Account in arrears", http_status=429)
        return Look(sight=Sight.SILENT, refusal=refusal)

    lab.meddle(find_external=find_external, list=no_list)
    with anyio.fail_after(HOUR):
        assert (await lab.run(manifest)).exit_code == 69
    assert lab.counts() == {"submitting": 1}


async def test_submit_only_with_more_tasks_than_slots(make_lab):
    """It fills the slots and leaves; it does not wait for what it will not look at."""
    lab = make_lab()
    manifest = lab.manifest(10)
    with anyio.fail_after(HOUR):
        ran = await lab.run(manifest, submit_only=True, concurrency=4)
    assert ran.exit_code == 75
    assert lab.counts() == {"submitted": 4, "pending": 6}


async def test_a_defect_in_every_walk(make_lab):
    """Whatever breaks, the run ends; what may have been sent stays in doubt and is paid once."""

    async def create(api, request, *, external_task_id):
        raise RuntimeError("a defect")

    lab = make_lab()
    lab.meddle(create=create)
    manifest = lab.manifest(2)
    with anyio.fail_after(HOUR):
        assert (await lab.run(manifest)).exit_code == 75
    assert lab.counts() == {"submitting": 1, "pending": 1}
    lab.meddle()
    await lab.run(manifest)
    assert set(lab.ledger.charges.values()) <= {1}


async def test_three_unclear_and_none_accepted(make_lab):
    """A gateway that answers nothing but nonsense may be charging: the run stops after three, exit 1."""
    lab = make_lab(**BLIND, faults={"html-502-created": 1.0})
    with anyio.fail_after(24 * HOUR):
        ran = await lab.run(lab.manifest(8))
    assert ran.exit_code == 1
    assert "unclear" in ran.summary.reason
    assert lab.counts() == {"unclear": 3, "pending": 5}
    assert lab.ledger.totals["charged"] == 3


async def test_doubts_of_other_runs_do_not_end_this_one(make_lab):
    """Receipts of calls that never arrived, and a lost state: one new task is sent, and settles all of them."""
    lab = make_lab()
    await lab.run(lab.manifest(1, job="before"))
    manifest = lab.manifest(6)
    lab.network.down = True
    await lab.run(manifest, concurrency=4, limit=4)
    lab.network.down = False
    lab.forget_state()
    assert (await lab.run(manifest)).exit_code == 0
    assert lab.counts() == {"downloaded": 6}
    assert lab.ledger.totals["charged"] == 7
