"""A state that is gone is rebuilt, and what was bought is never bought again: nor what may have been."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace

import anyio
import pytest

from batcher.choices import Choices
from batcher.errors import AuthenticationError, DiskError, UnavailableError, UsageError
from batcher.events import EventKind
from batcher.generations import Listing, Refusal, RefusalKind
from batcher.manifest import load
from batcher.state.store import Store
from batcher.tasks import Status

pytestmark = pytest.mark.anyio

DAY = 86400
HARSH = {"used_ids": "create"}
"""A provider that sells again under a used id: only what we know keeps us from paying twice."""


async def recover(lab, manifest, **options):
    """One `batcher recover`; the provider sees no create call."""
    before = lab.ledger.totals["creates"]
    async with lab.open() as batch:
        try:
            return await batch.recover(load(manifest), Choices(out=lab.out), **options)
        finally:
            assert lab.ledger.totals["creates"] == before


def lose_everything(lab):
    lab.forget_state()
    shutil.rmtree(lab.out)


def use_namespace(lab, namespace):
    """Ids are made from this from now on, as with another key for the same account."""
    process = {**lab.environment.process, "BATCHER_NAMESPACE": namespace}
    lab.environment = replace(lab.environment, process=process)


async def bought_under_another_namespace(lab, manifest, *, limit):
    """So many clips, and then neither the state nor the folder nor the namespace."""
    use_namespace(lab, "the-one-of-last-year")
    await lab.run(manifest, limit=limit)
    lose_everything(lab)
    use_namespace(lab, "")


async def test_state_and_folder_lost(make_lab):
    """The list shows two of four: they come home unpaid, and exactly the other two are bought."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(4)
    await lab.run(manifest, limit=2)
    lose_everything(lab)
    view = await recover(lab, manifest)
    assert (view.adopted, view.counts) == (2, {"succeeded": 2, "pending": 2})
    assert not view.strays
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


@pytest.mark.parametrize("moment", ["submitted", "processing", "succeeded", "failed"])
async def test_each_status_at_the_provider(make_lab, moment):
    """What becomes of a task is what the provider says of its generation."""
    lab = make_lab(script=("fails",) if moment == "failed" else (), **HARSH)
    manifest = lab.manifest(1)
    await lab.run(manifest, submit_only=True)
    lose_everything(lab)
    await anyio.sleep({"submitted": 0, "processing": 20}.get(moment, DAY))
    view = await recover(lab, manifest)
    assert view.counts == {moment: 1}
    ran = await lab.run(manifest)
    assert ran.exit_code == (1 if moment == "failed" else 0)
    assert lab.ledger.totals["charged"] == 1


async def test_another_namespace_with_receipts(make_lab):
    """The namespace is lost with its file; receipts and sidecars know the ids that were sent."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(4)
    use_namespace(lab, "the-one-of-last-year")
    await lab.run(manifest, limit=2)
    before = {task.name: task.external_task_id for task in lab.tasks(Status.DOWNLOADED)}
    lab.forget_state()
    (lab.out / "film" / ".batcher.json").unlink()
    lab.clips()[0].unlink()
    use_namespace(lab, "")
    view = await recover(lab, manifest)
    assert (view.on_disk, view.adopted, view.counts["pending"]) == (1, 1, 2)
    assert {t.name: t.external_task_id for t in lab.tasks() if t.status is not Status.PENDING} == before
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


async def test_another_account(make_lab):
    """A key that sees nothing of what was bought: what the folder has is home, and no receipt is for sale."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=2)
    lab.forget_state()
    lab.clips()[0].unlink()
    lab.use_key("sk-flow-another-0123456789")
    view = await recover(lab, manifest)
    assert view.counts == {"downloaded": 1, "submitting": 1, "pending": 1}
    await lab.run(manifest)
    assert lab.counts() == {"downloaded": 2, "unclear": 1}
    assert lab.ledger.totals["charged"] == 3


async def test_neither_folder_nor_namespace(make_lab):
    """No id tells whose they are: each is told with the command that ties it, and nothing is bought silently."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(3)
    await bought_under_another_namespace(lab, manifest, limit=2)
    view = await recover(lab, manifest)
    books = {entry["task_id"] for page in lab.ledger.document["accounts"].values() for entry in page["generations"]}
    assert {stray.generation_id for stray in view.strays} == books
    assert view.counts == {"unclear": 3}
    assert view.next[0] == f"batcher resolve TASK --adopt {view.strays[0].generation_id}"
    assert (await lab.run(manifest)).exit_code == 1
    assert lab.ledger.totals["charged"] == 2


async def test_one_left_is_no_proof(make_lab):
    """One stray and one task without a generation: still nothing is guessed."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(1)
    await bought_under_another_namespace(lab, manifest, limit=1)
    view = await recover(lab, manifest)
    assert view.counts == {"unclear": 1}
    assert view.next[0] == f"batcher resolve s01-t1 --adopt {view.strays[0].generation_id}"


