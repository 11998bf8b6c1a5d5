"""A CDN, a resolver under our control, and a look at who is connected to."""

from __future__ import annotations

import socket
import sys

import pytest
from assets.cdn import Cdn, running


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def cdn():
    with running(Cdn()) as server:
        yield server


@pytest.fixture
def connections(monkeypatch):
    """Every address that anything in this process connects to."""
    seen = []
    watching = True

    def hook(event, args):
        if watching and event == "socket.connect":
            seen.append(args[1])

    sys.addaudithook(hook)
    yield seen
    watching = False


@pytest.fixture
def names(monkeypatch):
    """A resolver under our control: host -> addresses. There is no real one that would answer so."""
    table = {}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        if host not in table:
            return real(host, port, *args, **kwargs)
        if not table[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table
