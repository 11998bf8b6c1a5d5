"""Serves a world on a port: for a run in this process or for a command. Uvicorn lives here."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from batcher.simulator.app import create_app
from batcher.simulator.world import World

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from batcher.simulator.replies import Hang
    from batcher.simulator.settings import Settings

_HALF = b"HTTP/1.1 200 OK\r\ncontent-type: applica"
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN


class _RudeProtocol(H11Protocol):
    """HTTP/1.1 that can hang up: each connection hands its own `hang_up` to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        super().connection_made(transport)
        self.app_state = {**self.app_state, "hang_up": self._hang_up}

    def _hang_up(self, hang: Hang) -> None:
        if hang == "reset":
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self.transport.abort()
            return
        if hang == "half":
            self.transport.write(_HALF)
        self.transport.close()


class Running:
    """A simulator that serves in a thread of this process, on an event loop of its own. A context manager."""

    def __init__(self, server: _Server, listener: socket.socket, world: World) -> None:
        host, port = listener.getsockname()[:2]
        scheme = "https" if server.config.ssl_certfile else "http"
        self.base_url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._server = server
        self._world = world
        self._thread = threading.Thread(target=server.run, args=([listener],), name="simulator", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop at once, connections and all, and let the world's file go. May be called twice."""
        self._server.should_exit = True
        self._thread.join()
        self._world.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals alone and does not wait for its clients."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def start(
    settings: Settings | None = None,
    path: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: tuple[Path, Path] | None = None,
) -> Running:
    """Serve the world kept at `path` (None: in memory) from a thread; `port` 0 takes a free one.

    `tls` is a certificate and its key. The caller may be on any event loop, or none. Raises OSError where the port
    is taken, BlockingIOError where another process has the world, ValueError where the file is no world.
    """
    world = World.open(path, settings)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
        # asyncio does this only for sockets that name their protocol; without it each reply waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        world.close()
        raise
    certfile, keyfile = tls or (None, None)
    config = uvicorn.Config(
        create_app(world),
        http=_RudeProtocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    # The socket listens already: a client may connect before the thread has come so far.
    return Running(_Server(config), listener, world)