async def test_the_namespace_comes_back(make_lab):
    """The old setting is found again: the second recover ties what the first could not, and the books are right."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(3)
    await bought_under_another_namespace(lab, manifest, limit=2)
    await recover(lab, manifest)
    use_namespace(lab, "the-one-of-last-year")
    view = await recover(lab, manifest)
    assert (view.adopted, view.freed, view.counts) == (2, 1, {"succeeded": 2, "pending": 1})
    assert lab.spent_usd() == pytest.approx(2 * 0.26)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


async def test_the_namespace_is_inferred_and_kept(make_lab):
    """A setting that no id was made with does not win over the key that all were made with."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=1)
    namespace = lab.account().namespace
    lose_everything(lab)
    use_namespace(lab, "a-new-one-set-today")
    await recover(lab, manifest)
    assert lab.account().namespace == namespace
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


@pytest.mark.parametrize("finds", [True, False])
async def test_no_list_and_no_receipts(make_lab, finds):
    """Nothing proves what was not bought: found by its id it is tied, else a person decides."""
    lab = make_lab(lists=False, finds_external_ids=finds, **HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=1)
    lose_everything(lab)
    view = await recover(lab, manifest)
    assert view.listed is None
    assert view.counts == ({"succeeded": 1, "unclear": 2} if finds else {"unclear": 3})
    assert "no list" in view.reason
    await lab.run(manifest)
    assert lab.ledger.totals["charged"] == 1


async def test_no_list_but_receipts(make_lab):
    """Receipts that are whole say what was never sent: that, and no more, is bought."""
    lab = make_lab(lists=False, **HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=1)
    lab.forget_state()
    view = await recover(lab, manifest)
    assert view.counts == {"downloaded": 1, "pending": 2}
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


async def test_no_list_and_damaged_receipts(make_lab):
    """A line that cannot be read may have been about any of them."""
    lab = make_lab(lists=False, finds_external_ids=False, **HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=2)
    lab.forget_state()
    receipts = lab.out / "film" / ".batcher-receipts.jsonl"
    lines = receipts.read_bytes().splitlines(keepends=True)
    receipts.write_bytes(b"\0" * len(lines[0]) + b"\n" + lines[1])
    for file in lab.out.rglob("s01*"):
        file.unlink()
    view = await recover(lab, manifest)
    assert view.counts == {"downloaded": 1, "unclear": 2}


async def test_a_list_that_cannot_be_read_now(make_lab):
    """Bad weather is no answer: nothing is written, and the person is told to come back."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=1)
    lose_everything(lab)
    lab.network.down = True
    with pytest.raises(UnavailableError):
        await recover(lab, manifest)
    assert lab.tasks() == []
    lab.network.down = False
    assert (await recover(lab, manifest)).adopted == 1


async def test_a_key_that_is_refused(make_lab):
    lab = make_lab(keys=frozenset({"sk-flow-0123456789abcdef"}))
    lab.use_key("sk-flow-another-0123456789")
    with pytest.raises(AuthenticationError):
        await recover(lab, lab.manifest(1))


@pytest.mark.parametrize("habit", ["small pages", "past the end", "same page", "no ids", "shows nothing"])
async def test_gateways_whose_list_has_habits(make_lab, habit):
    """A page that is smaller than asked is not the end; a list that does not turn, or hides ids, proves nothing."""
    lab = make_lab(finds_external_ids=False, **HARSH)
    manifest = lab.manifest(5)
    await lab.run(manifest, limit=4)
    lose_everything(lab)

    async def show(api, *, page, size):
        del size
        truth = await api.list(page=1 if habit == "same page" else page, size=3)
        if habit == "past the end" and not truth.generations:
            message = f"pageNum value '{page}' is invalid"
            return Listing(supported=None, refusal=Refusal(kind=RefusalKind.INVALID, code="1201", message=message))
        if habit == "no ids":
            return replace(truth, generations=tuple(replace(g, external_task_id=None) for g in truth.generations))
        return truth if habit != "shows nothing" else Listing(supported=True)

    lab.meddle(list=show)
    if habit == "shows nothing":
        with pytest.raises(UsageError, match="nothing to recover"):
            await recover(lab, manifest)
        return
    view = await recover(lab, manifest)
    if habit == "same page":
        assert view.counts == {"succeeded": 3, "unclear": 2}
    elif habit == "no ids":
        assert view.counts == {"unclear": 5}
    else:
        assert view.counts == {"succeeded": 4, "pending": 1}
    await lab.run(manifest)
    assert set(lab.ledger.charges.values()) == {1}


async def test_an_empty_list_beside_clips_on_disk(make_lab):
    """Clips are there that it does not show, so what else it does not show may have been bought, too."""
    lab = make_lab(finds_external_ids=False, **HARSH)
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=1)
    lab.forget_state()
    (lab.out / "film" / ".batcher-receipts.jsonl").unlink()

    async def nothing(api, *, page, size):
        del api, page, size
        return Listing(supported=True)

    lab.meddle(list=nothing)
    assert (await recover(lab, manifest)).counts == {"downloaded": 1, "unclear": 1}


async def test_a_call_that_is_still_on_its_way(make_lab):
    """Killed at the create call, everything deleted at once: recover waits until the list can know."""
    lab = make_lab(visible_after_s=40, **HARSH)
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=1)
    lab.die_at(2, "back")
    await lab.run(manifest)
    lose_everything(lab)
    lab.network.at_post = lambda number, where: None
    view = await recover(lab, manifest)
    assert (view.adopted, view.counts.get("pending", 0)) == (2, 0)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


async def test_an_old_copy_of_the_state(make_lab):
    """It keeps what it knows, and learns what was bought since."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(4)
    await lab.run(manifest, limit=1)
    backup = lab.back_up()
    await lab.run(manifest, limit=2)
    shutil.rmtree(lab.out)
    lab.restore(backup)
    view = await recover(lab, manifest)
    assert (view.known, view.adopted) == (4, 2)
    assert view.counts == {"downloaded": 1, "succeeded": 2, "pending": 1}
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


