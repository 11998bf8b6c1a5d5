"""The one place that speaks HTTP to the API: one origin, one key, a deadline over each request as a whole.

A request ends in exactly one of three ways: a complete `Reply`, `NotSentError` (provably no byte of it left) or
`NoReplyError` (anything else). Nothing is retried and no redirect is followed here.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio

from batcher.credentials import clean_key, normalise_base_url
from batcher.errors import ConfigurationError
from batcher.policy.retry import LONGEST_WAIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx
else:
    try:
        import httpx2 as httpx  # the maintained continuation; same names
    except ImportError:
        import httpx

# At INFO they write whole URLs, signatures included; at DEBUG cookies and headers.
for _name in ("httpx", "httpx2", "httpcore", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_REQUESTS = 10
"""At once. With 100 to 300 ms for a request to a far gateway that is 30 to 100 a second."""
CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 60.0

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
_NO_REPLY = (httpx.HTTPError, OSError, ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer, whatever its status. Its text may hold signed URLs, so it stays out of `repr`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)


class NotSentError(Exception):
    """Provably no byte of the request left. `detail` is safe to print."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NoReplyError(Exception):
    """The request may have arrived; no complete answer came back. `detail` is safe to print."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ApiClient:
    """Sends the key to one origin, and to nobody else.

    Creates are rare and must not suffer from other requests' deadlines: each POST has a connection of its own.
    Looks take turns on kept connections. They are kept here and not in httpx's pool, which asks the system about each
    of its connections at each request (8 % of the CPU of a look, with ten), and in 0.28 loses the slot of a
    request that is cancelled while it waits (httpcore issue 1093). A connection on which a request did not end well
    serves no further one.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_s: float = 30,
        post_timeout_s: float = 60,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        """Prepare, without touching the network.

        Raises:
            ConfigurationError: the URL, the key or the certificates named by the environment are not usable.
            MissingKeyError: the key is empty.
        """
        self.base_url = normalise_base_url(base_url)
        self._key = clean_key(key)
        self._fixed = transport
        self._timeout_s = timeout_s
        self._post_timeout_s = post_timeout_s
        self._limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S)
        self._limiter = anyio.CapacityLimiter(max_requests)
        self._idle: list[httpx.AsyncBaseTransport] = []
        if self.base_url.startswith("https:") and _certificate_paths() != (None, None):
            _ = self._tls  # certificates of the user's own may be broken: found out before anything is bought

    async def get(
        self, path: str, params: Mapping[str, str | int] | None = None, *, is_evidence: bool = False
    ) -> Reply:
        """Ask; free of charge and of effects.

        `is_evidence`: over a connection of its own, where no answer to somebody else's question can be left over.
        """
        request = self._request("GET", path, params=params)
        if is_evidence:
            return await self._exchange_alone(request, self._timeout_s)
        async with self._limiter, self._lent() as transport:
            return await self._exchange(transport, request, self._timeout_s)

    async def post(self, path: str, json: Any) -> Reply:
        """Send once, over a connection of its own."""
        return await self._exchange_alone(self._request("POST", path, json=json), self._post_timeout_s)

    async def aclose(self) -> None:
        """Close idle connections; a request still running closes its own when it ends."""
        idle, self._idle = self._idle, []
        for transport in idle:
            await self._close(transport)

    def _request(self, method: str, path: str, *, params: Any = None, json: Any = None) -> httpx.Request:
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError(f"not a path of this API: {path.partition('?')[0]!r}")
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "batcher",
        }
        request = httpx.Request(method, self.base_url + path, params=params, json=json, headers=headers)
        request.stream = _Content(request.content)
        return request

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # A client for plain HTTP gets a context that trusts nobody, as loading the bundle takes 20 ms.
        return tls_context() if self.base_url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def _open(self) -> httpx.AsyncBaseTransport:
        # A bare transport, because a client brings what is not wanted: cookies, redirects, proxies and .netrc.
        return self._fixed or httpx.AsyncHTTPTransport(verify=self._tls, limits=self._limits, trust_env=False)

    async def _close(self, transport: httpx.AsyncBaseTransport) -> None:
        if transport is not self._fixed:
            # Shielded, or a cancelled request would leave its socket open; and no trouble here undoes a reply.
            with anyio.move_on_after(1, shield=True), suppress(*_NO_REPLY):
                await transport.aclose()

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        """A connection that is idle, or a new one; it goes back only where the request ended well."""
        idle = self._idle
        transport = idle.pop() if idle else self._open()
        is_fit = False
        try:
            yield transport
            is_fit = idle is self._idle  # else all were closed meanwhile
        finally:
            if is_fit:
                idle.append(transport)
            else:
                await self._close(transport)

    async def _exchange_alone(self, request: httpx.Request, deadline_s: float) -> Reply:
        async with self._limiter:
            transport = self._open()
            try:
                return await self._exchange(transport, request, deadline_s)
            finally:
                await self._close(transport)

    async def _exchange(
        self, transport: httpx.AsyncBaseTransport, request: httpx.Request, deadline_s: float
    ) -> Reply:
        # A third each for TCP and TLS: a connection that hangs ends as "not sent", before the deadline blurs it.
        connect_s = min(CONNECT_TIMEOUT_S, deadline_s / 3)
        request.extensions = {"timeout": {"connect": connect_s, "pool": connect_s}}
        body = bytearray()
        try:
            with anyio.move_on_after(deadline_s) as scope:
                response = await transport.handle_async_request(request)
                try:
                    _refuse_encoding(response)
                    async for chunk in response.stream:  # type: ignore[union-attr] # async, as its transport is
                        body += chunk
                        if len(body) > MAX_BODY_BYTES:
                            scope.cancel()
                finally:
                    await response.aclose()
        # `from None`: the library's own texts may quote what the server sent, and a server may echo the key.
        except _NOT_SENT as error:
            raise NotSentError(_why_not_sent(error, connect_s)) from None
        except _NO_REPLY as error:
            raise NoReplyError(f"no complete answer ({type(error).__name__})") from None
        if len(body) > MAX_BODY_BYTES:
            raise NoReplyError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
        if scope.cancelled_caught:
            raise NoReplyError(f"no complete answer within {deadline_s:g} s")
        return Reply(
            status=response.status_code,
            headers=dict(response.headers.items()),
            body=self._without_key(bytes(body)),
        )

    def _without_key(self, body: bytes) -> bytes:
        """Remove an echo of the key. Short stand-ins, as in tests, could be part of honest text."""
        return body.replace(self._key.encode(), b"[key]") if len(self._key) >= 16 else body


