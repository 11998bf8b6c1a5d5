"""The state file deleted, or an old backup put back: the ids come out the same, and nothing is bought again."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import replace

import pytest

from batcher.errors import LockedError
from batcher.events import EventKind
from batcher.state.file import hold_lock

pytestmark = pytest.mark.anyio


async def test_deleted_after_the_end(make_lab):
    """Clips, sidecars and receipts are there: everything is adopted from the disk, and nobody is asked to make it."""
    lab = make_lab()
    manifest = lab.manifest(4)
    await lab.run(manifest)
    lab.forget_state()
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
    lab.forget_state()
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
    lab.forget_state()
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
    lab.forget_state()
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
        manifest, concurrency=2, watch=lambda e: lab.forget_state() if e.kind is EventKind.DONE else None
    )
    assert ran.exit_code == 78
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    lab.assert_all_home(6)


async def test_a_renamed_job_then_a_lost_state(make_lab):
    """Receipts are known by content: clips taken over from the job's former name are not bought under the new one."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest)
    manifest.write_text(manifest.read_text().replace("job: film", "job: movie"))
    assert (await lab.run(manifest, adopt_orphans=True)).exit_code == 0
    lab.forget_state()
    assert (await lab.run(manifest)).exit_code == 0
    assert lab.counts() == {"downloaded": 2}
    assert lab.ledger.totals["charged"] == 2


async def test_another_namespace_then_a_lost_state(make_lab):
    """A folder keeps the namespace of its clips, whatever a later setting says: their ids stay what they were."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest)
    lab.forget_state()
    lab.environment = replace(
        lab.environment, process={**lab.environment.process, "BATCHER_NAMESPACE": "another-namespace"}
    )
    await lab.run(lab.manifest(["a kite"], job="other"))
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


async def test_a_backup_that_knows_a_refused_attempt(make_lab):
    """Refused as busy when the backup was made, accepted later: the receipts count one call more."""
    lab = make_lab(used_ids="create", script=("ok", "1303"))
    manifest = lab.manifest(2)
    backups = []
    await lab.run(manifest, watch=lambda e: backups.append(lab.back_up()) if e.kind is EventKind.BACK else None)
    lab.restore(backups[0])
    assert lab.counts()["pending"] == 1
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


@pytest.mark.parametrize("by_retry", [False, True])
async def test_a_backup_from_before_a_retry(make_lab, by_retry):
    """Failed when the backup was made, retried since: a run finds the second attempt, and `retry` buys no third."""
    lab = make_lab(script=("fails",), used_ids="create")
    manifest = lab.manifest(1)
    await lab.run(manifest)
    backup = lab.back_up()
    assert (await lab.retry(lab.tasks())).exit_code == 0
    lab.restore(backup)
    assert lab.counts() == {"failed": 1}
    ran = await (lab.retry(lab.tasks()) if by_retry else lab.run(manifest))
    assert ran.exit_code == 0
    assert lab.counts() == {"downloaded": 1}
    assert lab.ledger.totals["charged"] == 2


async def test_an_adopted_clip_deleted_later(make_lab):
    """Adopted from the disk after the state was lost, then deleted there: it comes back, unpaid."""
    lab = make_lab()
    manifest = lab.manifest(1)
    await lab.run(manifest)
    lab.forget_state()
    await lab.run(manifest)
    lab.clips()[0].unlink()
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(1)


async def test_a_doubt_of_a_job_whose_folder_is_gone(make_lab):
    """Its create call never arrived, its folder was deleted: it is sent now, and other jobs' runs go on."""
    lab = make_lab()
    lab.die_at(1, "out")
    await lab.run(lab.manifest(1, job="one"))
    shutil.rmtree(lab.out / "one")
    assert (await lab.run(lab.manifest(1, job="two"))).exit_code == 0
    lab.assert_all_home(2)


async def test_a_state_moved_away_without_its_log(make_lab):
    """`mv state.db elsewhere` after a kill leaves a -wal behind: it is not played into the new state."""
    lab = make_lab()
    manifest = lab.manifest(2)
    lab.die_at(2, "back")
    await lab.run(manifest)
    assert (lab.folder / "state.db-wal").stat().st_size > 0
    lab.state.rename(lab.folder / "elsewhere.db")
    assert (await lab.run(manifest)).exit_code == 0
    with contextlib.closing(sqlite3.connect(lab.state)) as state:
        assert state.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    lab.assert_all_home(2)


async def test_the_lock_deleted_under_the_run(make_lab):
    """Without its lock a second run could start: no create call is made any more (78), and the next run goes on."""
    lab = make_lab()
    manifest = lab.manifest(6)

    def unlock(event):
        if event.kind is EventKind.DONE:
            (lab.folder / "state.db.lock").unlink(missing_ok=True)

    ran = await lab.run(manifest, concurrency=2, watch=unlock)
    assert ran.exit_code == 78
    assert lab.ledger.totals["charged"] < 6
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(6)


async def test_one_state_by_two_names(make_lab):
    """A link to the state is the same state: whoever works on it has both names."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    link = lab.folder / "link.db"
    link.symlink_to(lab.state)
    async with lab.open():
        with pytest.raises(LockedError), hold_lock(link, started_at="now"):
            pass
