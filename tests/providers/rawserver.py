"""A TCP server that misbehaves on command: what no well-made HTTP server would ever send."""

import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener

KILOBYTE = 1024


def answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@dataclass
class RawServer:
    """Speaks `script` to every connection. Keeps the requests it read, and how many connections it saw."""

    script: str = "answer"
    reply: bytes = field(default_factory=lambda: answer(b"{}"))
    scheme: str = "http"
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    release: anyio.Event = field(default_factory=anyio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    async def __call__(self, stream: SocketStream) -> None:
        self.connections += 1
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            async with stream:
                if self.script == "close before reading":
                    return
                if self.script == "greet":
                    await stream.send(b"220 a mail server, ready\r\n")
                while await self._read(stream) and await self._talk(stream):
                    pass

    async def _read(self, stream: SocketStream) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive()
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += await stream.receive()
        self.requests.append(head + b"\r\n\r\n" + body)
        return True

    async def _talk(self, stream: SocketStream) -> bool:
        """Answer one request; whether the connection goes on."""
        match self.script:
            case "answer":
                await stream.send(self.reply)
                return True
            case "answer and close":
                await stream.send(self.reply)
            case "close after reading":
                pass
            case "reset after reading":
                raw = stream.extra(SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case "stall":
                await anyio.sleep_forever()
            case "wait for release":
                await self.release.wait()
                await stream.send(self.reply)
                return True
            case "drip headers":
                await stream.send(b"HTTP/1.1 200 OK\r\n")
                await self._drip(stream, b"X-Drip: %d\r\n")
            case "drip body":
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                await self._drip(stream, b"%d")
            case "endless 103":
                await self._drip(stream, b"HTTP/1.1 103 Early Hints\r\nX-Hint: %d\r\n\r\n")
            case "half a head":
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Le")
            case "garbage":
                await stream.send(b"\x16\x03\x01 what?\r\n\r\n")
            case "big head":
                await stream.send(b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 300 * KILOBYTE + b"\r\n\r\n")
            case "switch protocols":
                await stream.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            case "endless chunks":
                await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    await stream.send(b"10000\r\n" + b"x" * 64 * KILOBYTE + b"\r\n")
            case "cut chunks":
                await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\r\n")
            case "cut body":
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
            case unknown:
                raise AssertionError(unknown)
        return False

    async def _drip(self, stream: SocketStream, line: bytes) -> None:
        # Slow enough not to reach any size limit, fast enough that no read ever times out.
        for number in count():
            await stream.send(line % number)
            await anyio.sleep(0.01)


@contextlib.asynccontextmanager
async def serve(*, tls: ssl.SSLContext | None = None, **changes: Any) -> AsyncIterator[RawServer]:
    """Run a server on a port of its own while the block lasts."""
    server = RawServer(scheme="https" if tls else "http", **changes)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as tcp, anyio.create_task_group() as tasks:
        server.port = tcp.extra(SocketAttribute.local_port)
        listener = TLSListener(tcp, tls, standard_compatible=False) if tls else tcp
        tasks.start_soon(listener.serve, server)
        yield server
        tasks.cancel_scope.cancel()
