"""What a job's folder holds is found again, and only what is ours."""

import json
from pathlib import Path

import pytest
from syncs import watch_syncs

from assets.samples import NOW, fetch_of, make_task, tree
from batcher.assets import Folder
from batcher.errors import DiskError

URL = "https://v16.klingai.com/clip.mp4?Signature=SECRET"


def now():
    return NOW


async def save(folder, task, body, **options):
    return await folder.save(task, URL, fetch=fetch_of(body, **options), now=now)


def put(folder, name, data):
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- clips, and what was sent ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_clip_is_adopted_by_its_id_and_its_bytes(folder, clip, other_clip):
    task = make_task()
    assert await folder.adopt(task) is None
    saved = await save(folder, task, clip)
    assert await folder.adopt(task) == saved
    assert await folder.adopt(make_task(id=8)) == tuple(
        type(asset)(**{name: getattr(asset, name) for name in asset.__slots__} | {"task_id": 8}) for asset in saved
    )
    assert await folder.adopt(make_task(external_task_id="autumn-other-a1")) is None
    put(folder, "fox-t1.mp4", clip[:-1] + b"x")
    assert await folder.adopt(task) is None
    put(folder, "fox-t1.mp4", other_clip)
    assert await folder.adopt(task) is None
    put(folder, "fox-t1.mp4", clip)
    put(folder, "fox-t1.json", b" " * 1_000_001)
    assert await folder.adopt(task) is None


@pytest.mark.anyio
async def test_adopting_a_clip_removes_what_the_killed_run_had_not(folder, clip):
    """Killed between taking the clip's name and giving up the hidden one: nobody would download to it again."""
    task = make_task()
    await save(folder, task, clip)
    for name in (".fox-t1.mp4.part", ".fox-t1.json.part", ".fox-t1.jpg.part"):
        put(folder, name, clip)
    planted = folder.path / ".owl-t1.mp4.part"
    planted.symlink_to(folder.path / "fox-t1.mp4")
    assert await folder.adopt(task)
    assert [path for path in folder.path.iterdir() if path.name.endswith(".part")] == [planted]


def test_a_run_sweeps_up_what_a_killed_one_left_of_its_own_files(folder):
    """Killed while it wrote the list of all clips: nobody may have a reason to write that again."""
    for name in (".metadata.jsonl.part", "..batcher.json.part"):
        put(folder, name, b"half of it")
    put(folder, ".mine.part", b"somebody else's")
    folder.prepare()
    assert [path.name for path in folder.path.iterdir()] == [".mine.part"]


@pytest.mark.anyio
async def test_only_videos_that_are_gone_or_of_another_size_are_missing(folder, clip):
    videos = []
    for name in ("a", "b", "c", "deep/d"):
        videos += await save(folder, make_task(output=f"autumn/{name}", external_task_id=name), clip)
    assert await folder.missing(videos) == []
    (folder.path / "a.mp4").unlink()
    (folder.path / "a.json").unlink()
    put(folder, "b.mp4", clip + b"x")
    (folder.path / "c.mp4").rename(folder.root / "moved.mp4")
    (folder.path / "c.mp4").symlink_to(folder.root / "moved.mp4")
    gone = await folder.missing(videos)
    assert [asset.path for asset in gone] == ["autumn/a.mp4", "autumn/b.mp4"]


@pytest.mark.anyio
async def test_a_recorded_path_out_of_the_folder_is_missing_not_followed(folder, clip, tmp_path):
    video = (await save(folder, make_task(), clip))[0]
    (tmp_path / "evil.mp4").write_bytes(clip)
    fields = {name: getattr(video, name) for name in video.__slots__}
    evil = type(video)(**fields | {"path": "../evil.mp4"})
    assert await folder.missing([evil]) == [evil]


@pytest.mark.anyio
async def test_what_was_sent_is_known_by_its_receipt_or_its_sidecar(folder, clip):
    """With the content it was sent for, which says more than the id. A receipt knows more than a sidecar."""
    assert await folder.sent() == {}
    await save(folder, make_task(output="autumn/monday/fox", external_task_id="saved"), clip)
    await save(folder, make_task(output="autumn/owl", external_task_id="both"), clip)
    await folder.receipts.append("sent", "hash", account="key-1", now=NOW)
    await folder.receipts.append("both", "c0ffee", account="key-1", now=NOW)
    put(folder, "package.json", b'{"name": "not ours"}')
    sent = await folder.sent()
    assert {name: (r.content_hash, r.account, r.posts) for name, r in sent.items()} == {
        "saved": ("c0ffee", "", 1),
        "sent": ("hash", "key-1", 1),
        "both": ("c0ffee", "key-1", 1),
    }