class _Content(httpx.AsyncByteStream):
    """A request's bytes. Trio complains of httpx's own, a generator, when a broken connection leaves it half-way."""

    def __init__(self, content: bytes) -> None:
        self._parts = iter((content,))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        raise StopAsyncIteration


def _refuse_encoding(response: httpx.Response) -> None:
    """Take raw bytes only: decoding can turn a cut body into a plausible one, and a small one into a gigabyte."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise NoReplyError("the answer is in an encoding that was not asked for")


def _why_not_sent(error: BaseException, connect_s: float) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {connect_s:g} s"
    if not isinstance(error, httpx.ConnectError):
        return f"not sent ({type(error).__name__})"
    # The first cause is the system's or the TLS library's; its words are local, nothing in them is the server's.
    while isinstance(cause := error.__cause__ or error.__context__, Exception):
        error = cause
    words = str(error) or type(error).__name__
    if "has expired" in words or "not yet valid" in words:
        words += " (is this machine's clock right?)"
    return f"no connection: {words}"


def _certificate_paths() -> tuple[str | None, str | None]:
    return os.environ.get("SSL_CERT_FILE") or None, os.environ.get("SSL_CERT_DIR") or None


def tls_context() -> ssl.SSLContext:
    file, folder = _certificate_paths()
    try:
        if file or folder:
            return ssl.create_default_context(cafile=file, capath=folder)
        return httpx.create_ssl_context(trust_env=False)
    except OSError as error:
        raise ConfigurationError(
            f"the certificates of SSL_CERT_FILE={file or ''} cannot be read: {error.strerror or error}",
            hint="point SSL_CERT_FILE at a PEM file, or unset it",
        ) from error


def retry_after_s(reply: Reply, now: float) -> float | None:
    """Read Retry-After, a number of seconds or an HTTP date, kept within half a second and five minutes.

    `now` is Unix seconds.
    """
    value = reply.headers.get("retry-after", "").strip()
    try:
        seconds = float(value) if re.fullmatch(r"[-+]?[0-9.]+", value) else _seconds_until(value, now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.5), LONGEST_WAIT_S)


def _seconds_until(date: str, now: float) -> float:
    return parsedate_to_datetime(date).timestamp() - now
