"""What counts as having arrived, and how a download is left."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from assets.cdn import answer

from batcher.fetch import (
    Fetched,
    FetchError,
    FetchFault,
    FetchPolicy,
    threaded_fetch,
    wire,
)
from fetch.asking import BODY, LOCAL, fault, fetch

# ---- what arrives -----------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_clip_arrives_with_its_hash_and_without_a_header_of_ours(cdn):
    fetched, body = await fetch(cdn.add("/clip.mp4", answer(BODY)))
    assert body == BODY
    sha256 = hashlib.sha256(BODY).hexdigest()
    assert fetched == Fetched(size_bytes=len(BODY), sha256=sha256, is_length_proven=True)
    lines = cdn.requests[0].splitlines()
    assert lines[0] == "GET /clip.mp4?Signature=SECRET HTTP/1.1"
    headers = {line.partition(":")[0] for line in lines[1:] if line}
    assert headers == {"Host", "Accept-Encoding", "User-Agent", "Connection"}
    assert "Accept-Encoding: identity" in lines


@pytest.mark.anyio
async def test_a_chunked_body_is_proven_by_its_frame(cdn):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:70_000], BODY[70_000:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    fetched, body = await fetch(cdn.add("/whole", head + chunks + b"0\r\n\r\n"))
    assert (body, fetched.is_length_proven) == (BODY, True)
    assert await fault(cdn.add("/cut", head + chunks)) is FetchFault.CUT
    assert await fault(cdn.add("/cut-within", head + chunks[:-9000])) is FetchFault.CUT


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["", "Content-Length: many\r\n", "Content-Length: -5\r\n"])
async def test_a_body_without_a_length_arrives_unproven(cdn, length):
    """It may be cut without a sign; whoever asked must look into the file."""
    fetched, body = await fetch(cdn.add("/clip.mp4", f"HTTP/1.1 200 OK\r\n{length}\r\n".encode() + BODY[:500]))
    assert (body, fetched.is_length_proven) == (BODY[:500], False)


@pytest.mark.anyio
@pytest.mark.parametrize("arrived", [0, 1, 500, len(BODY) - 1])
async def test_a_body_shorter_than_announced_is_cut(cdn, arrived):
    assert await fault(cdn.add("/clip.mp4", answer(BODY[:arrived], length=len(BODY)))) is FetchFault.CUT


@pytest.mark.anyio
async def test_nothing_beyond_the_announced_length_is_taken(cdn):
    _, body = await fetch(cdn.add("/clip.mp4", answer(BODY + b"<script>", length=len(BODY))))
    assert body == BODY


@pytest.mark.anyio
async def test_a_compressed_body_is_refused(cdn):
    packed = gzip.compress(BODY)
    url = cdn.add("/clip.mp4", answer(packed[: len(packed) // 2], headers="Content-Encoding: gzip\r\n"))
    assert await fault(url) is FetchFault.CUT


@pytest.mark.anyio
async def test_a_body_beyond_the_cap_is_refused_announced_or_not(cdn):
    policy = FetchPolicy(allow_loopback=True, max_bytes=len(BODY) // 3)
    assert await fault(cdn.add("/announced", answer(b"", length=len(BODY))), policy) is FetchFault.TOO_LARGE
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + BODY
    assert await fault(cdn.add("/endless", endless, stalls=True), policy) is FetchFault.TOO_LARGE


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("403 Forbidden", FetchFault.GONE),
        ("404 Not Found", FetchFault.GONE),
        ("410 Gone", FetchFault.GONE),
        ("400 Bad Request", FetchFault.GONE),
        ("401 Unauthorized", FetchFault.GONE),
        ("408 Timeout", FetchFault.NETWORK),
        ("429 Slow down", FetchFault.NETWORK),
        ("500 Oops", FetchFault.NETWORK),
        ("503 Later", FetchFault.NETWORK),
        ("204 Nothing", FetchFault.NETWORK),
        ("206 Half", FetchFault.NETWORK),
        ("304 Same", FetchFault.NETWORK),
    ],
)
async def test_a_status_tells_whether_a_fresh_url_could_help(cdn, status, expected):
    assert await fault(cdn.add("/clip.mp4", answer(b"no", status=status))) is expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    "says",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000],
)
async def test_what_is_no_http_is_a_fault_of_the_network(cdn, says):
    assert await fault(cdn.add("/clip.mp4", says)) is FetchFault.NETWORK


@pytest.mark.anyio
async def test_a_head_that_was_cut_proves_nothing(cdn):
    """`http.client` takes it for a whole one."""
    fetched, body = await fetch(cdn.add("/clip.mp4", b"HTTP/1.1 200 OK\r\nContent-Le"))
    assert (body, fetched.is_length_proven) == (b"", False)


@pytest.mark.anyio
async def test_a_silent_server_is_left_in_time(cdn):
    """Silence before the head, and in the middle of a body."""
    policy = FetchPolicy(allow_loopback=True, idle_s=0.05)
    assert await fault(cdn.add("/mute", b"", stalls=True), policy) is FetchFault.NETWORK
    half = answer(BODY[:1000], length=len(BODY))
    assert await fault(cdn.add("/half", half, stalls=True), policy) is FetchFault.NETWORK


def test_silence_is_counted_from_the_last_byte(monkeypatch):
    """A slow download is not a silent one. The total deadline ends it; waiting for a thread counts for neither."""
    clock = [0.0]
    monkeypatch.setattr(wire.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(wire.from_thread, "check_cancelled", lambda: None)
    near, far = socket.socketpair()
    with near, far:
        patience = wire.Patience(FetchPolicy(idle_s=30, deadline_s=100))
        reader = wire.Reader(near, patience)
        clock[0] = 5000.0
        patience.start()
        for clock[0] in (5025.0, 5050.0, 5075.0, 5100.0):
            far.sendall(b"x")
            assert reader.readinto(bytearray(9)) == 1
        clock[0] = 5101.0
        with pytest.raises(TimeoutError, match="too long"):
            reader.readinto(bytearray(9))
        hasty = wire.Patience(FetchPolicy(idle_s=30))
        hasty.start()
        clock[0] += 31
        with pytest.raises(TimeoutError, match="silent for 30 s"):
            wire.Reader(near, hasty).readinto(bytearray(9))


@pytest.mark.anyio
async def test_endless_interim_answers_meet_the_deadline(cdn):
    """Each one is a sign of life, so that only the total deadline ends them."""
    policy = FetchPolicy(allow_loopback=True, idle_s=5, deadline_s=0.1)
    url = cdn.add("/clip.mp4", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, repeats=True)
    started = time.monotonic()
    assert await fault(url, policy) is FetchFault.NETWORK
    assert time.monotonic() - started < 4


@pytest.mark.anyio
async def test_nobody_there_is_a_fault_of_the_network(names):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert await fault(f"http://127.0.0.1:{port}/clip.mp4") is FetchFault.NETWORK
    names["v16.klingai.com"] = []
    assert await fault("https://v16.klingai.com/clip.mp4") is FetchFault.NETWORK


@pytest.mark.anyio
async def test_a_file_that_cannot_be_written_is_no_fault_of_the_network(cdn):
    """The disk's own error goes to the caller, so that a full disk is not tried again and again."""
    get = threaded_fetch(LOCAL, limiter=anyio.CapacityLimiter(1))
    with Path("/dev/full").open("wb", buffering=0) as full:  # noqa: ASYNC230  # a device, always full at once
        with pytest.raises(OSError, match="No space left") as caught:
            await get(cdn.add("/clip.mp4", answer(BODY)), full)
        assert not isinstance(caught.value, FetchError)


