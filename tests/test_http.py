"""Promises of the HTTP client, kept over real sockets that misbehave."""

import datetime as dt
import email.utils
import logging
import socket
import ssl
import traceback

import anyio
import anyio.lowlevel
import pytest
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from providers.rawserver import answer, serve

from batcher.errors import ConfigurationError
from batcher.http import (
    MAX_BODY_BYTES,
    ApiClient,
    NoReplyError,
    NotSentError,
    Reply,
    httpx,
    retry_after_s,
)

DEADLINE_S = 0.9
"""For answers that never end. A third of it is left for connecting, which a busy machine may need."""
KEY = "sk-canary-0123456789abcdef"
CUT_SHORT = (
    "close before reading",
    "close after reading",
    "reset after reading",
    "half a head",
    "garbage",
    "big head",
    "switch protocols",
    "cut chunks",
    "cut body",
)
ENDLESS = ("stall", "drip headers", "drip body", "endless 103")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def make_client(url, **changes):
    return ApiClient(**{"base_url": url, "key": KEY, "timeout_s": 10, "post_timeout_s": 10} | changes)


async def get_and_post(client):
    """Every way a request can be made, one after the other."""
    for call in (lambda: client.get("/looks", {"page": 1}), lambda: client.post("/creates", {"prompt": "a fox"})):
        yield call


def assert_keeps_secret(error):
    assert KEY not in "".join(traceback.format_exception(error))
    assert "page=1" not in "".join(traceback.format_exception(error))


@pytest.mark.anyio
class TestReply:
    async def test_one_call_is_one_request_with_the_key_and_nothing_that_was_not_asked_for(self):
        async with serve(reply=answer(b'{"a": 1}', headers="X-Some: Thing\r\n")) as server:
            client = make_client(f"{server.url}/v1/")
            reply = await client.post("/creates", {"prompt": "ein Füchslein"})
            await client.get("/looks", {"page": 1})
            await client.aclose()
        post, get = server.requests
        assert (reply.status, reply.body, reply.headers["x-some"]) == (200, b'{"a": 1}', "Thing")
        assert post.startswith(b"POST /creates HTTP/1.1\r\n")
        assert post.endswith('{"prompt":"ein Füchslein"}'.encode())
        assert get.startswith(b"GET /looks?page=1 HTTP/1.1\r\n")
        for request in (post.lower(), get.lower()):
            assert f"authorization: bearer {KEY}\r\n".encode() in request
            assert b"accept-encoding: identity\r\n" in request
            assert b"cookie" not in request

    async def test_any_status_is_a_reply(self):
        async with serve(reply=answer(b"<html>", status="502 Bad Gateway")) as server:
            client = make_client(server.url)
            async for call in get_and_post(client):
                assert (await call()).status == 502
            await client.aclose()

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
    async def test_a_redirect_is_a_reply_and_the_key_goes_nowhere_else(self, status):
        async with serve() as elsewhere:
            moved = answer(b"", status=status, headers=f"Location: {elsewhere.url}/\r\n")
            async with serve(reply=moved) as server:
                client = make_client(server.url)
                async for call in get_and_post(client):
                    assert (await call()).status == int(status[:3])
                await client.aclose()
            assert (len(server.requests), elsewhere.connections) == (2, 0)

    async def test_a_proxy_in_the_environment_is_not_used(self, monkeypatch):
        async with serve() as elsewhere, serve() as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, elsewhere.url)
            client = make_client(server.url)
            async for call in get_and_post(client):
                await call()
            await client.aclose()
        assert (len(server.requests), elsewhere.connections) == (2, 0)

    async def test_cookies_are_not_kept(self):
        async with serve(reply=answer(b"{}", headers="Set-Cookie: track=me\r\n")) as server:
            client = make_client(server.url)
            await client.get("/looks")
            await client.get("/looks")
            await client.aclose()
        assert b"track" not in server.requests[1]

    async def test_looks_share_a_connection_and_creates_never_do(self):
        async with serve() as server:
            client = make_client(server.url)
            for _ in range(3):
                await client.get("/looks")
            assert server.connections == 1
            for _ in range(3):
                await client.post("/creates", {})
            assert server.connections == 4
            await client.aclose()

    async def test_an_echo_of_the_key_is_blotted_out(self):
        async with serve(reply=answer(f"Incorrect API key: {KEY}".encode(), status="401 No")) as server:
            client = make_client(server.url)
            async for call in get_and_post(client):
                reply = await call()
                assert reply.body == b"Incorrect API key: [key]"
                assert KEY not in repr(reply)
            await client.aclose()

    @pytest.mark.parametrize("path", ["https://elsewhere.example/", "//elsewhere.example/", "relative"])
    async def test_only_paths_of_this_origin_can_be_asked_for(self, path):
        client = make_client("https://api.example")
        with pytest.raises(ValueError, match="not a path"):
            await client.get(path)
        with pytest.raises(ValueError, match="not a path"):
            await client.post(path, {})

    async def test_nothing_is_logged_by_the_library(self, caplog):
        caplog.set_level(logging.DEBUG)
        async with serve() as server:
            client = make_client(server.url)
            await client.get("/looks", {"page": 1})
            await client.aclose()
        assert [record.name for record in caplog.records if record.name.startswith("http")] == []