async def test_a_copy_that_was_refused_where_another_was_not(make_lab):
    """Refused as busy when the copy was made, accepted later: one call each, and the list shows it."""
    lab = make_lab(script=("ok", "1303"), **HARSH)
    manifest = lab.manifest(2)
    backups = []
    await lab.run(manifest, watch=lambda e: backups.append(lab.back_up()) if e.kind is EventKind.BACK else None)
    lab.restore(backups[0])
    shutil.rmtree(lab.out)
    await recover(lab, manifest)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


async def test_twice_is_as_once(make_lab):
    lab = make_lab(**HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=2)
    lose_everything(lab)
    first, second = await recover(lab, manifest), await recover(lab, manifest)
    assert second.counts == first.counts
    assert second.adopted == 0


async def test_every_attempt_is_in_the_books(make_lab):
    """The first attempt failed and was paid for: the budget of the rebuilt state knows both."""
    lab = make_lab(script=("fails",), **HARSH)
    manifest = lab.manifest(1)
    await lab.run(manifest)
    await lab.retry(lab.tasks())
    spent = lab.spent_usd()
    lose_everything(lab)
    assert (await recover(lab, manifest)).counts == {"succeeded": 1}
    assert lab.spent_usd() == pytest.approx(spent)
    assert (await lab.run(manifest)).exit_code == 0
    assert lab.ledger.totals["charged"] == 2


async def test_a_folder_of_before_the_retry(make_lab):
    """Receipts know the attempt that failed, the list the one that was bought after it: the list is newer."""
    lab = make_lab(script=("fails",), **HARSH)
    manifest = lab.manifest(1)
    await lab.run(manifest)
    folder = lab.home / "folder of yesterday"
    shutil.copytree(lab.out, folder)
    await lab.retry(lab.tasks())
    lose_everything(lab)
    shutil.copytree(folder, lab.out)
    assert (await recover(lab, manifest)).counts == {"succeeded": 1}
    assert (await lab.run(manifest)).exit_code == 0
    assert (lab.counts(), lab.ledger.totals["charged"]) == ({"downloaded": 1}, 2)


@pytest.mark.parametrize("statement", [1, 4, 8, 12, 17, 24])
async def test_cut_short_at_any_write(make_lab, monkeypatch, statement):
    """Whatever a rebuilding that died had written: recover again, or run, and nobody pays twice."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=2)
    lose_everything(lab)
    left = iter(range(statement))
    real = Store._execute

    def execute(store, *words):
        if next(left, None) is None:
            raise DiskError("the power went")
        real(store, *words)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_execute", execute)
        with suppress(DiskError):
            await recover(lab, manifest)
    if not lab.tasks():  # it had not begun to write tasks: an empty state is as before
        await recover(lab, manifest)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


async def test_nights_before(make_lab):
    """Two nights are lost: their clips come back under their editions, and tonight is not held up by them."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(2, edition="{{ today }}")
    await lab.run(manifest)
    await anyio.sleep(DAY)
    await lab.run(manifest, limit=1)
    lose_everything(lab)
    await anyio.sleep(DAY)
    view = await recover(lab, manifest)
    assert view.editions == ("2026-11-23", "2026-11-22")
    assert view.counts == {"succeeded": 3, "pending": 2}
    assert not view.unclear
    while lab.counts().get("pending") or lab.counts().get("succeeded"):
        assert (await lab.run(manifest)).exit_code == 0
    assert lab.counts() == {"downloaded": 5}
    assert set(lab.ledger.charges.values()) == {1}
    assert lab.ledger.totals["charged"] == 5