@pytest.mark.anyio
async def test_an_adopted_clip_is_durable_before_it_is_told(tmp_path, folder, clip, monkeypatch):
    """The run that published it may have been killed before it made the names durable."""
    task = make_task(output="autumn/one/fox-t1")
    await save(folder, task, clip)
    synced = watch_syncs(monkeypatch)
    assert await Folder(tmp_path / "out", "autumn").adopt(task)
    assert synced == [folder.path, folder.path / "one"]


@pytest.mark.anyio
async def test_a_clip_in_a_folder_that_a_killed_run_made_is_durable_with_it(folder, clip, monkeypatch):
    (folder.path / "one").mkdir(parents=True)
    synced = watch_syncs(monkeypatch)
    await save(folder, make_task(output="autumn/one/fox-t1"), clip)
    assert synced[0] == folder.path
    assert synced[-1] == folder.path / "one"


@pytest.mark.anyio
async def test_an_adopted_clip_has_the_providers_id_from_its_sidecar(folder, clip):
    """Else it could never be fetched again."""
    await save(folder, make_task(), clip)
    assert await folder.generation_of(make_task(generation_id=None)) == "845678901234567890"
    assert await folder.generation_of(make_task(external_task_id="another's")) is None
    assert await folder.generation_of(make_task(output="autumn/owl")) is None


@pytest.mark.anyio
async def test_metadata_lists_each_clip_from_where_it_lies(folder, clip):
    pairs = []
    for name in ("fox", "monday/owl"):
        task = make_task(output=f"autumn/{name}", external_task_id=name)
        pairs.append((task, (await save(folder, task, clip))[0]))
    path = await folder.write_metadata(pairs)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["file_name"] for row in rows] == ["fox.mp4", "monday/owl.mp4"]
    assert path.parent == folder.path
    await folder.write_metadata(pairs[:1])
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.anyio
async def test_metadata_without_news_is_written_only_where_a_clip_is_not_in_it(folder, clip):
    """A run that was killed after its last download wrote none; one with nothing to do leaves a person's notes."""
    pairs = [(make_task(), (await save(folder, make_task(), clip))[0])]
    path = await folder.write_metadata(pairs, has_news=False)
    noted = path.read_text().replace("{", '{"caption": "mine", ', 1)
    path.write_text(noted)
    assert await folder.write_metadata(pairs, has_news=False) is None
    assert path.read_text() == noted
    path.write_text(noted + '{"external_task_id": "torn')
    assert await folder.write_metadata(pairs, has_news=False) == path


@pytest.mark.anyio
@pytest.mark.parametrize("theirs", [b'{"file_name": "cat.png"}\n', b"# notes\n", b"[1]\n", b"7\n", b"\xff\n"])
async def test_metadata_of_somebody_else_is_left_alone(folder, theirs):
    path = put(folder, "metadata.jsonl", theirs)
    assert await folder.write_metadata([]) is None
    assert path.read_bytes() == theirs


# ---- before buying ----------------------------------------------------------------------------------------------


def test_a_folder_says_beforehand_that_it_has_no_room(folder):
    folder.prepare()
    folder.check_space()
    with pytest.raises(DiskError, match="MB free"):
        folder.check_space(clips=10**9)
    with pytest.raises(DiskError, match="MB free"):
        folder.prepare(clips=10**9)


def test_namespaces_lie_beside_the_clips(folder):
    folder.store_namespace(job="autumn", scope="cometapi", namespace="n1")
    assert folder.namespaces() == {"cometapi": "n1"}
    assert list(tree(folder.root)) == ["autumn/.batcher.json"]


def test_a_path_is_shown_from_where_one_stands(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder.shown("autumn/fox.mp4") == Path("out/autumn/fox.mp4")
    monkeypatch.chdir("/")
    assert folder.shown("autumn/fox.mp4") == Path(*tmp_path.parts[1:], "out/autumn/fox.mp4")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert folder.shown("autumn/fox.mp4") == tmp_path / "out/autumn/fox.mp4"