@pytest.mark.anyio
class TestNoReply:
    @pytest.mark.parametrize("script", CUT_SHORT)
    async def test_what_is_no_complete_answer_is_told_apart_and_never_sent_again(self, script):
        async with serve(script=script) as server:
            client = make_client(server.url)
            async for call in get_and_post(client):
                with pytest.raises(NoReplyError) as caught:
                    await call()
                assert_keeps_secret(caught.value)
            await client.aclose()
        assert server.connections == 2
        assert len(server.requests) == (0 if script == "close before reading" else 2)

    async def test_an_answer_that_never_ends_is_given_up_at_the_deadline(self):
        async def give_up(script, method):
            async with serve(script=script) as server:
                client = make_client(server.url, timeout_s=DEADLINE_S, post_timeout_s=DEADLINE_S)
                with pytest.raises(NoReplyError, match=r"within 0\.9 s"):
                    await (client.get("/looks") if method == "get" else client.post("/creates", {}))
                await client.aclose()
            assert len(server.requests) == 1

        async with anyio.create_task_group() as tasks:
            for script in ENDLESS:
                tasks.start_soon(give_up, script, "get")
                tasks.start_soon(give_up, script, "post")

    @pytest.mark.parametrize(
        "reply",
        [
            answer(b"\x1f\x8b\x08\x00", headers="Content-Encoding: gzip\r\n"),
            answer(b"x" * (MAX_BODY_BYTES + 1)),
            answer(b"", headers=f"Broken header with {KEY}\r\n"),
        ],
        ids=["gzip that was not asked for", "a body over the cap", "a header that echoes the key"],
    )
    async def test_an_unusable_answer_is_none(self, reply):
        async with serve(reply=reply) as server:
            client = make_client(server.url)
            async for call in get_and_post(client):
                with pytest.raises(NoReplyError) as caught:
                    await call()
                assert_keeps_secret(caught.value)
            await client.aclose()
        assert len(server.requests) == 2

    @pytest.mark.timeout(20)
    async def test_a_body_without_end_is_left_at_the_cap_not_at_the_deadline(self):
        async with serve(script="endless chunks") as server:
            client = make_client(server.url, timeout_s=1000, post_timeout_s=1000)
            async for call in get_and_post(client):
                with pytest.raises(NoReplyError, match="larger than 4194304 bytes"):
                    await call()
            await client.aclose()


