"""What outlives a lost state: which ids were sent, and under which namespace."""

import os
import stat

import pytest
from syncs import watch_syncs

from assets.samples import NOW
from batcher.assets import Receipt, Receipts
from batcher.assets.receipts import read_namespaces, write_namespace
from batcher.errors import DiskError, StateError


@pytest.fixture(params=[True, False], ids=["inline", "in a thread"])
def receipts(request, tmp_path):
    return Receipts(tmp_path / "out" / "autumn" / ".batcher-receipts.jsonl", inline=request.param)


@pytest.mark.anyio
async def test_every_post_is_counted_from_the_first_one_on_with_the_key_of_the_last(receipts):
    await receipts.append("a1", "hash-a", account="key-1", now=NOW)
    await receipts.append("b1", "hash-b", now=NOW)
    await receipts.append("a1", "hash-a", account="key-2", now=NOW + 60)
    assert list(receipts.read()) == ["a1", "b1"]
    assert receipts.read()["a1"] == Receipt(
        external_task_id="a1", content_hash="hash-a", at="2026-11-22T13:06:33.120Z", account="key-2", posts=2
    )


@pytest.mark.anyio
@pytest.mark.parametrize(("numbers", "posts"), [((1, 2, 3), 3), ((2,), 2), ((2, 3), 3), ((1, 1, 1), 3), ((4, 2), 4)])
async def test_it_says_how_many_posts_the_state_had_counted(receipts, numbers, posts):
    """A run may end between a POST counted and its receipt, so that there are fewer receipts than POSTs counted."""
    for number in numbers:
        await receipts.append("a1", "hash-a", post=number, now=NOW)
    assert receipts.read()["a1"].posts == posts


def test_a_receipt_that_does_not_say_its_key_is_one_all_the_same(receipts):
    receipts.path.parent.mkdir(parents=True)
    receipts.path.write_text(
        '{"external_task_id": "a1", "content_hash": "hash-a", "at": "2026-11-22T13:06:33.120Z"}\n'
    )
    assert receipts.read()["a1"].account == ""


def test_before_the_first_post_there_are_none(receipts):
    assert receipts.read() == {}


@pytest.mark.anyio
async def test_it_is_on_disk_before_the_post(receipts, monkeypatch):
    """The file is synced after the line, and the folder after the file was made."""
    calls = []
    real_fsync, real_write = os.fsync, os.write

    def fsync(fd):
        calls.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        real_fsync(fd)

    def write(fd, data):
        if bytes(data).startswith(b'{"external_task_id"'):
            calls.append("line")
        return real_write(fd, data)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "write", write)
    await receipts.append("a1", "hash-a", now=NOW)
    assert calls[-3:] == ["line", "file", "folder"]
    await receipts.append("b1", "hash-b", now=NOW)
    assert calls[-2:] == ["line", "file"]


@pytest.mark.anyio
async def test_a_file_whose_name_another_has_not_made_durable_is_no_receipt_yet(receipts, monkeypatch):
    """Two tasks write their first receipts at once, or a run was killed between the file and its name."""
    receipts.path.parent.mkdir(parents=True)
    receipts.path.touch()  # made by the other, who was not yet as far as the folder
    synced = watch_syncs(monkeypatch)
    await receipts.append("a1", "hash-a", now=NOW)
    assert synced[-2:] == [receipts.path, receipts.path.parent]
    await receipts.append("b1", "hash-b", now=NOW)
    assert synced[-1] == receipts.path  # the name is durable from then on


@pytest.mark.anyio
@pytest.mark.parametrize("torn", [b'{"external_task_id": "b', b"\0\0\0\0\0", b"null", b'"text"', b"[" * 100_000])
async def test_a_torn_line_costs_only_itself(receipts, torn):
    await receipts.append("a1", "hash-a", now=NOW)
    with receipts.path.open("ab") as file:
        file.write(torn)
    await receipts.append("c1", "hash-c", now=NOW)
    assert list(receipts.read()) == ["a1", "c1"]


@pytest.mark.anyio
async def test_no_line_is_ever_cut_short(receipts):
    """A file torn at any byte still yields every line before it, and takes the next one whole."""
    await receipts.append("a1", "hash-a", now=NOW)
    await receipts.append("b1", "hash-b", now=NOW)
    whole = receipts.path.read_bytes()
    first = whole.index(b"\n")
    for length in range(len(whole)):
        receipts.path.write_bytes(whole[:length])
        await receipts.append("c1", "hash-c", now=NOW)
        expected = ["c1"] if length < first else ["a1", "c1"] if length < len(whole) - 1 else ["a1", "b1", "c1"]
        assert list(receipts.read()) == expected


@pytest.mark.anyio
async def test_it_is_private_and_follows_no_link(receipts):
    await receipts.append("a1", "hash-a", now=NOW)
    assert stat.S_IMODE(receipts.path.stat().st_mode) == 0o600
    victim = receipts.path.with_name("victim")
    victim.write_bytes(b"theirs")
    receipts.path.unlink()
    receipts.path.symlink_to(victim)
    with pytest.raises(DiskError):
        await receipts.append("b1", "hash-b", now=NOW)
    assert victim.read_bytes() == b"theirs"


@pytest.mark.anyio
async def test_a_receipt_that_cannot_be_written_stops_the_run(receipts):
    receipts.path.parent.parent.mkdir()
    receipts.path.parent.write_bytes(b"")
    with pytest.raises(DiskError):
        await receipts.append("a1", "hash-a", now=NOW)


# ---- namespaces -------------------------------------------------------------------------------------------------


def test_a_namespace_is_kept_for_each_scope(tmp_path):
    path = tmp_path / "out" / "autumn" / ".batcher.json"
    assert read_namespaces(path) == {}
    write_namespace(path, job="autumn", scope="simulator", namespace="n1")
    write_namespace(path, job="autumn", scope="cometapi", namespace="n2")
    write_namespace(path, job="autumn", scope="cometapi", namespace="n3")
    assert read_namespaces(path) == {"simulator": "n1", "cometapi": "n3"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [other.name for other in path.parent.iterdir()] == [".batcher.json"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"schema": 2, "namespaces": {}}',
        b'{"schema": 1, "namespaces": []}',
        b'{"schema": 1, "namespaces": {"cometapi": ""}}',
        b'{"schema": 1, "namespaces": {"cometapi": 7}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_of_namespaces_stops_the_run(tmp_path, data):
    """Other namespaces are other ids: going on would buy every clip again."""
    path = tmp_path / ".batcher.json"
    path.write_bytes(data)
    with pytest.raises(StateError, match="damaged or of a newer version"):
        read_namespaces(path)
    with pytest.raises(StateError):
        write_namespace(path, job="autumn", scope="cometapi", namespace="n")
    assert path.read_bytes() == data
