"""A provider, its CDN and a stranger's server on loopback, in one hostile hand that keeps honest books.

Each request meets the next fault of its kind, and honesty once there are none left. The books hold every byte that
arrived and what was charged; a second create call under a used id is charged again, so the books show it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import threading
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING

from batcher.simulator.clips import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILOBYTE = 1024
MEGABYTE = 1024 * 1024
SIGNATURE = "canary-signature-9b1f6c2e7d40"
NASTY = (
    f"see https://cdn.example/a.mp4?Signature={SIGNATURE} "
    "\x1b]0;owned\x07\x1b[2J\u202e<script>alert(1)</script>\r\n=cmd|' /C calc'!A0\u2066"
)
"""A signature, a title for the terminal, a cleared screen, text turned round, a script, a line break, a formula."""

INTERNAL = (
    "http://169.254.169.254/latest/meta-data/?Signature=x",
    "http://[::ffff:169.254.169.254]/clip.mp4",
    "http://2852039166/clip.mp4",
    "https://localhost.evil.example/clip.mp4",
    "http://10.0.0.1/clip.mp4",
)


def head(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    announced = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {announced}\r\n{headers}\r\n".encode()


def whole(body: bytes | dict, *, status: str = "200 OK", headers: str = "") -> bytes:
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    return head(body, status=status, headers=headers) + body


@cache
def gzip_bomb(layers: int, unpacked: int = 256 * MEGABYTE) -> bytes:
    """So many zeros, packed so many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(unpacked // MEGABYTE)) + packer.flush()
    for _ in range(layers - 1):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        packed = packer.compress(packed) + packer.flush()
    return packed


PORTAL = b"<html><title>Welcome to the hotel</title><script>alert(1)</script></html>"

REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "fin": lambda _: b"",
    "half head": lambda _: b"HTTP/1.1 200 OK\r\nContent-Le",
    "garbage": lambda _: b"\x16\x03\x01 what?\r\n\r\n",
    "another protocol": lambda _: b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "big head": lambda _: b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 300 * KILOBYTE + b"\r\n\r\n",
    "many heads": lambda _: b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 20_000 + b"\r\n",
    "cut body": lambda body: head(body) + body[: len(body) // 2],
    "announced too long": lambda body: head(body, length=len(body) + 1000) + body,
    "two lengths": lambda body: head(body, headers="Content-Length: 3\r\n") + body,
    "cut chunks": lambda body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + body[:50],
    "portal": lambda _: whole(PORTAL, headers="Content-Type: text/html\r\n"),
    "nothing": lambda _: whole(b""),
    "null": lambda _: whole(b"null"),
    "depth": lambda _: whole(b'{"data":' * 100_000 + b"1" + b"}" * 100_000),
    "digits": lambda _: whole(b'{"code":0,"data":{"task_id":' + b"7" * 5000 + b"}}"),
    "not a number": lambda _: whole(b'{"code":0,"data":{"task_id":"1","task_status":NaN}}'),
    "many objects": lambda _: whole(b"[" + b'{"":0},' * 560_000 + b"0]"),
    "gzip bomb": lambda _: whole(gzip_bomb(1), headers="Content-Encoding: gzip\r\n"),
    "nested gzip": lambda _: whole(gzip_bomb(2), headers="Content-Encoding: gzip, gzip\r\n"),
    "a gigabyte announced": lambda _: head(b"", length=10**9) + b" " * 5 * MEGABYTE,
    "500": lambda _: whole({"code": 5000, "message": NASTY}, status="500 Oops"),
    "502": lambda _: whole(PORTAL, status="502 Bad Gateway", headers="Content-Type: text/html\r\n"),
    "504": lambda _: whole(b"", status="504 Gateway Timeout"),
    "524": lambda _: whole(b"error code: 524", status="524 A Timeout Occurred"),
    "503 until 2099": lambda _: whole({"message": NASTY}, status="503 Later", headers="Retry-After: -1e9\r\n"),
}
"""What is said in place of the honest body, before the connection is closed."""

REDIRECTS = tuple(f"{status} to {where}" for status in (301, 302, 303, 307, 308) for where in ("elsewhere", "inside"))
ENDLESS = ("stall", "drip head", "drip body", "endless 103", "endless body")
"""Only a client that has had enough ends these."""
LONG_BODIES = ("endless body",)
"""... or its cap on bodies does."""
BREAKS = ("reset", *REPLIES, *REDIRECTS)
"""Faults of any answer, all of which end by themselves."""

LOOKS = (
    "echo",
    "another's",
    "backwards",
    "strange word",
    "no video",
    "junk video",
    "vanished",
    "cookie",
    "with the next",
)
CLIPS = ("svg as video", "script as video", "empty video", "404")


@dataclass(frozen=True)
class Heard:
    """One request, as it arrived."""

    door: str
    connection: int
    raw: bytes


@dataclass
class Made:
    """One generation at the provider."""

    id: str
    external_id: str
    looks: int = 0
    downloads: int = 0


@dataclass
class Books:
    """The truth."""

    heard: list[Heard] = field(default_factory=list)
    connections: Counter[str] = field(default_factory=Counter)
    made: list[Made] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    """Kind of request and fault -> how often."""
    asked: Counter[str] = field(default_factory=Counter)
    """External id -> create calls."""

    @property
    def charges(self) -> Counter[str]:
        return Counter(each.external_id for each in self.made)

    def at(self, *doors: str) -> list[bytes]:
        return [heard.raw for heard in self.heard if heard.door in doors]

    def find(self, either_id: str) -> Made | None:
        return next((each for each in self.made if either_id in (each.id, each.external_id)), None)


class Hostile:
    """Three doors on loopback: `api`, `cdn`, and `elsewhere`, where nobody has any business."""

    def __init__(self) -> None:
        self.books = Books()
        self.faults: dict[str, Iterator[str]] = {}
        """By kind (`create`, `look`, `list`, `clip`): what comes next. A create call's fault begins with `taken`
        or `lost`: whether it was charged before the answer went wrong."""
        self.lies_once = False
        """The second create call of a task is answered honestly."""
        self.url_of: Callable[[Made], str] = self.signed
        self.closing = threading.Event()
        self._news = threading.Condition()
        self.doors = {name: _Door(self, name) for name in ("api", "cdn", "elsewhere")}
        for door in self.doors.values():
            threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        for door in self.doors.values():
            door.shutdown()
            door.server_close()

    def url(self, door: str) -> str:
        return f"http://127.0.0.1:{self.doors[door].server_address[1]}"

    def signed(self, made: Made) -> str:
        """A clip's address, with a name of the provider's choice in it."""
        return f"{self.url('cdn')}/{made.id}/..%2f..%2fevil.svg?Expires=4102444800&Signature={SIGNATURE}"

    def wait_until(self, what: Callable[[Books], object], within_s: float = 30) -> None:
        """Until the books show it."""
        with self._news:
            assert self._news.wait_for(lambda: what(self.books), within_s)

    def calm(self) -> None:
        self.faults = {}

    def answer(self, door: str, raw: bytes, sock: socket.socket) -> bool:
        """Answer one request; whether the connection goes on."""
        method, _, rest = raw.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if door == "elsewhere":
            kind = "stranger"
        elif door == "cdn":
            kind = "clip"
        elif method == "POST":
            kind = "create"
        else:
            kind = "list" if path.endswith("/text2video") else "look"
        with self._news:
            is_due = not (kind == "create" and self.lies_once and self._is_known(raw))
            fault = next(self.faults.get(kind, iter(())), "honest") if is_due else "honest"
            if fault != "honest":
                self.books.met[f"{kind}: {fault}"] += 1
            honest = getattr(self, f"_{kind}")(path, raw, fault)
            self._news.notify_all()
        if fault.endswith("echo"):
            honest = b"400 " + json.dumps({"code": 1303, "message": raw.decode("latin-1")}).encode()
        return self._say(fault.removeprefix("taken ").removeprefix("lost "), honest, sock)

    def _is_known(self, raw: bytes) -> bool:
        """Whether this create call came before; from now on it did."""
        external_id = json.loads(raw.partition(b"\r\n\r\n")[2])["external_task_id"]
        self.books.asked[external_id] += 1
        return self.books.asked[external_id] > 1

    # ---- what an honest server would say, and lies that only a provider can tell ---------------------------------

    def _create(self, _path: str, raw: bytes, fault: str) -> bytes:
        external_id = json.loads(raw.partition(b"\r\n\r\n")[2])["external_task_id"]
        made = Made(str(770_000_000_000 + len(self.books.made)), external_id)
        if not fault.startswith("lost "):
            self.books.made.append(made)
        return _envelope(self._description(made, "submitted"))

    def _look(self, path: str, _raw: bytes, fault: str) -> bytes:
        wanted = path.rpartition("/")[2]
        made = self.books.find(wanted)
        # Under its own id only: a provider that finds ids, and denies one that it charged, cannot be seen through.
        if made is None or (fault == "vanished" and wanted == made.id):
            return b"400 " + json.dumps({"code": 1201, "message": f"Task not found: {NASTY}"}).encode()
        made.looks += 1
        if fault == "another's":
            stranger = Made(made.id, "somebody-else-0123456789-a1")
            return _envelope(self._description(stranger, "succeed", url=f"{self.url('elsewhere')}/theirs.mp4?S=1"))
        status = {"backwards": "submitted", "strange word": f"queueing{NASTY}", "failed": "failed"}.get(fault)
        status = status or ("succeed" if made.looks > 1 or fault in ("no video", "junk video") else "processing")
        url = {"no video": "", "junk video": "javascript:alert(1)"}.get(fault, self.url_of(made))
        return _envelope(self._description(made, status, url=url))

    def _list(self, _path: str, _raw: bytes, _fault: str) -> bytes:
        """Tells of ends, and never of files: for these a look is needed, with whatever becomes of it."""
        newest = []
        for made in reversed(self.books.made):
            made.looks += 1
            newest.append(self._description(made, "succeed" if made.looks > 1 else "processing"))
        return _envelope(newest[:500])

    def _clip(self, path: str, _raw: bytes, fault: str) -> bytes:
        made = self.books.find(path.split("/")[1])
        if made is not None:
            made.downloads += 1
        lies = {"svg as video": b"<svg onload='alert(1)'/>", "script as video": b"alert(1)//", "empty video": b""}
        return lies.get(fault, sample())

    def _stranger(self, _path: str, _raw: bytes, _fault: str) -> bytes:
        return sample()

    def _description(self, made: Made, status: str, url: str = "") -> dict:
        videos = [{"id": str(int(made.id) + n), "url": url, "duration": "5.041"} for n in (1, 2)] if url else []
        return {
            "task_id": made.id,
            "task_status": status,
            "task_status_msg": NASTY,
            "task_info": {"external_task_id": made.external_id},
            "created_at": 1795377600000,
            "updated_at": 1795377600000,
            "task_result": {"videos": videos} if status == "succeed" else {},
        }

    # ---- how it is said ------------------------------------------------------------------------------------------

    def _say(self, fault: str, honest: bytes, sock: socket.socket) -> bool:
        if fault == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault in REPLIES:
            sock.sendall(REPLIES[fault](honest))
            return False
        if fault in REDIRECTS:
            where = INTERNAL[0] if fault.endswith("inside") else f"{self.url('elsewhere')}/there?from={fault[:3]}"
            status = f"{fault[:3]} Moved"
            sock.sendall(whole(b"", status=status, headers=f"Location: {where}\r\nSet-Cookie: a=1\r\n"))
            return False
        if fault in ENDLESS:
            self._go_on_and_on(fault, honest, sock)
            return False
        if fault == "404":
            sock.sendall(whole(PORTAL, status="404 Not Found"))
            return False
        status, headers = "200 OK", "Content-Type: image/svg+xml\r\n"
        headers += 'Content-Disposition: attachment; filename="../../evil.sh"\r\n'
        if honest.startswith(b"400 "):
            status, honest = "400 Bad Request", honest[4:]
        if fault == "cookie":
            headers += "Set-Cookie: session=stolen; Path=/; Max-Age=99999\r\n"
        surplus = whole(b'{"code":0,"data":[]}') if fault == "with the next" else b""
        sock.sendall(whole(honest, status=status, headers=headers) + surplus)
        return True

    def _go_on_and_on(self, fault: str, honest: bytes, sock: socket.socket) -> None:
        opening, piece = {
            "stall": (b"", b""),
            "drip head": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            "drip body": (head(honest, length=10**6), b" "),
            "endless 103": (b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"),
            "endless body": (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"10000\r\n" + bytes(64 * KILOBYTE) + b"\r\n",
            ),
        }[fault]
        sock.sendall(opening)
        # Slow enough to stay below any limit of size, fast enough that no read ever times out.
        pace = 0.0 if fault == "endless body" else 0.05
        while not self.closing.wait(pace):
            sock.sendall(piece)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if not sock.recv(1):
                    return
            sock.setblocking(True)


def _envelope(data: object) -> bytes:
    return json.dumps({"code": 0, "message": NASTY, "request_id": NASTY, "data": data}).encode()


def endlessly(fault: str) -> Iterator[str]:
    return repeat(fault)


class _Door(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: Hostile, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.owner, self.name = owner, name

    def handle_error(self, _request: object, _address: object) -> None:
        """A client that left is no news; a defect of this server is."""
        import sys  # noqa: PLC0415

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(_request, _address)


class _Conversation(socketserver.BaseRequestHandler):
    server: _Door

    def handle(self) -> None:
        books, door = self.server.owner.books, self.server.name
        books.connections[door] += 1
        number = books.connections[door]
        unread = b""
        while True:
            while b"\r\n\r\n" not in unread:
                if not (more := self.request.recv(65536)):
                    return
                unread += more
            top, _, unread = unread.partition(b"\r\n\r\n")
            length = 0
            for line in top.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            while len(unread) < length:
                unread += self.request.recv(65536)
            body, unread = unread[:length], unread[length:]
            raw = top + b"\r\n\r\n" + body
            books.heard.append(Heard(door, number, raw))
            if not self.server.owner.answer(door, raw, self.request):
                return
