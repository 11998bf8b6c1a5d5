"""The real transport: one blocking download in one thread, stopped within two seconds when cancelled.

Threads because of the work, not of the waiting: `http.client` reading large pieces brought 489 MB/s over TLS where
async httpx brought 93 (2 cores, 20 files of 20 MB, 2026-11). `bench/downloads.py` has today's figures.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin

import anyio
from anyio import to_thread

import batcher
from batcher.fetch.interface import Fetch, Fetched, FetchError, FetchFault, Intake
from batcher.fetch.origin import FetchPolicy, Target, check_address, check_url
from batcher.fetch.reserve import reserve
from batcher.fetch.resume import Held, is_plain, is_rest, resource_of, version_of
from batcher.fetch.wire import STEP_S, Patience, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.fetch.resume import Notes, Version

_CONNECT_S = 2.0
_CONNECT_ROUNDS = 3
_BUFFER_BYTES = 1 << 18
"""Stays in a core's own cache until it is hashed and written: 3.9 s of CPU a GB at four at once, with 1 MiB 4.3."""
_REDIRECTS = (301, 302, 303, 307, 308)


def threaded_fetch(
    policy: FetchPolicy,
    *,
    limiter: anyio.CapacityLimiter,
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
) -> Fetch:
    """Downloads over real sockets, at most as many at once as `limiter` has room for.

    Sends no header but Host, Accept-Encoding and User-Agent, and Range and If-Range where notes prove that a
    download may go on; takes nothing from the environment. A cancelled download ends before the cancellation is
    passed on: no thread is left behind writing to the file. `tls` is called when the first https URL comes.
    """
    tls = cache(tls)

    async def fetch(url: str, sink: BinaryIO, notes: Notes | None = None) -> Fetched:
        patience = Patience(policy)
        resource = ""
        for _ in range(policy.max_hops + 1):
            target = check_url(url, policy)
            resource = resource or resource_of(target.path)
            addresses = await _resolve(target)
            download = _Download(target, addresses, patience, policy, tls)
            file = _File(sink, notes, resource)
            result = await to_thread.run_sync(download.run, file, limiter=limiter)
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


@dataclass(frozen=True, slots=True)
class _File:
    """Where a body goes."""

    sink: BinaryIO
    notes: Notes | None
    resource: str
    """Of the URL that the provider named; a redirect leads to the same file."""

    def begun(self) -> tuple[Version, Held] | None:
        """What it holds of the same file, as far as that is proven."""
        if self.notes is None or self.notes.version is None or self.notes.version.resource != self.resource:
            return None
        held = Held(self.sink, self.notes)
        return (self.notes.version, held) if held.size_bytes else None

    def begin(self, response: HTTPResponse) -> None:
        """A whole body comes: nothing that is here counts."""
        if self.notes is not None:
            self.notes.begin(version_of(response.headers, resource=self.resource, size_bytes=response.length))
            self.sink.seek(0)
            self.sink.truncate()


class _Download:
    """One GET of one checked target, in a thread."""

    def __init__(
        self,
        target: Target,
        addresses: list[str],
        patience: Patience,
        policy: FetchPolicy,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self._target = target
        self._addresses = addresses
        self._patience = patience
        self._policy = policy
        self._tls = tls

    def run(self, file: _File) -> Fetched | str:
        """Fetch the body into `file`, or return where the server redirects to."""
        self._patience.start()
        begun = file.begun()
        return (self._go_on(file, *begun) if begun else None) or self._fetch(file)

    def _fetch(self, file: _File) -> Fetched | str:
        with closing(self._connect()) as sock:
            response = self._ask(sock)
            if response.status in _REDIRECTS:
                return response.headers.get("Location", "")
            self._check_status(response.status)
            return self._receive(response, file)

    def _go_on(self, file: _File, version: Version, held: Held) -> Fetched | str | None:
        """Fetch what is missing; None where that cannot be had like this: the whole is asked for then."""
        with closing(self._connect()) as sock:
            response = self._ask(sock, ("Range", f"bytes={held.size_bytes}-"), ("If-Range", version.validator))
            if response.status in _REDIRECTS:
                return response.headers.get("Location", "")
            if response.status == 200:  # the file is another by now, or there are no ranges
                return self._receive(response, file)
            if response.status == 206 and is_rest(
                response.headers, version, start=held.size_bytes, announced=response.length
            ):
                return self._receive(response, file, version.size_bytes, held)
            if _passes(response.status):
                self._check_status(response.status)
            return None

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
                    sock.settimeout(min(STEP_S, self._policy.idle_s))
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

    def _ask(self, sock: socket.socket, *headers: tuple[str, str]) -> HTTPResponse:
        connection = HTTPConnection(self._target.host, self._target.port)
        connection.sock = Wire(sock, self._patience)
        with self._network_errors():
            connection.putrequest("GET", self._target.path, skip_host=True)  # adds Accept-Encoding: identity
            connection.putheader("Host", self._target.authority)
            connection.putheader("User-Agent", f"batcher/{batcher.__version__}")
            connection.putheader("Connection", "close")
            for header in headers:
                connection.putheader(*header)
            connection.endheaders()
            return connection.getresponse()

    def _check_status(self, status: int) -> None:
        if status == 200:
            return
        message = f"{self._target.host} answers HTTP {status}"
        if _passes(status) or not 400 <= status < 500:
            raise FetchError(FetchFault.NETWORK, message)
        raise FetchError(FetchFault.GONE, message)

    def _receive(
        self, response: HTTPResponse, file: _File, size_bytes: int | None = None, held: Held | None = None
    ) -> Fetched:
        """Take a body in: the whole of a file, or what is missing after `held` of one of `size_bytes`."""
        if not is_plain(response.headers):
            # A decoder accepts a body that was cut in half, and lets a small one unfold without end.
            raise FetchError(FetchFault.CUT, f"{self._target.host} sends the clip compressed, unasked")
        announced = size_bytes or response.length
        intake = Intake(file.sink, max_bytes=self._policy.max_bytes, notes=file.notes, held=held)
        intake.expect(announced)
        if held is None:
            file.begin(response)
        reserve(file.sink, announced)
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        try:
            while True:
                with self._network_errors():
                    count = response.readinto(buffer)
                if not count:
                    return intake.close(announced=announced, is_framed=bool(response.chunked))
                intake.take(buffer[:count])  # outside: an OSError here is the disk's
        except FetchError:
            intake.stop()
            raise

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        try:
            yield
        except IncompleteRead as exc:
            raise FetchError(FetchFault.CUT, f"{self._target.host} ended the clip early") from exc
        except (OSError, HTTPException) as exc:
            raise FetchError(FetchFault.NETWORK, f"{self._target.host}: {_reason(exc)}") from exc


def _passes(status: int) -> bool:
    """Whether the server may say something else in a while."""
    return status in (408, 425, 429) or status >= 500


def _reason(exc: Exception) -> str:
    """What went wrong, in words that cannot hold a URL."""
    return str(exc.strerror or exc) if isinstance(exc, OSError) else type(exc).__name__