@pytest.mark.anyio
class TestNotSent:
    async def test_a_refused_connection(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        client = make_client(f"http://127.0.0.1:{port}")
        async for call in get_and_post(client):
            with pytest.raises(NotSentError) as caught:
                await call()
            assert_keeps_secret(caught.value)

    async def test_a_name_that_leads_nowhere(self, monkeypatch):
        """The resolver's own words; there is no name that fails to resolve on every machine, so it is replaced."""

        def nowhere(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        client = make_client("https://api.example")
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        async for call in get_and_post(client):
            with pytest.raises(NotSentError) as caught:
                await call()
            assert "Name or service not known" in caught.value.detail
        await client.aclose()

    async def test_a_connection_that_is_never_accepted(self):
        fillers = [socket.socket() for _ in range(4)]
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            client = make_client(f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=0.3, post_timeout_s=0.3)
            async for call in get_and_post(client):
                with pytest.raises(NotSentError, match=r"no connection within 0\.1 s"):
                    await call()
            for filler in fillers:
                filler.close()

    async def test_a_server_that_does_not_speak_tls(self):
        async with serve(script="greet") as server:
            client = make_client(server.url.replace("http:", "https:"))
            async for call in get_and_post(client):
                with pytest.raises(NotSentError, match="SSL"):
                    await call()
        assert (server.connections, server.requests) == (2, [])

    async def test_a_certificate_of_unknown_origin_is_refused_unless_the_user_names_it(self, monkeypatch, tmp_path):
        certificate, context = make_certificate(tmp_path)
        async with serve(tls=context) as server:
            client = make_client(server.url)
            with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("/looks")
            await client.aclose()
            assert not server.requests
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            client = make_client(server.url)
            async for call in get_and_post(client):
                assert (await call()).status == 200
            await client.aclose()

    async def test_an_expired_certificate_reminds_of_the_clock(self, monkeypatch, tmp_path):
        certificate, context = make_certificate(tmp_path, days_left=-1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with serve(tls=context) as server:
            client = make_client(server.url)
            with pytest.raises(NotSentError, match=r"expired.*clock"):
                await client.get("/looks")
            await client.aclose()

    @pytest.mark.parametrize("name", ["PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"])
    async def test_what_fails_on_our_side_of_the_wire(self, name):
        def handler(request):
            raise getattr(httpx, name)(f"Illegal header value b'Bearer {KEY}'")

        client = make_client("https://api.example", transport=httpx.MockTransport(handler))
        async for call in get_and_post(client):
            with pytest.raises(NotSentError, match=name) as caught:
                await call()
            assert_keeps_secret(caught.value)


@pytest.mark.anyio
class TestClosing:
    @pytest.mark.parametrize("trouble", [OSError, anyio.BrokenResourceError, httpx.ReadError("gone")])
    async def test_a_connection_that_does_not_close_well_takes_no_reply_away(self, trouble, monkeypatch):
        class Stubborn(httpx.MockTransport):
            async def aclose(self):
                raise trouble

        client = make_client("https://api.example")
        monkeypatch.setattr(client, "_open", lambda: Stubborn(lambda request: httpx.Response(200)))
        async for call in get_and_post(client):
            assert (await call()).status == 200
        await client.aclose()


@pytest.mark.anyio
class TestCancellation:
    async def test_two_hundred_requests_cut_short_do_not_harm_the_next_ones(self):
        async with serve(script="stall") as server:
            client = make_client(server.url)

            async def cut(number):
                with anyio.move_on_after(0.005 * (number % 20)):
                    await client.get("/looks")

            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(cut, number)
            server.script = "answer"
            for _ in range(5):
                assert (await client.get("/looks")).status == 200
                assert (await client.post("/creates", {})).status == 200
            await client.aclose()

    async def test_requests_past_their_deadline_do_not_harm_the_next_ones(self):
        async with serve(script="stall") as server:
            client = make_client(server.url, timeout_s=DEADLINE_S)

            async def late():
                with pytest.raises(NoReplyError, match=r"within 0\.9 s"):
                    await client.get("/looks")

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(late)
            server.script = "answer"
            for _ in range(5):
                assert (await client.get("/looks")).status == 200
            await client.aclose()

    async def test_a_look_that_is_cut_leaves_its_neighbours_alone(self):
        """Each has a connection of its own; that of the one that was cut is closed, and no other."""
        async with serve(script="wait for release") as server:
            client = make_client(server.url)
            replies = []

            async def neighbour():
                replies.append(await client.get("/looks"))

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(neighbour)
                with anyio.move_on_after(0.05):
                    await client.get("/looks")
                server.release.set()
            assert [reply.status for reply in replies] == [200] * 5
            await client.aclose()

    async def test_a_connection_on_which_a_look_was_cut_serves_no_other_look(self):
        """Of two that are kept, one is left: two more looks at once need a new one."""
        async with serve(script="wait for release") as server:
            client = make_client(server.url)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get, "/looks")
                tasks.start_soon(client.get, "/looks")
                while len(server.requests) < 2:
                    await anyio.lowlevel.checkpoint()
                server.release.set()
            server.script = "stall"
            with anyio.move_on_after(0.05):
                await client.get("/looks")
            server.script = "answer"
            await client.get("/looks")
            assert server.connections == 2
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get, "/looks")
                tasks.start_soon(client.get, "/looks")
            assert server.connections == 3
            await client.aclose()

    async def test_never_more_than_ten_requests_at_once(self):
        running = []
        most = 0

        async def handler(request):
            nonlocal most
            running.append(request)
            most = max(most, len(running))
            await anyio.lowlevel.checkpoint()
            running.remove(request)
            return httpx.Response(200)

        client = make_client("https://api.example", transport=httpx.MockTransport(handler))
        async with anyio.create_task_group() as tasks:
            for _ in range(15):
                tasks.start_soon(client.get, "/looks")
                tasks.start_soon(client.post, "/creates", {})
        assert most == 10


class TestEnvironment:
    def test_broken_certificates_are_one_line_before_anything_is_sent(self, monkeypatch, tmp_path):
        for content in (None, "not a certificate"):
            path = tmp_path / "roots.pem"
            if content:
                path.write_text(content)
            monkeypatch.setenv("SSL_CERT_FILE", str(path))
            with pytest.raises(ConfigurationError, match="SSL_CERT_FILE") as caught:
                make_client("https://api.example")
            assert "\n" not in caught.value.message
            make_client("http://localhost:1")

    def test_a_transport_of_the_callers_serves_everything(self):
        async def main():
            client = make_client(
                "https://api.example", transport=httpx.MockTransport(lambda request: httpx.Response(204))
            )
            assert (await client.get("/looks")).status == 204
            assert (await client.post("/creates", {})).status == 204
            await client.aclose()

        anyio.run(main)


class TestDeadline:
    @pytest.mark.parametrize(("call", "seconds"), [("get", 30), ("post", 60)])
    def test_a_look_has_half_a_minute_and_a_create_a_whole_one(self, call, seconds):
        async def main():
            async def handler(request):
                await anyio.sleep_forever()

            client = ApiClient(base_url="https://api.example", key=KEY, transport=httpx.MockTransport(handler))
            with pytest.raises(NoReplyError, match=f"within {seconds} s"):
                await (client.get("/looks") if call == "get" else client.post("/creates", {}))
            return anyio.current_time()

        clock = trio.testing.MockClock(autojump_threshold=0)
        assert anyio.run(main, backend="trio", backend_options={"clock": clock}) == pytest.approx(seconds)


class TestRetryAfter:
    now = dt.datetime(2026, 11, 22, tzinfo=dt.UTC).timestamp()

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7),
            ("0", 0.5),
            ("-5", 0.5),
            ("0.75", 0.75),
            ("315360000", 300),
            ("9" * 400, 300),
            ("soon", None),
            ("", None),
            ("nan", None),
        ],
    )
    def test_a_number_is_kept_within_reason(self, value, seconds):
        assert retry_after_s(Reply(status=429, headers={"retry-after": value}), self.now) == seconds

    @pytest.mark.parametrize(("ahead_s", "seconds"), [(30, 30), (-3600, 0.5), (10**8, 300)])
    def test_a_date_is_read_as_well(self, ahead_s, seconds):
        value = email.utils.formatdate(self.now + ahead_s, usegmt=True)
        assert retry_after_s(Reply(status=429, headers={"retry-after": value}), self.now) == seconds

    def test_without_the_header_there_is_none(self):
        assert retry_after_s(Reply(status=429), self.now) is None

    @given(st.text(), st.floats(0, 1e10))
    def test_no_header_makes_it_fail(self, value, now):
        seconds = retry_after_s(Reply(status=429, headers={"retry-after": value}), now)
        assert seconds is None or 0.5 <= seconds <= 300


def make_certificate(folder, *, days_left=1):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days_left))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path = folder / "key.pem"
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path, key_path)
    return path, context
