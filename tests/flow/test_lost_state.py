"""The state file deleted, or an old backup put back: the ids come out the same, and nothing is bought again."""

from __future__ import annotations

import shutil

import pytest

from batcher.events import EventKind

pytestmark = pytest.mark.anyio


def forget_state(lab):
    for file in lab.folder.glob("state.db*"):
        file.unlink()


async def test_deleted_after_the_end(make_lab):
    """Clips, sidecars and receipts are there: everything is adopted from the disk, and nobody is asked to make it."""
    lab = make_lab()
    manifest = lab.manifest(4)
    await lab.run(manifest)
    forget_state(lab)
    before = lab.ledger.totals
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    assert len(ran.of(EventKind.ADOPTED)) == 4
    assert lab.ledger.totals["creates"] == before["creates"]
    assert lab.ledger.totals["downloads"] == before["downloads"]
    lab.assert_all_home(4)


@pytest.mark.parametrize("used_ids", ["refuse", "reword", "return"])
async def test_everything_deleted(make_lab, used_ids):
    """Not even receipts are left: the provider knows the ids, whatever words it has for that."""
    lab = make_lab(used_ids=used_ids)
    manifest = lab.manifest(4)
    await lab.run(manifest)
    forget_state(lab)
    shutil.rmtree(lab.out)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(4)


@pytest.mark.parametrize("used_ids", ["refuse", "create"])
@pytest.mark.parametrize("moment", [5, 9, 14, 20, 26])
async def test_deleted_in_the_middle(make_lab, moment, used_ids):
    """Receipts tell what was sent: it is looked up before anything else, even where a used id would sell again."""
    lab = make_lab(used_ids=used_ids)
    manifest = lab.manifest(4)
    left = iter(range(moment))
    await lab.run(manifest, concurrency=2, watch=lambda _: lab.kill() if next(left, None) == moment - 1 else None)
    forget_state(lab)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(4)


@pytest.mark.parametrize("used_ids", ["refuse", "create"])
@pytest.mark.parametrize("moment", [3, 8, 14, 20])
async def test_an_old_backup(make_lab, moment, used_ids):
    """A state of earlier in the run is put back: what it does not know of is not bought again."""
    lab = make_lab(used_ids=used_ids)
    manifest = lab.manifest(4)
    backup, left = lab.home / "backup", iter(range(moment))

    def watch(_):
        if next(left, None) == moment - 1:
            shutil.copytree(lab.folder, backup, ignore=lambda *_: ["out"])

    await lab.run(manifest, concurrency=2, watch=watch)
    forget_state(lab)
    shutil.copytree(backup, lab.folder, dirs_exist_ok=True)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(4)


async def test_another_key(make_lab):
    """A new key for the same account makes no new ids."""
    lab = make_lab()
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=1)
    before = {task.external_task_id for task in lab.tasks()}
    lab.use_key("sk-flow-another-0123456789")
    ran = await lab.run(manifest)
    assert any("new key" in event.detail["message"] for event in ran.of(EventKind.WARNING))
    assert {task.external_task_id for task in lab.tasks()} == before


async def test_a_state_deleted_under_the_run(make_lab):
    """The run notices before its next submission, stops, and the next one pays for nothing twice."""
    lab = make_lab()
    manifest = lab.manifest(6)
    ran = await lab.run(
        manifest, concurrency=2, watch=lambda e: forget_state(lab) if e.kind is EventKind.DONE else None
    )
    assert ran.exit_code == 78
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(6)