# ---- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("says", [b"", answer(BODY[:1000], length=len(BODY))])
async def test_a_cancelled_download_ends_before_its_caller_goes_on(cdn, says):
    """No thread is left writing to the file, and a silent server holds nobody up."""
    url = cdn.add("/clip.mp4", says, stalls=True)
    sink = io.BytesIO()
    limiter = anyio.CapacityLimiter(1)
    get = threaded_fetch(LOCAL, limiter=limiter)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, url, sink)
            await to_thread.run_sync(cdn.stalled.wait)
            tasks.cancel_scope.cancel()
    assert limiter.borrowed_tokens == 0
    assert await to_thread.run_sync(cdn.left.wait, 5)
    sink.close()  # nobody writes any more


@pytest.mark.anyio
async def test_no_more_downloads_at_once_than_the_limiter_has_room_for(cdn):
    for path in ("/1", "/2", "/3"):
        cdn.add(path, b"", stalls=True)
    limiter = anyio.CapacityLimiter(1)
    get = threaded_fetch(LOCAL, limiter=limiter)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for path in ("/1", "/2", "/3"):
                tasks.start_soon(get, cdn.url(path), io.BytesIO())
            await to_thread.run_sync(cdn.stalled.wait)
            while limiter.statistics().tasks_waiting < 2:
                await anyio.lowlevel.checkpoint()
            assert len(cdn.requests) == 1
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_room_is_set_aside_without_changing_what_is_in_the_file(cdn, tmp_path):
    """Cut half-way, the file is as long as what came; announced too large, nothing is set aside for it."""
    get = threaded_fetch(LOCAL, limiter=anyio.CapacityLimiter(1))
    for announced, most in ((40_000_000, 50_000_000), (400_000_000, 1_000_000)):
        path = tmp_path / f"{announced}"
        with path.open("wb") as sink, pytest.raises(FetchError):
            await get(cdn.add("/clip.mp4", answer(BODY[:5000], length=announced)), sink)
        assert path.read_bytes() == BODY[:5000]
        assert path.stat().st_blocks * 512 <= most
