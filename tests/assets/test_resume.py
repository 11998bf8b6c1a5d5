"""A download that broke off goes on where it was, and no clip is ever mixed from two."""

import fcntl
import gzip
import hashlib
import json
import os
import resource

import anyio
import pytest

from assets.cdn import answer, redirect
from assets.samples import NOW, box, make_task, tree
from assets.test_folder import NAMES, DiedError, mortal
from batcher.assets import BrokenClipError, Folder, disk
from batcher.errors import DiskError
from batcher.fetch import FetchError, FetchPolicy, threaded_fetch

pytestmark = pytest.mark.anyio

MIB = 1 << 20
PART, NOTES, CLIP = "autumn/.fox-t1.mp4.part", "autumn/.fox-t1.mp4.resume", "autumn/fox-t1.mp4"
OWNER = make_task().external_task_id


@pytest.fixture
def anyio_backend():
    """One is enough: nothing here waits but in threads."""
    return "asyncio"


@pytest.fixture(scope="session")
def film(clip):
    """A clip of 4 MiB and a bit that plays."""
    return clip + box(b"free", hashlib.shake_128(b"film").digest(4 * MIB))


@pytest.fixture(scope="session")
def other_film(other_clip, film):
    return other_clip + box(b"free", hashlib.shake_128(b"other").digest(len(film) - len(other_clip) - 8))


def whole(film, *, etag='"one"', headers=""):
    return answer(film, headers=f"ETag: {etag}\r\n{headers}")


def cut(film, at, *, etag='"one"', headers=""):
    return answer(film[:at], length=len(film), headers=f"ETag: {etag}\r\n{headers}")


def rest(film, start, *, etag='"one"', said=None, headers="", length=None):
    """A 206; `said` is its Content-Range."""
    said = f"Content-Range: bytes {start}-{len(film) - 1}/{len(film)}\r\n" if said is None else said
    tag = f"ETag: {etag}\r\n" if etag else ""
    return answer(film[start:], status="206 Partial Content", headers=f"{tag}{said}{headers}", length=length)


async def save(folder, url, task=None):
    fetch = threaded_fetch(FetchPolicy(allow_loopback=True), limiter=anyio.CapacityLimiter(1))
    return (await folder.save(task or make_task(), url, fetch=fetch, now=lambda: NOW))[0]


async def fails(folder, url):
    with pytest.raises(FetchError) as caught:
        await save(folder, url)
    return str(caught.value.fault)


def ranges(cdn):
    """The Range that each request had."""
    heads = [dict(line.split(": ", 1) for line in text.splitlines()[1:] if line) for text in cdn.requests]
    return [head.get("Range") for head in heads]


def assert_home(folder, film, video):
    files = tree(folder.root)
    assert sorted(files) == NAMES
    assert files[CLIP] == film
    assert (video.size_bytes, video.sha256) == (len(film), hashlib.sha256(film).hexdigest())


# ---- going on ---------------------------------------------------------------------------------------------------


async def test_a_download_goes_on_where_it_broke_off(folder, film, cdn):
    """Twice, and each byte is sent once. What it goes on with holds neither URL nor signature."""
    at, further = 2 * MIB + 777, 3 * MIB + 5
    url = cdn.script(
        "/clip.mp4", cut(film, at), rest(film[:further], at, said=_said(film, at), length=len(film) - at)
    )
    assert await fails(folder, url) == "cut"
    files = tree(folder.root)
    assert sorted(files) == [PART, NOTES]
    assert files[PART] == film[:at]
    assert b"SECRET" not in files[NOTES]
    assert b"clip.mp4" not in files[NOTES]
    assert await fails(folder, url) == "cut"
    cdn.script("/clip.mp4", rest(film, further))
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None, f"bytes={at}-", f"bytes={further}-"]
    assert 'If-Range: "one"' in cdn.requests[1].splitlines()


