"""What `http.client` reads a download from: a socket that is waited for in short steps, and how long to wait."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, BinaryIO, cast

from anyio import from_thread

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer

    from batcher.fetch.origin import FetchPolicy

STEP_S = 0.25
"""Longest wait in one system call: how late a cancellation may be noticed."""


class Patience:
    """How long one download still waits. Asked in its thread at every step."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._idle_s = policy.idle_s
        self._deadline_s = policy.deadline_s
        self._ends: float | None = None
        self._heard = 0.0
        self._checked = 0.0

    def start(self) -> None:
        """The download has its thread now: waiting for one does not count. A redirect starts no new deadline."""
        self.renew()
        if self._ends is None:
            self._ends = self._heard + self._deadline_s

    def renew(self) -> None:
        """Something happened: the silence begins anew."""
        self._heard = time.monotonic()

    def look(self) -> None:
        """As `check`, where the last one is a while ago: a body comes in records of 16 KB, thousands a second."""
        if time.monotonic() >= self._checked + STEP_S:
            self.check()

    def check(self) -> None:
        """Raise what ends the waiting: a cancellation, or TimeoutError."""
        from_thread.check_cancelled()
        self._checked = now = time.monotonic()
        if self._ends is not None and now > self._ends:
            raise TimeoutError("the download took too long")
        if now > self._heard + self._idle_s:
            raise TimeoutError(f"the server was silent for {self._idle_s:g} s")


class Wire:
    """A connected socket as `http.client` wants one. The download closes the socket, not `http.client`."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)  # the request, less than a socket's buffer

    def makefile(self, _mode: str) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(Reader(self._sock, self._patience)))

    def close(self) -> None:
        pass


class Reader(io.RawIOBase):
    """The socket's bytes, waited for in short steps; `socket.makefile` gives up at the first time-out."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while True:
            self._patience.look()
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._patience.renew()
            return count
