"""Paid clips come home: whatever the CDN does, and whatever happens to them on the disk."""

from __future__ import annotations

import shutil
from dataclasses import replace

import anyio
import pytest

from batcher.events import EventKind
from batcher.generations import Look, Sight
from batcher.tasks import Status

pytestmark = pytest.mark.anyio

DAY = 86400


@pytest.mark.parametrize(
    "fault", ["asset-403", "asset-html", "asset-redirect", "asset-cut", "asset-reset", "asset-unsized", "asset-slow"]
)
async def test_a_download_that_fails(make_lab, fault):
    """Half a file, a web page, a refusal: it is fetched again, and only whole clips get their name."""
    lab = make_lab(script=(fault, fault))
    assert (await lab.run(lab.manifest(3))).exit_code == 0
    lab.assert_all_home(3)


async def test_a_url_that_died_between_two_runs(make_lab):
    """The URL in the state is a day too old: a fresh one is asked for."""
    lab = make_lab(url_life_s=600)
    manifest = lab.manifest(3)
    await lab.run(manifest, watch=lambda event: lab.kill() if event.kind is EventKind.DOWNLOAD else None)
    assert lab.tasks(Status.SUCCEEDED)
    await anyio.sleep(DAY)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(3)


async def test_a_clip_deleted_from_the_disk(make_lab):
    """It comes back by the next run, without a submission."""
    lab = make_lab()
    manifest = lab.manifest(3)
    await lab.run(manifest)
    lab.clips()[1].unlink()
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    assert ran.summary.downloaded == 1
    assert len(lab.ledger.creates) == 3
    lab.assert_all_home(3)


async def test_a_clip_cut_short_on_the_disk(make_lab):
    """A file of another size counts as gone; the clip comes back whole."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest)
    clip = lab.clips()[0]
    clip.write_bytes(clip.read_bytes()[:1000])
    assert (await lab.run(manifest)).exit_code == 0
    assert lab.ledger.totals["charged"] == 2
    assert lab.counts() == {"downloaded": 2}


async def test_a_success_without_a_file(make_lab):
    """The provider shows no file: the clip is left for a later run (exit 75), not bought again."""
    lab = make_lab(script=("ok", "no-url"))
    manifest = lab.manifest(3)
    for _ in range(2):
        assert (await lab.run(manifest)).exit_code == 75
        assert lab.counts() == {"downloaded": 2, "succeeded": 1}
    assert lab.ledger.totals["charged"] == 3


async def test_a_url_into_our_own_network(make_lab):
    """A URL to an internal address is not followed; the clip waits for a person, still paid for."""
    lab = make_lab(script=("ok", "hostile-url"))
    ran = await lab.run(lab.manifest(2))
    assert ran.exit_code == 75
    assert lab.counts() == {"downloaded": 1, "succeeded": 1}
    assert any("refused" in event.detail["message"] for event in ran.of(EventKind.WARNING))


async def test_a_url_that_was_refused_is_asked_for_anew(make_lab):
    """The next run does not insist on the address in the state: the provider may give a better one by then."""
    lab = make_lab()
    manifest = lab.manifest(1)
    asked = 0

    async def find(api, generation_id):
        nonlocal asked
        asked += 1
        seen = await api.find(generation_id)
        if seen.generation is None or not seen.generation.videos:
            return seen
        video = replace(seen.generation.videos[0], url="http://169.254.169.254/clip.mp4?Signature=x")
        return replace(seen, generation=replace(seen.generation, videos=(video,)))

    lab.meddle(find=find)
    assert (await lab.run(manifest)).exit_code == 75
    asked = 0
    assert (await lab.run(manifest)).exit_code == 75
    assert asked == 1
    lab.provider = lambda api: api
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(1)


async def test_files_are_gone_after_their_life(make_lab):
    """A clip that was never fetched in its 30 days is the one loss there is, and it is said."""
    lab = make_lab(script=("ok", "no-url"))
    manifest = lab.manifest(2)
    await lab.run(manifest)
    await anyio.sleep(31 * DAY)
    ran = await lab.run(manifest)
    assert ran.exit_code == 1
    assert [event.detail["code"] for event in ran.of(EventKind.FAILED)] == ["expired"]


async def test_somebody_elses_file_stays(make_lab):
    """Where a name is taken by a file that we did not write, the clip takes another."""
    lab = make_lab()
    theirs = lab.out / "film" / "s01-t1.mp4"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    assert (await lab.run(lab.manifest(2))).exit_code == 0
    assert theirs.read_text() == "theirs"
    assert len(lab.clips()) == 3


async def test_a_folder_moved_away_after_the_life_of_its_files(make_lab):
    """After a month the provider has nothing to bring back: what was home stays `downloaded`, and is told of."""
    lab = make_lab()
    manifest = lab.manifest(2)
    await lab.run(manifest)
    await anyio.sleep(32 * DAY)

    async def find(api, generation_id):
        return Look(sight=Sight.ABSENT, detail="gone")

    lab.meddle(find=find)
    lab.out.rename(lab.folder / "moved")
    ran = await lab.run(manifest)
    assert lab.counts() == {"downloaded": 2}
    assert any("cannot come back" in event.detail["message"] for event in ran.of(EventKind.WARNING))
    shutil.rmtree(lab.out)
    (lab.folder / "moved").rename(lab.out)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(2)


async def test_an_orphans_clip_that_is_not_home(make_lab):
    """Its prompt left the manifest, but it is paid for: the run is not done (75) until the clip is here."""
    lab = make_lab(script=("hostile-url",))
    await lab.run(lab.manifest(["a ship"]), submit_only=True)
    for _ in range(2):
        assert (await lab.run(lab.manifest(["a boat"]))).exit_code == 75


async def test_a_dropped_clip_keeps_no_signature(make_lab):
    """Given up while its URL was in the state: the signature is cut off."""
    lab = make_lab(faults={"asset-403": 1.0})
    await lab.run(lab.manifest(1))
    async with lab.open() as batch:
        task = lab.tasks()[0]
        assert "?" in batch.store.attempt(task.external_task_id).asset_url
        batch.store.dropped(task, now=lab.clock.now())
        assert "?" not in batch.store.attempt(task.external_task_id).asset_url


async def test_each_folder_gets_its_index(make_lab):
    """One collect brings clips of two jobs home: both folders' metadata.jsonl name theirs."""
    lab = make_lab()
    for job in ("film", "play"):
        await lab.run(lab.manifest(2, job=job), submit_only=True)
    assert (await lab.collect()).exit_code == 0
    for job in ("film", "play"):
        assert len((lab.out / job / "metadata.jsonl").read_text().splitlines()) == 2