@pytest.mark.parametrize("is_edited", [True, False])
async def test_a_nights_prompts_were_edited_since(make_lab, is_edited):
    """No id of last night's can be made again, but it cannot be tonight's: tonight is bought, last night is told."""
    lab = make_lab(**HARSH)
    await lab.run(lab.manifest(["a ship", "a boat"], edition="{{ today }}"))
    lose_everything(lab)
    await anyio.sleep(DAY)
    manifest = lab.manifest(["a raft", "a boat"] if is_edited else ["a ship", "a boat"], edition="{{ today }}")
    view = await recover(lab, manifest)
    assert len(view.strays) == is_edited
    assert view.counts == {"succeeded": 2 - is_edited, "pending": 2}


async def test_an_edited_prompt_of_today(make_lab):
    """Bought today, and edited today: it may be any of those that are wanted now."""
    lab = make_lab(**HARSH)
    await lab.run(lab.manifest(["a ship"], edition="{{ today }}"))
    lose_everything(lab)
    view = await recover(lab, lab.manifest(["a raft"], edition="{{ today }}"))
    assert (view.counts, len(view.strays)) == ({"unclear": 1}, 1)


async def test_another_job_of_the_same_beginning(make_lab):
    """Ids of `autumn-launch-2` begin as those of `autumn-launch`: its receipts say that they are its own."""
    lab = make_lab(**HARSH)
    one, two = lab.manifest(2, job="autumn-launch"), lab.manifest(2, job="autumn-launch-2")
    await lab.run(one, limit=1)
    await lab.run(two)
    lab.forget_state()
    shutil.rmtree(lab.out / "autumn-launch")
    view = await recover(lab, one)
    assert view.counts == {"succeeded": 1, "pending": 1}
    assert not view.strays


async def test_a_prompt_that_left_the_manifest(make_lab):
    """Receipts say that it was another request: it may be none of those that are wanted now."""
    lab = make_lab(**HARSH)
    await lab.run(lab.manifest(["a ship"]))
    lab.forget_state()
    view = await recover(lab, lab.manifest(["a boat"]))
    assert (view.counts, view.strays) == ({"pending": 1}, ())


def damage(lab, sql, *values):
    with closing(sqlite3.connect(lab.state)) as state:
        state.execute(sql, values)
        state.commit()


@pytest.mark.parametrize(
    "flip",
    [
        "UPDATE tasks SET prompt = replace(prompt, 'scene 2', 'scena 2') WHERE name = 's02-t1'",
        "UPDATE tasks SET content_hash = randomblob(32) WHERE name = 's02-t1'",
    ],
)
async def test_a_flipped_bit_is_not_bought(make_lab, flip):
    """The run stops at the row (78) with nothing sent for it; recover writes it anew, and the run goes on."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=1)
    damage(lab, flip)
    ran = await lab.collect()  # sends nothing, so it may go on
    assert ran.exit_code in (0, 75)
    ran = await lab.retry(lab.tasks(Status.PENDING))
    assert ran.exit_code == 78
    assert "s02-t1" in ran.summary.reason
    assert "recover" in ran.summary.hint
    bought = {create["external_task_id"] for create in lab.ledger.creates}
    assert lab.tasks(Status.PENDING)
    assert {t.external_task_id for t in lab.tasks() if t.name == "s02-t1"}.isdisjoint(bought)
    assert (await recover(lab, manifest)).mended == 1
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)
    prompts = {g["prompt"] for page in lab.ledger.document["accounts"].values() for g in page["generations"]}
    assert prompts == {f"scene {n} at the sea" for n in (1, 2, 3)}


async def test_a_lost_intent_is_not_sent_again(make_lab):
    """The id in a row that was being submitted is another than was sent: looking for it would find nothing."""
    lab = make_lab(**HARSH)
    manifest = lab.manifest(2)
    await lab.run(manifest, limit=1)
    lab.die_at(2, "back")
    await lab.run(manifest)
    damage(
        lab,
        "UPDATE tasks SET external_task_id = replace(external_task_id, 'film-', 'fill-') WHERE status = 'submitting'",
    )
    lab.network.at_post = lambda number, where: None
    ran = await lab.run(manifest)
    assert ran.exit_code == 78
    assert lab.ledger.totals["charged"] == 2
