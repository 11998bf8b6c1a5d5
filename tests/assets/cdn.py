"""A CDN on a loopback port that says exactly the bytes it is told to, well-formed or not."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


def answer(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """A whole HTTP answer; `length` lies about the body's."""
    announced = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {announced}\r\n{headers}\r\n".encode() + body


def redirect(location: str, *, status: str = "302 Found") -> bytes:
    return answer(b"", status=status, headers=f"Location: {location}\r\n")


@dataclass(frozen=True)
class Route:
    says: bytes
    stalls: bool = False
    """Says no more, but does not hang up either."""
    repeats: bool = False
    """Says the same until the client hangs up."""
    later: tuple[bytes, ...] = ()
    """What it says to each further request; the last one stays."""


class Cdn(socketserver.ThreadingTCPServer):
    """Answers each path with its route's bytes and hangs up."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.routes: dict[str, Route] = {}
        self.requests: list[str] = []
        self.stalled = threading.Event()
        self.left = threading.Event()
        """A client hung up on a stalled answer."""
        self.tls = tls

    def add(self, path: str, says: bytes, *, stalls: bool = False, repeats: bool = False) -> str:
        self.routes[path] = Route(says, stalls, repeats)
        return self.url(path)

    def script(self, path: str, *says: bytes) -> str:
        """Answer the first request with the first of these, and so on."""
        self.routes[path] = Route(says[0], later=says[1:])
        return self.url(path)

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.server_address[1]}{path}?Signature=SECRET"


@contextlib.contextmanager
def running(server: Cdn) -> Iterator[Cdn]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Conversation(socketserver.StreamRequestHandler):
    server: Cdn

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            if self.server.tls:
                with self.server.tls.wrap_socket(self.request, server_side=True) as wrapped:
                    self._talk(wrapped)
            else:
                self._talk(self.request)

    def _talk(self, sock) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(65536) or b"\r\n\r\n"
        self.server.requests.append(head.decode())
        path = head.split(b" ")[1].partition(b"?")[0].decode()
        route = self.server.routes[path]
        if route.later:
            self.server.routes[path] = Route(route.later[0], later=route.later[1:])
        sock.sendall(route.says)
        while route.repeats:
            sock.sendall(route.says)
        if route.stalls:
            self.server.stalled.set()
            with contextlib.suppress(OSError):
                sock.recv(1)
            self.server.left.set()
