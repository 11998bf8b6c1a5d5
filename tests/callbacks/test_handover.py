"""Hints go from a receiver to the run through a socket that only its owner may use."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing

import anyio
import pytest

from batcher.callbacks import handover
from batcher.callbacks.handover import Inbox, Outbox, socket_path


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


async def first(inbox, count):
    """So many hints, as they come."""
    found, enough = [], anyio.Event()

    def take(hint):
        found.append(hint)
        if len(found) >= count:
            enough.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(inbox.pass_on, take)
            await enough.wait()
            group.cancel_scope.cancel()
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("depth", [0, 12], ids=["short path", "path longer than an address"])
async def test_hints_arrive_in_order_also_where_the_path_is_long(tmp_path, depth):
    """More at once than the kernel keeps for a reader that is slow."""
    folder = tmp_path.joinpath(*["a-long-name-of-a-folder"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.db"
    wanted = [f"birds-{n}-a1" for n in range(500)]
    with closing(Inbox(state)) as inbox, closing(Outbox(state)) as outbox:
        outbox.send_all(wanted)
        assert await first(inbox, 500) == wanted
    assert not socket_path(state).exists()


def test_nobody_else_may_write_to_it(tmp_path):
    umask = os.umask(0)
    try:
        with closing(Inbox(tmp_path / "state.db")) as inbox:
            assert stat.S_IMODE(inbox.path.stat().st_mode) == 0o600
    finally:
        os.umask(umask)


@pytest.mark.anyio
async def test_what_is_no_id_is_not_passed_on(tmp_path):
    with closing(Inbox(tmp_path / "state.db")) as inbox, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        for said in (b"", b"two words", b"\xff\xfe", b"x" * 60_000, b"real-a1"):
            stranger.sendto(said, str(inbox.path))
        assert await first(inbox, 1) == ["real-a1"]


@pytest.mark.anyio
async def test_what_a_dead_run_left_is_replaced(tmp_path):
    """A socket of a process that was killed, or whatever lies at that name."""
    state = tmp_path / "state.db"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(socket_path(state)))
    with closing(Inbox(state)) as inbox, closing(Outbox(state)) as outbox:
        outbox.send_all(["real-a1"])
        assert await first(inbox, 1) == ["real-a1"]


def test_without_a_run_hints_are_dropped_and_nothing_waits(tmp_path, monkeypatch):
    """Nobody there, or somebody who takes nothing."""
    monkeypatch.setattr(handover, "PATIENCE_S", 0.01)
    with closing(Outbox(tmp_path / "state.db")) as outbox:
        outbox.send_all(["real-a1"] * 100)
    with closing(Inbox(tmp_path / "state.db")), closing(Outbox(tmp_path / "state.db")) as outbox:
        outbox.send_all(f"id-{n}" for n in range(handover.MOST_WAITING * 2))


def test_a_disk_that_takes_no_sockets_is_an_error_that_can_be_told(tmp_path):
    with pytest.raises(OSError, match=r".*"):
        Inbox(tmp_path / "missing" / "state.db")