async def test_a_fresh_url_of_the_same_file_goes_on(folder, film, cdn):
    """Signed anew, on another host, and behind a redirect; the path says which file it is, the ETag which bytes."""
    assert await fails(folder, cdn.script("/clip.mp4", cut(film, 2 * MIB))) == "cut"
    cdn.add("/elsewhere", rest(film, 2 * MIB))
    cdn.add("/clip.mp4", redirect("/elsewhere"))
    url = cdn.url("/clip.mp4", host="localhost").replace("SECRET", "FRESH")
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None, f"bytes={2 * MIB}-", f"bytes={2 * MIB}-"]


async def test_a_url_that_died_half_way_costs_nothing_of_what_is_here(folder, film, cdn):
    """A refusal is asked again without a range, in case that was meant; the next URL goes on all the same."""
    assert await fails(folder, cdn.script("/clip.mp4", cut(film, 2 * MIB))) == "cut"
    assert await fails(folder, cdn.script("/clip.mp4", answer(b"expired", status="403 Forbidden"))) == "gone"
    assert_home(folder, film, await save(folder, cdn.script("/clip.mp4", rest(film, 2 * MIB))))
    assert ranges(cdn) == [None, f"bytes={2 * MIB}-", None, f"bytes={2 * MIB}-"]


async def test_a_file_without_an_etag_goes_on_by_its_date_where_that_is_a_proof(folder, film, cdn):
    """A date proves nothing in the minute that it names: the file may have changed twice."""
    then, later = "Sun, 22 Nov 2026 12:00:00 GMT", "Sun, 22 Nov 2026 12:01:00 GMT"
    fresh = f"Last-Modified: {then}\r\nDate: {then}\r\n"
    assert await fails(folder, cdn.script("/clip.mp4", answer(film[:MIB], length=len(film), headers=fresh))) == "cut"
    assert tree(folder.root) == {}
    old = f"Last-Modified: {then}\r\nDate: {later}\r\n"
    first = answer(film[:MIB], length=len(film), headers=old)
    url = cdn.script("/clip.mp4", first, rest(film, MIB, etag="", headers=old))
    assert await fails(folder, url) == "cut"
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn)[-1] == f"bytes={MIB}-"
    assert f"If-Range: {then}" in cdn.requests[-1].splitlines()


@pytest.mark.parametrize("etag", ['W/"one"', "one", '""', '"' + "x" * 300 + '"', '"a b"'])
async def test_without_a_proof_nothing_is_left_to_go_on_with(folder, film, cdn, etag):
    url = cdn.script("/clip.mp4", cut(film, 2 * MIB, etag=etag), whole(film, etag=etag))
    assert await fails(folder, url) == "cut"
    assert tree(folder.root) == {}
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None, None]


# ---- servers that lie -------------------------------------------------------------------------------------------


def _said(film, start, *, end=None, total=None):
    end, total = len(film) - 1 if end is None else end, len(film) if total is None else total
    return f"Content-Range: bytes {start}-{end}/{total}\r\n"


