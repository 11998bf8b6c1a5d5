"""A job's folder: clips come in whole or not at all, nothing of anybody's is overwritten, what is here is found."""

import json
import os
import resource
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from assets.cdn import answer
from assets.samples import BOXES, FTYP, MOOV, NOW, box, fetch_of, make_task, tree
from batcher.assets import BrokenClipError, Folder, media
from batcher.errors import DiskError
from batcher.fetch import FetchError, FetchPolicy, threaded_fetch

URL = "https://v16.klingai.com/clip.mp4?Signature=SECRET"
NAMES = ["autumn/fox-t1.jpg", "autumn/fox-t1.json", "autumn/fox-t1.mp4"]


def now():
    return NOW


async def save(folder, task, body, **options):
    return await folder.save(task, URL, fetch=fetch_of(body, **options), now=now)


def put(folder, name, data):
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- coming in --------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("inline", [False, True])
async def test_a_clip_comes_in_with_its_sidecar_and_poster(tmp_path, clip, inline):
    folder = Folder(tmp_path / "out", "autumn", inline=inline)
    video, note, poster = await save(folder, make_task(), clip)
    files = tree(folder.root)
    assert sorted(files) == NAMES
    assert files[video.path] == clip
    assert (video.kind, note.kind, poster.kind) == ("video", "sidecar", "poster")
    assert (video.task_id, video.size_bytes, video.width, video.height, video.duration_s) == (
        7,
        len(clip),
        64,
        36,
        1.0,
    )
    assert video.downloaded_at == "2026-11-22T13:06:33.120Z"
    for asset in (note, poster):
        assert asset.size_bytes == len(files[asset.path])
    content = json.loads(files[note.path])
    assert (content["sha256"], content["file"]) == (video.sha256, "fox-t1.mp4")


@pytest.mark.anyio
async def test_nothing_on_disk_holds_the_url(folder, clip):
    await save(folder, make_task(), clip)
    assert not [name for name, data in tree(folder.root).items() if b"SECRET" in data or b"klingai" in data]


@pytest.mark.anyio
async def test_until_it_is_proven_it_has_no_name(folder, clip):
    """While the bytes come, there is one hidden file and nothing else."""

    async def fetch(url, sink, notes=None):
        fetched = await fetch_of(clip)(url, sink)
        sink.flush()
        assert tree(folder.root) == {"autumn/.fox-t1.mp4.part": clip}
        return fetched

    await folder.save(make_task(), URL, fetch=fetch, now=now)
    assert sorted(tree(folder.root)) == NAMES


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "announces"),
    [
        (b"", True),
        (b"<!doctype html><title>404</title>", True),
        (b"\0" * 5000, True),
        (BOXES[:-1], False),
        (BOXES, True),
        (FTYP + MOOV + box(b"mdat", b"pictures", size=0), False),
    ],
    ids=["empty", "html", "zeros", "cut, of unknown length", "whole boxes that do not play", "open end"],
)
async def test_what_is_no_whole_clip_leaves_nothing_behind(folder, body, announces):
    with pytest.raises(BrokenClipError):
        await save(folder, make_task(), body, announces=announces)
    assert tree(folder.root) == {}


@pytest.mark.anyio
async def test_without_the_extra_a_clip_is_proven_by_its_boxes(folder, monkeypatch):
    """No poster then; a clip that nothing bounds is still refused unless its length was announced."""
    monkeypatch.setattr(media, "is_available", lambda: False)
    await save(folder, make_task(), BOXES, announces=False)
    assert sorted(tree(folder.root)) == NAMES[1:]
    open_ended = FTYP + MOOV + box(b"mdat", b"pictures", size=0)
    task = make_task(output="autumn/open", external_task_id="x")
    with pytest.raises(BrokenClipError, match="nothing tells"):
        await save(folder, task, open_ended, announces=False)
    await save(folder, task, open_ended, announces=True)


