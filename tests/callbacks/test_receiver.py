"""The receiver over real HTTP: who does not know the token sees nothing, and who does can do no harm."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing, suppress
from http.client import HTTPConnection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.callbacks import app, server
from batcher.callbacks.app import MAX_BODY, create_app
from batcher.callbacks.signature import Verifier
from batcher.simulator.callbacks import sign

from .conftest import TOKEN

SECRET = "whsec_c2VjcmV0"
PATH = f"/callback/{TOKEN}"


def test_a_callback_hands_its_ids_on_and_nothing_else(door):
    """Whatever it says of a status or a file: the ids are all that goes on."""
    receiver = door()
    body = {
        "task_id": "1",
        "task_status": "succeed",
        "task_info": {"external_task_id": "birds-a1"},
        "task_result": {"videos": [{"url": "http://169.254.169.254/"}]},
    }
    assert receiver.post(json.dumps(body)) == 204
    assert receiver.post(json.dumps({"code": 0, "data": body})) == 204
    assert receiver.drained() == ["1", "birds-a1"] * 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("HEAD", PATH),
        ("PUT", PATH),
        ("OPTIONS", PATH),
        ("BREW", PATH),
        ("POST", f"{PATH}/"),
        ("POST", f"{PATH}x"),
        ("POST", PATH[:-1]),
        ("POST", PATH.upper()),
        ("POST", "/callback/"),
        ("POST", "/callback"),
        ("POST", "/callback/%C3%BC"),
        ("POST", f"/callback/..%2f{TOKEN}"),
        ("POST", "/healthz"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/.env"),
        ("GET", "/metrics"),
    ],
)
def test_everything_but_the_token_meets_the_same_404(door, method, path):
    """No list of methods, no redirect, no words, no banner."""
    status, headers, body = door().ask(method, path, headers={"Host": "evil.example"})
    assert (status, body) == (404, b"")
    assert {name.lower() for name in headers} == {"content-length", "connection"}


def test_health_is_told_to_anybody(door):
    status, headers, body = door().ask("GET", "/healthz")
    assert (status, body) == (200, b'{"ok":true}')
    assert "server" not in {name.lower() for name in headers}


def test_without_a_token_there_is_no_door():
    """A state that cannot be read for the moment: nothing is let in by an empty word."""
    with server.Receiver(create_app(token=lambda: None, take=pytest.fail), port=0) as receiver:
        connection = HTTPConnection("127.0.0.1", receiver.port, timeout=20)
        with closing(connection):
            connection.request("POST", "/callback/None", b"{}")
            assert connection.getresponse().status == 404


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
def test_a_body_may_have_64_kilobytes(door, size):
    receiver = door()
    body = b'{"task_id":"1"}'.ljust(size)
    wanted = 204 if size == MAX_BODY else 413
    assert receiver.post(body) == wanted
    chunks = b"".join(b"1000\r\n%s\r\n" % body[n : n + 0x1000].ljust(0x1000) for n in range(0, size, 0x1000))
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = receiver.raw(head + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % wanted) or (wanted == 413 and not answer)  # hung up on while it sends
    assert receiver.drained() == (["1"] * 2 if wanted == 204 else [])


def test_a_gigabyte_is_refused_by_its_length(door):
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**9}\r\n\r\n".encode()
    assert b" 413 " in door().raw(head, end=False)


def test_ten_thousand_headers_are_hung_up_on(door):
    receiver = door()
    headers = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 20) for n in range(10_000))
    assert receiver.raw(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode() + headers + b"\r\n") == b""
    assert receiver.post(b'{"task_id":"1"}') == 204


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x00\xa5", b"GET\r\n\r\n", b"\r\n" * 50_000, b"PRI * HTTP/2.0\r\n"]
)
def test_what_is_no_http_gets_no_answer(door, garbage):
    assert door().raw(garbage) == b""


def test_slow_senders_are_cut_off_and_others_are_served(door, monkeypatch):
    """A head and a body in drips, a connection that says nothing; meanwhile a callback comes through."""
    monkeypatch.setattr(server, "REQUEST_S", 0.5)
    receiver = door()
    half = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", receiver.port), timeout=20) for _ in range(3)]
    for connection, said in zip(slow, (b"", half[:20], half + b"{"), strict=True):
        connection.sendall(said)
    assert receiver.post(b'{"task_id":"1"}') == 204
    for connection in slow:
        with suppress(ConnectionError):
            assert connection.recv(100) == b""  # times out in 20 s, where nobody hangs up
        connection.close()
    assert receiver.drained() == ["1"]


def test_a_connection_is_good_for_one_request(door):
    twice = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode() * 2
    assert door().raw(twice).count(b"HTTP/1.1") == 1


def test_fifty_connections_at_once_are_the_limit(door):
    """The 51st is hung up on; when one ends, there is room again."""
    receiver = door()
    held = [socket.create_connection(("127.0.0.1", receiver.port), timeout=20) for _ in range(server.MAX_CONNECTIONS)]
    one_more = socket.create_connection(("127.0.0.1", receiver.port), timeout=20)
    with one_more, suppress(ConnectionError):
        assert one_more.recv(100) == b""
    for connection in held:
        connection.close()
    end = time.monotonic() + 20
    while True:  # the receiver learns of the ends in its own time
        try:
            assert receiver.post(b'{"task_id":"1"}') == 204
            break
        except ConnectionError:
            assert time.monotonic() < end


def test_a_flood_is_cut_to_what_a_token_may_post(door, monkeypatch):
    """In the receiver's own time: as much as the burst, then so many a second. Other paths are not counted."""
    monkeypatch.setattr(app, "BURST", 5)
    monkeypatch.setattr(app, "PER_S", 2.0)
    receiver = door()
    for seconds, let_in in ((0.0, 5), (1.0, 2), (1.5, 1), (100.0, 5)):
        receiver.seconds = seconds
        assert receiver.post(b"{}", path="/callback/x") == 404
        assert [receiver.post(b'{"task_id":"1"}') for _ in range(7)] == [204] * let_in + [429] * (7 - let_in)
    assert receiver.drained() == ["1"] * 13


def test_only_signed_callbacks_count_where_there_is_a_secret(door):
    """The sender is told the same whether it signed or not."""
    receiver = door(Verifier(SECRET))
    body = b'{"task_id":"1"}'
    headers = sign(SECRET, message_id="m1", timestamp=int(time.time()), body=body)
    old = sign(SECRET, message_id="m2", timestamp=int(time.time()) - 400, body=body)
    assert [receiver.post(body, headers=each) for each in ({}, old, headers, headers)] == [204] * 4
    assert receiver.post(body + b" ", headers=headers) == 204
    assert receiver.drained() == ["1"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps({"task_id": text}).encode()),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "content-encoding", "webhook-id", "x-forwarded-for", "expect", "upgrade"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip),
    ),
)
def test_no_request_is_an_error(fuzzed, body, headers):
    """Never anything but 204 and 404, whatever is posted."""
    assert fuzzed.post(body, headers=headers) == 204
    assert fuzzed.post(body, headers=headers, path="/callback/x") == 404


@pytest.fixture
def fuzzed(door):
    return door()
