"""The real transport: one blocking download in one thread, stopped within two seconds when cancelled.

Threads because of the work, not of the waiting: `http.client` reading 1 MiB at a time brought 489 MB/s over TLS
where async httpx brought 93 (2 cores, 20 files of 20 MB, 2026-11).
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from contextlib import closing, contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urljoin

import anyio
from anyio import from_thread, to_thread

import batcher
from batcher.fetch.interface import Fetch, Fetched, FetchError, FetchFault, Intake
from batcher.fetch.origin import FetchPolicy, Target, check_address, check_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

_STEP_S = 0.25
"""Longest wait in one system call: how late a cancellation may be noticed."""
_CONNECT_S = 2.0
_CONNECT_ROUNDS = 3
_BUFFER_BYTES = 1 << 20


def threaded_fetch(
    policy: FetchPolicy,
    *,
    limiter: anyio.CapacityLimiter,
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
) -> Fetch:
    """Downloads over real sockets, at most as many at once as `limiter` has room for.

    Sends no header but Host, Accept-Encoding and User-Agent; takes nothing from the environment. A cancelled
    download ends before the cancellation is passed on: no thread is left behind writing to the file.
    `tls` is called when the first https URL comes.
    """
    tls = cache(tls)

    async def fetch(url: str, sink: BinaryIO) -> Fetched:
        patience = _Patience(policy)
        for _ in range(policy.max_hops + 1):
            target = check_url(url, policy)
            addresses = await _resolve(target)
            download = _Download(target, addresses, patience, policy, tls)
            result = await to_thread.run_sync(download.run, sink, limiter=limiter)
            if isinstance(result, Fetched):
                return result
            try:
                url = urljoin(url, result)
            except ValueError:
                url = result  # no URL at all; `check_url` says so
        raise FetchError(FetchFault.NETWORK, f"{target.host} redirects more than {policy.max_hops} times")

    return fetch


async def _resolve(target: Target) -> list[str]:
    """The target's addresses, every one of them checked: a name with one bad address is refused whole."""
    try:
        found = await anyio.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise FetchError(FetchFault.NETWORK, f"{target.host} cannot be resolved: {_reason(exc)}") from exc
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    for address in addresses:
        check_address(address, target)
    return addresses


class _Patience:
    """How long one download still waits. Asked in its thread at every step."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._idle_s = policy.idle_s
        self._deadline_s = policy.deadline_s
        self._ends: float | None = None
        self._heard = 0.0

    def start(self) -> None:
        """The download has its thread now: waiting for one does not count. A redirect starts no new deadline."""
        self.renew()
        if self._ends is None:
            self._ends = self._heard + self._deadline_s

    def renew(self) -> None:
        """Something happened: the silence begins anew."""
        self._heard = time.monotonic()

    def check(self) -> None:
        from_thread.check_cancelled()
        now = time.monotonic()
        if self._ends is not None and now > self._ends:
            raise TimeoutError("the download took too long")
        if now > self._heard + self._idle_s:
            raise TimeoutError(f"the server was silent for {self._idle_s:g} s")


class _Download:
    """One GET of one checked target, in a thread."""

    def __init__(
        self,
        target: Target,
        addresses: list[str],
        patience: _Patience,
        policy: FetchPolicy,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self._target = target
        self._addresses = addresses
        self._patience = patience
        self._policy = policy
        self._tls = tls

    def run(self, sink: BinaryIO) -> Fetched | str:
        """Fetch the body into `sink`, or return where the server redirects to."""
        self._patience.start()
        with closing(self._connect()) as sock:
            with self._network_errors():
                response = self._ask(sock)
            if response.status in (301, 302, 303, 307, 308):
                return response.headers.get("Location", "")
            self._check_status(response.status)
            return self._receive(response, sink)

    def _connect(self) -> socket.socket:
        """Connect to an address that was checked; resolving the name again here could lead elsewhere."""
        with self._network_errors():
            context = self._tls() if self._target.is_tls else None
            sock = self._connect_any()
            return self._shake_hands(sock, context) if context else sock

    def _connect_any(self) -> socket.socket:
        failure: OSError = TimeoutError("no answer")
        for _ in range(_CONNECT_ROUNDS):
            for address in self._addresses:
                self._patience.check()
                try:
                    sock = socket.create_connection((address, self._target.port), timeout=_CONNECT_S)
                except OSError as exc:
                    failure = exc
                else:
                    sock.settimeout(min(_STEP_S, self._policy.idle_s))
                    return sock
        raise failure

    def _shake_hands(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        wrapped = context.wrap_socket(sock, server_hostname=self._target.host, do_handshake_on_connect=False)
        try:
            while True:
                self._patience.check()
                with suppress(TimeoutError):  # a handshake goes on where it was
                    wrapped.do_handshake()
                    return wrapped
        except BaseException:
            wrapped.close()
            raise

    def _ask(self, sock: socket.socket) -> HTTPResponse:
        connection = HTTPConnection(self._target.host, self._target.port)
        connection.sock = _Wire(sock, self._patience)
        connection.putrequest("GET", self._target.path, skip_host=True)  # adds Accept-Encoding: identity
        connection.putheader("Host", self._target.authority)
        connection.putheader("User-Agent", f"batcher/{batcher.__version__}")
        connection.putheader("Connection", "close")
        connection.endheaders()
        return connection.getresponse()

    def _check_status(self, status: int) -> None:
        if status == 200:
            return
        message = f"{self._target.host} answers HTTP {status}"
        if status in (408, 425, 429) or not 400 <= status < 500:
            raise FetchError(FetchFault.NETWORK, message)
        raise FetchError(FetchFault.GONE, message)

    def _receive(self, response: HTTPResponse, sink: BinaryIO) -> Fetched:
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            # A decoder accepts a body that was cut in half, and lets a small one unfold without end.
            raise FetchError(FetchFault.CUT, f"{self._target.host} sends the clip compressed, unasked")
        announced = response.length
        intake = Intake(sink, max_bytes=self._policy.max_bytes)
        intake.expect(announced)
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while True:
            with self._network_errors():
                count = response.readinto(buffer)
            if not count:
                return intake.close(announced=announced, is_framed=bool(response.chunked))
            intake.take(buffer[:count])  # outside: an OSError here is the disk's

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        try:
            yield
        except IncompleteRead as exc:
            raise FetchError(FetchFault.CUT, f"{self._target.host} ended the clip early") from exc
        except (OSError, HTTPException) as exc:
            raise FetchError(FetchFault.NETWORK, f"{self._target.host}: {_reason(exc)}") from exc


class _Wire:
    """A connected socket as `http.client` wants one. The download closes the socket, not `http.client`."""

    def __init__(self, sock: socket.socket, patience: _Patience) -> None:
        self._sock = sock
        self._patience = patience

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)  # the request, less than a socket's buffer

    def makefile(self, _mode: str) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Reader(self._sock, self._patience)))

    def close(self) -> None:
        pass


class _Reader(io.RawIOBase):
    """The socket's bytes, waited for in short steps; `socket.makefile` gives up at the first time-out."""

    def __init__(self, sock: socket.socket, patience: _Patience) -> None:
        self._sock = sock
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while True:
            self._patience.check()
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._patience.renew()
            return count


def _reason(exc: Exception) -> str:
    """What went wrong, in words that cannot hold a URL."""
    return str(exc.strerror or exc) if isinstance(exc, OSError) else type(exc).__name__
