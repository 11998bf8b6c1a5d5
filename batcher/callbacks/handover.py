"""Hints from the receiver to the run: one datagram an id, over a UNIX socket beside the state (mode 0600).

The receiver may be another process (`batcher serve`) or a thread of the run: the way is the same. What is lost on it,
polling finds.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio

from batcher import folders
from batcher.callbacks.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

SUFFIX = ".hints"
MOST_WAITING = 10_000
"""Hints kept for a run that is slow to take them. More are dropped."""
PATIENCE_S = 1.0
"""A run that takes nothing for so long is stopped, or dead."""
LONGEST_ADDRESS = 100
"""Bytes; `sockaddr_un` holds 104 on macOS and 108 on Linux, its NUL included."""
AT_ONCE = 100


def socket_path(state: Path) -> Path:
    """Where the hints for the run on this state go."""
    path = folders.resolve(state)
    return path.with_name(path.name + SUFFIX)


class Inbox:
    """The run's end. Only the holder of the state's lock makes one: what lies there from before is a dead run's."""

    def __init__(self, state: Path) -> None:
        """Raises OSError where the disk takes no sockets."""
        self.path = socket_path(state)
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("no UNIX sockets on this system")
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with suppress(OSError):  # Linux makes the file with this mode; elsewhere it gets it below
                os.fchmod(self._socket.fileno(), 0o600)
            with _short(self.path) as address:
                self._socket.bind(address)
            self.path.chmod(0o600)
        except OSError:
            self._socket.close()
            raise

    async def pass_on(self, take: Callable[[str], object]) -> None:
        """Give each hint to `take`, for ever. Not all at once: others want the loop too."""
        while True:
            await anyio.wait_readable(self._socket)
            with suppress(OSError):  # no more for now
                for _ in range(AT_ONCE):
                    text = self._socket.recv(256).decode(errors="replace")
                    if is_id(text):
                        take(text)

    def close(self) -> None:
        """Take the socket away."""
        self._socket.close()
        with suppress(OSError):
            self.path.unlink()


class Outbox:
    """The receiver's end. `send_all` never waits and never raises: a thread does the sending."""

    def __init__(self, state: Path) -> None:
        self._path = socket_path(state)
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="hints", daemon=True)
        self._thread.start()

    def send_all(self, hints: Iterable[str]) -> None:
        """Hand hints over, if a run listens."""
        with suppress(queue.Full):
            for hint in hints:
                self._waiting.put_nowait(hint)

    def close(self) -> None:
        """Stop, whatever waits."""
        self._is_closed = True
        with suppress(queue.Full):  # then the thread is not waiting for more
            self._waiting.put_nowait(None)
        self._thread.join()

    def _work(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE_S)
            while (hint := self._waiting.get()) is not None and not self._is_closed:
                with suppress(OSError), _short(self._path) as address:
                    sender.sendto(hint.encode(), address)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """`path` as an address that fits: where it is too long, by way of its folder's descriptor (Linux)."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS or sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
