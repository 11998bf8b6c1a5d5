"""Every recorded file against its size and sha256; what is not whole is downloaded again, never bought."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from batcher.audit import audit
from batcher.events import EventKind
from batcher.generations import Look, Sight
from batcher.simulator.clips import sample
from batcher.state.queries import Queries
from batcher.state.selection import Selection
from batcher.tasks import Status

pytestmark = pytest.mark.anyio

DAY = 86400


async def repair(lab, job=None):
    """One `batcher verify --repair`; the provider sees no create call."""
    before = lab.ledger.totals["creates"]
    ran = await lab._process(lambda batch, emit: batch.repair(job, emit))
    assert lab.ledger.totals["creates"] == before
    return ran


async def findings(lab):
    """One `batcher verify`: what it finds, as (task, what, ailment)."""
    state = Queries.open(lab.state)
    async with lab.open() as batch:
        found = await audit(state, Selection(orphaned=True), folder=batch.folder)
    state.close()
    return [(f.about, f.what, str(f.ailment)) for f in found.findings]


def clip(lab, name="s01-t1"):
    return lab.out / "film" / f"{name}.mp4"


def flip(path):
    """One other byte, in the pictures: still a film, of the same size."""
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


DAMAGE = {
    "missing": Path.unlink,
    "another size": cut,
    "same size, other content": flip,
}


@pytest.mark.parametrize("ailment", DAMAGE)
@pytest.mark.parametrize("suffix", [".mp4", ".json", ".jpg"])
async def test_each_file_in_each_way(make_lab, suffix, ailment):
    """Found by `verify`, whole again after `--repair`; only a clip costs a download, and nothing costs money."""
    lab = make_lab()
    await lab.run(lab.manifest(2))
    assert await findings(lab) == []
    file = clip(lab).with_suffix(suffix)
    what = {".mp4": "video", ".json": "sidecar", ".jpg": "poster"}[suffix]
    DAMAGE[ailment](file)
    assert await findings(lab) == [("s01-t1", what, ailment)]
    before = lab.ledger.totals["downloads"]
    ran = await repair(lab)
    assert ran.exit_code == 0
    assert ran.of(EventKind.CHECKED)[0].detail["findings"] == 1
    assert await findings(lab) == []
    assert lab.ledger.totals["downloads"] - before == (suffix == ".mp4")
    assert lab.counts() == {"downloaded": 2}


async def test_a_whole_folder_gone(make_lab):
    """Clips, sidecars, posters and metadata.jsonl: all of it comes back to its place."""
    lab = make_lab()
    await lab.run(lab.manifest(3))
    files = {file: file.read_bytes() for file in (lab.out / "film").iterdir() if not file.name.startswith(".")}
    for file in files:
        file.unlink()
    ran = await repair(lab)
    assert (ran.exit_code, ran.summary.downloaded) == (0, 3)
    assert await findings(lab) == []
    assert {file for file in files if file.exists()} == set(files)
    lab.assert_all_home(3)


async def test_a_clip_edited_by_hand_is_kept(make_lab):
    """What stands there is somebody's work: the clip as it was bought comes beside it."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    flip(clip(lab))
    edited = clip(lab).read_bytes()
    assert (await repair(lab)).exit_code == 0
    assert clip(lab).read_bytes() == edited
    assert [file.read_bytes() == sample() for file in lab.clips() if file != clip(lab)] == [True]
    assert await findings(lab) == []


async def test_a_sidecar_edited_by_hand_is_kept(make_lab):
    lab = make_lab()
    await lab.run(lab.manifest(1))
    file = clip(lab).with_suffix(".json")
    whole = file.read_bytes()
    file.write_text("my notes")
    assert (await repair(lab)).exit_code == 0
    assert file.read_bytes() == whole
    assert file.with_name("s01-t1.json.old1").read_text() == "my notes"


@pytest.mark.parametrize("wreck", [None, b"", b'{"file_name": "film/s01-t1.mp4", "external_task_id": 1}\n{"file'])
async def test_metadata(make_lab, wreck):
    """The data set's index is made from the state, so it is simply written again."""
    lab = make_lab()
    await lab.run(lab.manifest(2))
    file = lab.out / "film" / "metadata.jsonl"
    whole = file.read_bytes()
    file.unlink() if wreck is None else file.write_bytes(wreck)
    found = await findings(lab)
    assert [what for _, what, _ in found] == ([] if wreck == b"" else ["metadata.jsonl"])
    assert (await repair(lab)).exit_code == 0
    if wreck != b"":
        assert file.read_bytes() == whole


async def test_a_clip_that_cannot_come_back(make_lab):
    """After 30 days the provider has cleared it: it stays as it is, and is told."""
    lab = make_lab()
    await lab.run(lab.manifest(2))
    await anyio.sleep(32 * DAY)

    async def find(api, generation_id):
        del api, generation_id
        return Look(sight=Sight.ABSENT, detail="gone")

    lab.meddle(find=find)
    cut(clip(lab))
    ran = await repair(lab)
    assert ran.exit_code == 1
    assert lab.counts() == {"downloaded": 2}
    assert len(clip(lab).read_bytes()) == 100
    told = " ".join(event.detail["message"] for event in ran.of(EventKind.WARNING))
    assert "cannot come back" in told
    assert "still not whole: s01-t1" in told