@pytest.mark.anyio
async def test_a_truncated_download_leaves_nothing_behind(folder, clip, cdn):
    """Cut with a length, without one, and compressed and cut: over a real connection."""
    fetch = threaded_fetch(FetchPolicy(allow_loopback=True), limiter=anyio.CapacityLimiter(1))
    half = clip[: len(clip) // 2]
    for says in (
        answer(half, length=len(clip)),
        b"HTTP/1.1 200 OK\r\n\r\n" + half,
        answer(half, headers="Content-Encoding: gzip\r\n"),
        answer(b"expired", status="403 Forbidden"),
    ):
        with pytest.raises((FetchError, BrokenClipError)):
            await folder.save(make_task(), cdn.add("/clip.mp4", says), fetch=fetch, now=now)
        assert tree(folder.root) == {}
    await folder.save(make_task(), cdn.add("/clip.mp4", answer(clip)), fetch=fetch, now=now)
    assert tree(folder.root)["autumn/fox-t1.mp4"] == clip


@pytest.mark.anyio
async def test_a_cancelled_download_leaves_nothing_behind(folder, clip, cdn):
    fetch = threaded_fetch(FetchPolicy(allow_loopback=True), limiter=anyio.CapacityLimiter(1))
    url = cdn.add("/clip.mp4", answer(clip[:1000], length=len(clip)), stalls=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: folder.save(make_task(), url, fetch=fetch, now=now))
        await to_thread.run_sync(cdn.stalled.wait)
        assert list(tree(folder.root)) == ["autumn/.fox-t1.mp4.part"]
        tasks.cancel_scope.cancel()
    assert tree(folder.root) == {}


# ---- nothing is overwritten -------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["fox-t1.mp4", "fox-t1.json", "fox-t1.jpg"])
async def test_a_file_of_somebody_else_keeps_its_name(folder, clip, other_clip, name):
    """The clip takes the same spare name at every run, and is found again there."""
    theirs = put(folder, name, other_clip)
    task = make_task()
    first = await save(folder, task, clip)
    assert theirs.read_bytes() == other_clip
    assert first[0].path != "autumn/fox-t1.mp4"
    assert (folder.root / first[0].path).read_bytes() == clip
    assert await folder.adopt(task) == first
    assert await save(folder, task, clip) == first
    assert len(tree(folder.root)) == 4


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
async def test_what_is_planted_at_the_final_name_is_left_alone(folder, clip, tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    folder.path.mkdir(parents=True)
    planted = folder.path / "fox-t1.mp4"
    match kind:
        case "link":
            planted.symlink_to(victim)
        case "dangling":
            planted.symlink_to(tmp_path / "nowhere")
        case "folder":
            planted.mkdir()
    video = (await save(folder, make_task(), clip))[0]
    assert video.path != "autumn/fox-t1.mp4"
    assert victim.read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.anyio
async def test_a_file_that_appears_at_the_last_moment_is_not_overwritten(folder, clip, monkeypatch):
    """Between our look and the publishing: the kernel decides, not the look."""
    real = os.link

    def link(source, target, **options):
        if Path(target).name == "fox-t1.mp4":
            Path(target).write_bytes(b"theirs")
        real(source, target, **options)

    monkeypatch.setattr(os, "link", link)
    video = (await save(folder, make_task(), clip))[0]
    assert (folder.path / "fox-t1.mp4").read_bytes() == b"theirs"
    assert (folder.root / video.path).read_bytes() == clip


@pytest.mark.anyio
async def test_a_clip_edited_by_hand_is_kept_beside_the_new_one(folder, clip, other_clip):
    task = make_task()
    await save(folder, task, clip)
    edited = put(folder, "fox-t1.mp4", other_clip)
    video = (await save(folder, task, clip))[0]
    assert edited.read_bytes() == other_clip
    assert (folder.root / video.path).read_bytes() == clip


@pytest.mark.anyio
@pytest.mark.parametrize("damage", [b"", b"\0" * 500])
async def test_a_damaged_clip_of_ours_is_replaced_in_place(folder, clip, damage):
    task = make_task()
    first = await save(folder, task, clip)
    put(folder, "fox-t1.mp4", damage)
    assert await save(folder, task, clip) == first
    assert sorted(tree(folder.root)) == NAMES


@pytest.mark.anyio
async def test_a_deleted_clip_comes_back_under_its_name(folder, clip):
    task = make_task()
    first = await save(folder, task, clip)
    (folder.path / "fox-t1.mp4").unlink()
    assert await save(folder, task, clip) == first


@pytest.mark.anyio
async def test_two_tasks_of_one_name_both_come_in(folder, clip, other_clip):
    """At the same moment, too: neither writes into the other's hidden file."""
    arrived = anyio.Event()
    results = {}

    def slow(body, *, waits):
        async def fetch(url, sink, notes=None):
            if waits:
                await arrived.wait()
            fetched = await fetch_of(body)(url, sink)
            arrived.set()
            return fetched

        return fetch

    async def one(task_id, body, *, waits):
        task = make_task(id=task_id, external_task_id=f"autumn-{task_id}-a1")
        results[body] = await folder.save(task, URL, fetch=slow(body, waits=waits), now=now)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: one(1, clip, waits=True))
        tasks.start_soon(lambda: one(2, other_clip, waits=False))
    assert {(folder.root / assets[0].path).read_bytes() for assets in results.values()} == {clip, other_clip}
    assert len(tree(folder.root)) == 6


@pytest.mark.anyio
async def test_the_same_bytes_for_two_tasks_are_two_clips(folder, clip):
    await save(folder, make_task(), clip)
    other = await save(folder, make_task(id=8, external_task_id="autumn-other-a1"), clip)
    assert other[0].path != "autumn/fox-t1.mp4"
    assert len(tree(folder.root)) == 6


@pytest.mark.anyio
async def test_a_name_with_a_dot_keeps_it(folder, clip):
    video = (await save(folder, make_task(output="autumn/v2.1/fox.final"), clip))[0]
    assert video.path == "autumn/v2.1/fox.final.mp4"


@pytest.mark.anyio
@pytest.mark.parametrize("output", ["../fox", "/tmp/fox", "autumn/../../fox"])
async def test_a_path_out_of_the_folder_is_refused(folder, clip, output):
    with pytest.raises(DiskError, match="leads out"):
        await save(folder, make_task(output=output), clip)


@pytest.mark.anyio
async def test_a_linked_folder_that_leads_out_is_refused(folder, clip, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.root.mkdir()
    folder.path.symlink_to(elsewhere)
    with pytest.raises(DiskError, match="leads out"):
        await save(folder, make_task(), clip)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.anyio
async def test_a_link_planted_at_the_hidden_name_stops_the_run(folder, clip, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    folder.path.mkdir(parents=True)
    (folder.path / ".fox-t1.mp4.part").symlink_to(victim)
    with pytest.raises(DiskError, match="did not make"):
        await save(folder, make_task(), clip)
    assert victim.read_bytes() == b"theirs"


# ---- crashes ----------------------------------------------------------------------------------------------------


class DiedError(BaseException):
    """The process is gone: no `finally` may do anything to the disk any more."""


def mortal(patch, steps):
    """Let `steps` changes of the disk happen, and none after. Returns the number of changes asked for."""
    asked = []

    def guard(name):
        real = getattr(os, name)

        def call(*args, **options):
            asked.append(name)
            if len(asked) > steps:
                raise DiedError
            return real(*args, **options)

        patch.setattr(os, name, call)

    for name in ("open", "link", "replace", "rename", "unlink", "mkdir", "fsync"):
        guard(name)
    return asked


@pytest.mark.anyio
async def test_killed_at_any_moment_a_name_means_a_whole_clip_and_the_next_run_ends_the_same(tmp_path, clip):
    """Whatever is under the final name is whole and known to be ours; a second run leaves three files, no more."""
    task, steps, survived = make_task(), 0, False
    while not survived:
        folder = Folder(tmp_path / f"out-{steps}", "autumn", inline=True)
        with pytest.MonkeyPatch.context() as patch:
            asked = mortal(patch, steps)
            try:
                await save(folder, task, clip)
            except DiedError:
                pass
            else:
                survived = True
        folder = Folder(tmp_path / f"out-{steps}", "autumn", inline=True)
        if (folder.path / "fox-t1.mp4").exists():
            assert (await folder.adopt(task))[0].path == "autumn/fox-t1.mp4"
        await save(folder, task, clip)
        assert sorted(tree(folder.root)) == NAMES
        assert tree(folder.root)["autumn/fox-t1.mp4"] == clip
        steps += 1
    assert steps == len(asked) + 1 > 15


@pytest.mark.anyio
async def test_names_are_given_to_synced_files_and_are_synced_themselves(tmp_path, clip, monkeypatch):
    """Bytes before names, sidecar before clip, and the folder last: then the row may say `downloaded`."""
    folder = Folder(tmp_path / "out", "autumn", inline=True)
    calls = []

    def record(name, label):
        real = getattr(os, name)

        def call(*args, **options):
            calls.append((name, label(*args)))
            return real(*args, **options)

        monkeypatch.setattr(os, name, call)

    def name_of(fd):
        inode = os.fstat(fd).st_ino
        return next(path.name for path in tmp_path.rglob("*") if path.stat().st_ino == inode)

    folder.prepare()
    record("fsync", name_of)
    record("link", lambda _, target: Path(target).name)
    record("replace", lambda _, target: Path(target).name)
    await save(folder, make_task(), clip)
    order = [
        ("fsync", ".fox-t1.mp4.part"),
        ("fsync", ".fox-t1.json.part"),
        ("link", "fox-t1.json"),
        ("link", "fox-t1.mp4"),
        ("fsync", ".fox-t1.jpg.part"),
        ("replace", "fox-t1.jpg"),
        ("fsync", "autumn"),
    ]
    places = [calls.index(call) for call in order]
    assert places == sorted(places)
    assert calls[-1] == ("fsync", "autumn")


@pytest.mark.anyio
async def test_a_full_disk_stops_the_run_and_leaves_nothing_behind(folder, clip):
    folder.prepare()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(clip) - 1, before[1]))
    try:
        with pytest.raises(DiskError, match="bytes free") as caught:
            await save(folder, make_task(), clip)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.exit_code == 78
    assert "not bought again" in caught.value.hint
    assert tree(folder.root) == {}
