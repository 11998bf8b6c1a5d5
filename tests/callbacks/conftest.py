"""A receiver on a free port, as a stranger meets it; and everything that it handed on."""

from __future__ import annotations

import http.client
import queue
import socket
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from batcher.callbacks.app import create_app
from batcher.callbacks.server import Receiver

TOKEN = "0123456789abcdef0123456789abcdef"


@dataclass
class Door:
    """The receiver, and what came through."""

    port: int = 0
    taken: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    seconds: float = 0.0
    """Of the receiver's own clock, which only the test moves."""

    def ask(self, method="POST", path=f"/callback/{TOKEN}", body=b"", headers=None):
        """Make one request. Status, headers, body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()

    def post(self, body, **more):
        return self.ask(body=body, **more)[0]

    def raw(self, data, *, more=(), end=True):
        """Send bytes as they are, and what is in `more` after a first answer; all that comes back until the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            try:
                connection.sendall(data)
                for piece in more:
                    connection.sendall(piece)
                if end:
                    connection.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:  # reset, or no longer connected
                return b""
            return answer

    def drained(self):
        """Everything handed on until now: the answer to a request comes after what it hands on."""
        found = []
        while not self.taken.empty():
            found += self.taken.get()
        return found


@pytest.fixture
def door():
    """Open a receiver; `verifier` as it takes it."""
    opened = []

    def make(verifier=None):
        door = Door()
        app = create_app(token=lambda: TOKEN, take=door.taken.put, verifier=verifier, monotonic=lambda: door.seconds)
        opened.append(Receiver(app, port=0))
        door.port = opened[-1].port
        return door

    yield make
    for receiver in opened:
        receiver.close()
        receiver.close()
