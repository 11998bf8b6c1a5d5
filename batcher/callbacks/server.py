"""Serves the receiver from a thread of its own, whatever event loop the caller is on. Uvicorn lives here.

A connection is good for one request and ends after five seconds, whatever was sent until then.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from starlette.applications import Starlette

REQUEST_S = 5.0
MAX_CONNECTIONS = 50
MAX_HEAD = 16 * 1024


class _BriefProtocol(H11Protocol):
    """HTTP/1.1 for strangers: few connections, each short; what is no HTTP gets no answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        super().connection_made(transport)
        self._end = self.loop.call_later(REQUEST_S, transport.abort)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - its parent's signature
        self.transport.abort()


class _Server(uvicorn.Server):
    """Uvicorn that does not wait for its clients."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class Receiver:
    """A running receiver. A context manager; `close` may be called twice."""

    def __init__(self, app: Starlette, *, host: str = "127.0.0.1", port: int) -> None:
        """Listen at once; `port` 0 takes a free one. Raises OSError where the port is taken."""
        try:
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as exc:  # without the place, which the caller says in its own words
            raise OSError((exc.strerror or str(exc)).partition(" (while")[0]) from exc
        self.port: int = listener.getsockname()[1]
        self.base_url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        config = uvicorn.Config(
            app,
            http=_BriefProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,  # its lines would hold the token
            server_header=False,
            date_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="callbacks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop at once, connections and all."""
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