AT = 2 * MIB
LIES = {
    "starts earlier": lambda film: rest(film, AT - 1),
    "starts later": lambda film: rest(film, AT + 1),
    "from the start": lambda film: rest(film, 0),
    "ends earlier": lambda film: rest(film[:-1], AT, said=_said(film, AT, end=len(film) - 2)),
    "ends later": lambda film: rest(film, AT, said=_said(film, AT, end=len(film))),
    "another length": lambda film: rest(film, AT, said=_said(film, AT, total=len(film) + 1)),
    "of unknown length": lambda film: rest(film, AT, said=_said(film, AT, total="*")),
    "no range": lambda film: rest(film, AT, said=""),
    "no number": lambda film: rest(film, AT, said="Content-Range: bytes a-b/c\r\n"),
    "numbers without end": lambda film: rest(film, AT, said=_said(film, AT, total="9" * 5000)),
    "another unit": lambda film: rest(film, AT, said=_said(film, AT).replace("bytes", "lines")),
    "several ranges": lambda film: rest(film, AT, said="Content-Type: multipart/byteranges; boundary=x\r\n"),
    "another etag": lambda film: rest(film, AT, etag='"two"'),
    "a weak etag": lambda film: rest(film, AT, etag='W/"one"'),
    "no etag": lambda film: rest(film, AT, etag=""),
    "compressed": lambda film: answer(
        gzip.compress(film[AT:], 1),
        status="206 Partial Content",
        headers=f'ETag: "one"\r\nContent-Encoding: gzip\r\n{_said(film, AT)}',
    ),
    "a body of another length": lambda film: rest(film, AT, length=len(film) - AT + 1),
    "not satisfiable": lambda film: answer(b"", status="416 Range Not Satisfiable"),
    "bad request": lambda film: answer(b"no", status="400 Bad Request"),
    "nothing new": lambda film: answer(b"", status="304 Not Modified"),
    "another file": lambda film: answer(b"", status="412 Precondition Failed"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_range_that_is_not_exactly_the_rest_is_not_taken(folder, film, cdn, lie):
    """The whole is asked for at once instead."""
    url = cdn.script("/clip.mp4", cut(film, AT), LIES[lie](film), whole(film))
    assert await fails(folder, url) == "cut"
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None, f"bytes={AT}-", None]


async def test_a_file_that_is_another_by_now_comes_whole(folder, film, other_film, cdn):
    """A server that keeps to the rules answers If-Range with all of the new one; so does one without ranges."""
    for new in (other_film, film):
        url = cdn.script("/clip.mp4", cut(film, AT), whole(new, etag='"two"'))
        assert await fails(folder, url) == "cut"
        assert_home(folder, new, await save(folder, url))
        for path in folder.path.iterdir():
            path.unlink()
    assert ranges(cdn) == [None, f"bytes={AT}-"] * 2


async def test_a_new_file_that_is_cut_too_is_gone_on_with_and_not_the_old_one(folder, film, other_film, cdn):
    new = cut(other_film, MIB, etag='"two"')
    url = cdn.script("/clip.mp4", cut(film, AT), new, rest(other_film, MIB, etag='"two"'))
    for _ in range(2):
        assert await fails(folder, url) == "cut"
    assert_home(folder, other_film, await save(folder, url))
    assert ranges(cdn) == [None, f"bytes={AT}-", f"bytes={MIB}-"]


async def test_a_server_that_refuses_every_range_is_not_asked_for_ever(folder, film, cdn):
    url = cdn.script("/clip.mp4", cut(film, AT), answer(b"", status="416 Range Not Satisfiable"))
    assert await fails(folder, url) == "cut"
    assert await fails(folder, url) == "gone"
    assert len(cdn.requests) == 3


async def test_a_beginning_that_nothing_can_be_added_to_is_given_up(folder, film, cdn):
    """Else a server that breaks off at that very byte would be asked for the rest in every run."""
    nothing = rest(film[:AT], AT, said=_said(film, AT), length=len(film) - AT)
    url = cdn.script("/clip.mp4", cut(film, AT), nothing, whole(film))
    assert await fails(folder, url) == "cut"
    assert await fails(folder, url) == "cut"
    assert tree(folder.root) == {}
    assert_home(folder, film, await save(folder, url))


async def test_more_than_the_rest_is_not_taken(folder, film, cdn):
    """Chunked, so that nothing but our own count bounds it: not one byte of it is kept."""
    body = film[AT:] + b"<script>"
    head = f'HTTP/1.1 206 Partial Content\r\nETag: "one"\r\n{_said(film, AT)}Transfer-Encoding: chunked\r\n\r\n'
    longer = head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    url = cdn.script("/clip.mp4", cut(film, AT), longer, whole(film))
    assert await fails(folder, url) == "cut"
    assert await fails(folder, url) == "cut"
    assert tree(folder.root) == {}
    assert_home(folder, film, await save(folder, url))


async def test_a_rest_that_makes_no_clip_leaves_nothing_to_go_on_with(folder, clip, cdn):
    """The server swears that it is the same file; the whole is looked into all the same."""
    page = clip[: len(clip) // 2] + b"<html>" * 1000
    url = cdn.script("/clip.mp4", cut(page, len(clip) // 2), rest(page, len(clip) // 2), whole(clip))
    assert await fails(folder, url) == "cut"
    with pytest.raises(BrokenClipError):
        await save(folder, url)
    assert tree(folder.root) == {}
    assert_home(folder, clip, await save(folder, url))


# ---- what lies on the disk --------------------------------------------------------------------------------------


async def leave(folder, film, cdn, *, at=AT + 100):
    """A download that broke off."""
    url = cdn.script("/clip.mp4", cut(film, at))
    assert await fails(folder, url) == "cut"
    cdn.requests.clear()
    return url


@pytest.mark.parametrize(
    ("change", "start"),
    [
        (lambda part: part[:-1], AT),
        (lambda part: part[:MIB] + bytes(len(part) - MIB), MIB),
        (lambda part: part[:1000] + b"!" + part[1001:], None),
        (lambda part: bytes(len(part)), None),
        (lambda part: b"", None),
        (lambda part: part + b"more", AT + 100),
    ],
    ids=["a byte short", "zeros from a power cut", "a byte changed", "all zeros", "empty", "longer"],
)
async def test_only_bytes_that_are_proven_are_gone_on_with(folder, film, cdn, change, start):
    """From the last mark up to which every byte is what came; what stands behind it is cut off."""
    url = await leave(folder, film, cdn)
    part = folder.root / PART
    part.write_bytes(change(part.read_bytes()))
    cdn.script("/clip.mp4", whole(film) if start is None else rest(film, start))
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None if start is None else f"bytes={start}-"]


@pytest.mark.parametrize("kind", ["another task", "another path"])
async def test_what_belongs_to_something_else_is_not_gone_on_with(folder, film, other_film, cdn, kind):
    await leave(folder, film, cdn)
    task = make_task(external_task_id="autumn-other-a1") if kind == "another task" else make_task()
    url = cdn.script("/clip.mp4" if kind == "another task" else "/other.mp4", whole(other_film))
    assert_home(folder, other_film, await save(folder, url, task))
    assert ranges(cdn) == [None]


@pytest.mark.parametrize(
    "notes",
    [
        b"",
        b"\0" * 500,
        b"[" * 100_000,
        b"\n[]\n{}",
        b'\n{"schema": 2}\n{"bytes": 5, "sha256": "x"}',
        lambda about: {**about, "validator": '"x"\r\nX-Evil: 1'},
        lambda about: {**about, "validator": 5},
        lambda about: {**about, "size_bytes": "many"},
        lambda about: {**about, "size_bytes": 10},
        lambda about: {**about, "more": 1},
        lambda about: {**about, "owner": "somebody"},
    ],
)
async def test_notes_that_are_none_are_not_obeyed(folder, film, cdn, notes):
    url = await leave(folder, film, cdn)
    path = folder.root / NOTES
    if callable(notes):
        _, about, *marks = path.read_text().split("\n")
        notes = "\n".join(["", json.dumps(notes(json.loads(about))), *marks]).encode()
    path.write_bytes(notes)
    cdn.script("/clip.mp4", whole(film))
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None]
    assert "X-Evil" not in cdn.requests[0]


async def test_torn_notes_are_good_up_to_there_and_can_be_added_to(folder, film, cdn):
    url = await leave(folder, film, cdn)
    path = folder.root / NOTES
    path.write_bytes(path.read_bytes()[:-30] + b'\n{"bytes": 3000000000000, "sha256": "x"}')
    further = AT + MIB
    cdn.script("/clip.mp4", rest(film[:further], AT, said=_said(film, AT), length=len(film) - AT))
    assert await fails(folder, url) == "cut"
    cdn.script("/clip.mp4", rest(film, further))
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [f"bytes={AT}-", f"bytes={further}-"]


@pytest.mark.parametrize("name", [PART, NOTES])
async def test_a_second_name_of_somebodys_file_is_not_written_through(folder, film, cdn, tmp_path, name):
    """A hard link, to a file that holds exactly what is wanted: it loses our name, and keeps its bytes."""
    url = await leave(folder, film, cdn)
    victim = tmp_path / "victim"
    os.link(folder.root / name, victim)
    before = victim.read_bytes()
    cdn.script("/clip.mp4", whole(film))
    assert_home(folder, film, await save(folder, url))
    assert victim.read_bytes() == before
    assert ranges(cdn) == [None]


@pytest.mark.parametrize("name", [PART, NOTES])
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
async def test_something_planted_stops_the_run_and_is_left_alone(folder, film, cdn, tmp_path, name, kind):
    url = await leave(folder, film, cdn)
    victim, planted = tmp_path / "victim", folder.root / name
    planted.rename(victim)
    before = victim.read_bytes()
    match kind:
        case "link":
            planted.symlink_to(victim)
        case "folder":
            planted.mkdir()
        case "pipe":
            os.mkfifo(planted)
    with pytest.raises(DiskError, match="did not make"):
        await save(folder, url)
    assert planted in list(planted.parent.iterdir())
    assert victim.read_bytes() == before
    assert cdn.requests == []


async def test_a_file_that_another_process_writes_is_not_gone_on_with(folder, film, cdn):
    """The kernel's lock tells; and the other one does not publish what is not its own any more."""
    url = await leave(folder, film, cdn)
    final = folder.root / CLIP
    other = disk.open_draft(final, owner=OWNER)
    assert other.sink.tell() == 0
    cdn.script("/clip.mp4", whole(film))
    assert_home(folder, film, await save(folder, url))
    assert ranges(cdn) == [None]
    with pytest.raises(OSError, match="No such file"):
        other.publish(final.with_name("x.mp4"))
    late = disk.open_draft(final, owner=OWNER)
    with pytest.raises(OSError, match="another program"):
        other.publish(final.with_name("x.mp4"))
    other.discard()
    late.discard()


async def test_a_new_file_is_locked_from_the_start(folder):
    part = disk.open_draft(folder.path / "x.mp4", owner="x")
    again = os.open(part.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    part.discard()
    assert tree(folder.root) == {}


async def test_a_full_disk_leaves_nothing_to_go_on_with(folder, film, cdn):
    """The room is needed."""
    url = await leave(folder, film, cdn)
    cdn.script("/clip.mp4", rest(film, AT + 100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, before[1]))
    try:
        with pytest.raises(DiskError, match="bytes free"):
            await save(folder, url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tree(folder.root) == {}


async def test_a_run_that_finds_the_clip_whole_removes_what_was_left(folder, film, cdn):
    url = await leave(folder, film, cdn)
    left = {name: data for name, data in tree(folder.root).items() if name in (PART, NOTES)}
    await save(folder, cdn.script("/clip.mp4", whole(film)))
    for name, data in left.items():
        (folder.root / name).write_bytes(data)
    assert await folder.adopt(make_task())
    assert sorted(tree(folder.root)) == NAMES
    assert url


async def test_killed_at_any_moment_of_going_on_the_next_run_ends_the_same(tmp_path, film, cdn):
    """Whatever was changed on the disk by then: the clip comes whole, and three files stay."""
    steps, survived = 0, False
    while not survived:
        folder = Folder(tmp_path / f"out-{steps}", "autumn", inline=True)
        url = await leave(folder, film, cdn)
        cdn.script("/clip.mp4", rest(film, AT + 100))
        with pytest.MonkeyPatch.context() as patch:
            asked = mortal(patch, steps)
            try:
                await save(folder, url)
            except DiedError:
                pass
            else:
                survived = True
        cdn.script("/clip.mp4", whole(film))
        assert_home(folder, film, await save(Folder(folder.root, "autumn", inline=True), url))
        steps += 1
    assert steps == len(asked) + 1 > 15