async def test_a_link_out_of_the_folder_is_not_followed(make_lab):
    """The folder was moved and linked elsewhere, or a stranger planted it: told, nothing is written there."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    elsewhere = lab.home / "elsewhere"
    clip(lab).rename(elsewhere)
    clip(lab).symlink_to(elsewhere)
    assert await findings(lab) == [("s01-t1", "video", "leads out of the folder")]
    ran = await repair(lab)
    assert ran.exit_code == 1
    assert clip(lab).is_symlink()
    assert elsewhere.read_bytes() == sample()
    assert lab.counts() == {"downloaded": 1}


async def test_what_cannot_be_read_is_left_alone(make_lab):
    """Links in a circle, a disk that fails: whether it is whole is not known, so nothing is put in its place."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    clip(lab).unlink()
    clip(lab).symlink_to(clip(lab))
    assert await findings(lab) == [("s01-t1", "video", "cannot be read")]
    assert (await repair(lab)).exit_code == 1
    assert clip(lab).is_symlink()
    assert lab.counts() == {"downloaded": 1}


async def test_a_record_that_leads_out_of_the_folder(make_lab):
    """A stranger's state names a file of ours: it is not read, and not written."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    victim = lab.folder / "victim.mp4"
    victim.write_bytes(b"mine")
    async with lab.open() as batch:
        with batch.store.transaction():
            batch.store._execute("UPDATE assets SET path = '../victim.mp4' WHERE kind = 'video'")
    assert await findings(lab) == [("s01-t1", "video", "leads out of the folder")]
    assert (await repair(lab)).exit_code == 1
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
async def test_something_else_has_the_name(make_lab, make):
    """A pipe is not opened: it would wait for ever. The clip takes another name."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    clip(lab).unlink()
    make(clip(lab))
    assert await findings(lab) == [("s01-t1", "video", "no file, but something else")]
    with anyio.fail_after(3600):
        assert (await repair(lab)).exit_code == 0
    assert await findings(lab) == []


async def test_it_waits_for_nothing_else(make_lab):
    """What is at the provider is a run's business: not looked at, not waited for."""
    lab = make_lab()
    manifest = lab.manifest(3)
    await lab.run(manifest, limit=1)
    await lab.run(manifest, limit=1, submit_only=True)
    clip(lab).unlink()
    started = anyio.current_time()
    assert (await repair(lab)).exit_code == 0
    assert anyio.current_time() - started < 5
    assert lab.counts() == {"downloaded": 1, "submitted": 1, "pending": 1}


async def test_the_provider_is_away(make_lab):
    """Said (69), with nothing lost: the same command, or a run, brings it back later."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest)
    clip(lab).unlink()
    lab.network.down = True
    ran = await repair(lab)
    assert ran.exit_code in (69, 75)
    assert "batcher verify --repair" in ran.summary.next
    lab.network.down = False
    assert (await repair(lab)).exit_code == 0
    lab.assert_all_home(2)


async def test_killed_in_the_middle(make_lab):
    """At each event of a repair: the next run has all clips home, unpaid."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest)
    for moment in range(1, 9):
        clip(lab).unlink(missing_ok=True)
        clip(lab, "s02-t1").with_suffix(".json").unlink(missing_ok=True)
        left = iter(range(moment))
        await lab._process(
            lambda batch, emit: batch.repair(None, emit),
            watch=lambda event, left=left, moment=moment: lab.kill() if next(left, None) == moment - 1 else None,
        )
        assert (await repair(lab)).exit_code == 0
        assert await findings(lab) == []
    lab.assert_all_home(2)


async def test_a_clip_without_its_record(make_lab):
    """The state says that it is home, and not where."""
    lab = make_lab()
    await lab.run(lab.manifest(1))
    async with lab.open() as batch:
        with batch.store.transaction():
            batch.store._execute("DELETE FROM assets")
    assert ("s01-t1", "video", "not recorded") in await findings(lab)
    assert (await repair(lab)).exit_code == 0
    assert await findings(lab) == []
    assert lab.clips() == [clip(lab)]


async def test_a_damaged_row_is_told(make_lab):
    """SQLite does not see a flipped bit in a text; the content hash does."""
    lab = make_lab()
    await lab.run(lab.manifest(2))
    async with lab.open() as batch:
        with batch.store.transaction():
            batch.store._execute("UPDATE tasks SET prompt = replace(prompt, 'scene 1', 'scene 9')")
    assert await findings(lab) == [("s01-t1", "row", "its content does not give its hash")]
    ran = await repair(lab)
    assert ran.exit_code == 1
    assert ran.summary.next[0].startswith("batcher recover ")


async def test_what_was_given_up_is_not_asked_for(make_lab):
    lab = make_lab()
    await lab.run(lab.manifest(1))
    async with lab.open() as batch:
        batch.store.dropped(lab.tasks(Status.DOWNLOADED)[0], now=lab.clock.now())
    clip(lab).unlink()
    assert await findings(lab) == []
