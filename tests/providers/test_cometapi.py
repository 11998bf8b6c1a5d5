"""Every end of a network call is one of the closed set, over real sockets."""

import json
import socket

import anyio
import pytest

from batcher.generations import Fate, RefusalKind, Sight
from batcher.http import ApiClient
from batcher.providers.cometapi import CometApi
from providers.rawserver import RawServer, answer, serve

KEY = "sk-canary-0123456789abcdef"
OUR_ID = "demo-0123456789abcdef01234567-a1"
REQUEST = {"prompt": "a fox", "model_name": "kling-v1-6", "duration": "5"}
PATH = "/kling/v1/videos/text2video"
CREATED = {"code": 0, "data": {"task_id": "867283741759111202", "task_status": "submitted"}}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def make_provider(server: RawServer | str, *, timeout_s=10, **changes) -> CometApi:
    url = server if isinstance(server, str) else server.url
    client = ApiClient(base_url=url, key=KEY, timeout_s=timeout_s, post_timeout_s=timeout_s)
    return CometApi(client, **{"scope": "simulator"} | changes)


def json_answer(payload, **changes):
    return answer(json.dumps(payload).encode(), **changes)


def request_line_and_body(request: bytes):
    head, _, body = request.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), json.loads(body) if body else None


@pytest.mark.anyio
class TestRequests:
    @pytest.mark.parametrize(
        ("date", "seconds"),
        [
            ("Sun, 22 Nov 2026 12:00:00 GMT", 1795348800),
            ("soon", None),
            ("Sun, 22 Nov 2026 12:00:00 +99999999999999999999", None),
            ("1 Jan 99999999999 00:00:00 GMT", None),
        ],
    )
    async def test_the_servers_clock_is_read_where_it_makes_sense(self, date, seconds):
        async with serve(reply=answer(b"{}", headers=f"Date: {date}\r\n")) as server:
            provider = make_provider(server)
            assert await provider.server_time() == seconds
            await provider.aclose()

    async def test_a_create_is_the_request_with_our_id(self):
        async with serve(reply=json_answer(CREATED)) as server:
            provider = make_provider(server)
            posted = await provider.create(REQUEST, external_task_id=OUR_ID)
            await provider.aclose()
        assert (posted.fate, posted.generation.id) == (Fate.ACCEPTED, "867283741759111202")
        (request,) = server.requests
        assert request_line_and_body(request) == (
            f"POST {PATH} HTTP/1.1",
            REQUEST | {"external_task_id": OUR_ID},
        )

    async def test_a_callback_url_is_added_where_one_is_given(self):
        async with serve(reply=json_answer(CREATED)) as server:
            provider = make_provider(server, callback_url="https://me.example/callback/t")
            await provider.create(REQUEST, external_task_id=OUR_ID)
        assert request_line_and_body(server.requests[0])[1]["callback_url"] == "https://me.example/callback/t"

    async def test_an_absence_is_never_an_answer_left_over_on_a_connection(self):
        """It allows another create call, so the look at an id of ours shares its connection with no other."""
        nothing = json_answer({"code": 1201, "message": "Task not found"}, status="400 Bad Request")
        async with serve(reply=json_answer(CREATED) + nothing) as server:
            provider = make_provider(server)
            assert (await provider.find("867283741759111202")).sight is Sight.FOUND
            assert (await provider.find_external(OUR_ID)).sight is Sight.FOUND
            await provider.aclose()

    async def test_looks_and_the_list_have_their_paths(self):
        async with serve(reply=json_answer({"code": 0, "data": []})) as server:
            provider = make_provider(server)
            await provider.find("867283741759111202")
            await provider.find_external(OUR_ID)
            listing = await provider.list(page=2, size=500)
            await provider.aclose()
        assert listing.supported is True
        assert [request_line_and_body(request)[0] for request in server.requests] == [
            f"GET {PATH}/867283741759111202 HTTP/1.1",
            f"GET {PATH}/{OUR_ID} HTTP/1.1",
            f"GET {PATH}?pageNum=2&pageSize=500 HTTP/1.1",
        ]

    @pytest.mark.parametrize(
        ("generation_id", "segment"), [("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"), ("ü", "%C3%BC"), ("%2e", "%252e")]
    )
    async def test_an_id_stays_one_segment_of_the_path(self, generation_id, segment):
        async with serve() as server:
            provider = make_provider(server)
            await provider.find(generation_id)
            await provider.aclose()
        assert request_line_and_body(server.requests[0])[0] == f"GET {PATH}/{segment} HTTP/1.1"


@pytest.mark.anyio
class TestVerdicts:
    async def test_no_server_means_not_sent(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        provider = make_provider(url)
        posted = await provider.create(REQUEST, external_task_id=OUR_ID)
        assert (posted.fate, posted.refusal) == (Fate.NOT_SENT, None)
        assert "refused" in posted.detail.lower() or "failed" in posted.detail.lower()
        assert (await provider.find(OUR_ID)).sight is Sight.SILENT
        assert (await provider.list(page=1, size=30)).supported is None

    @pytest.mark.parametrize(
        "script",
        [
            "close before reading",
            "close after reading",
            "reset after reading",
            "half a head",
            "garbage",
            "big head",
            "cut chunks",
            "cut body",
        ],
    )
    async def test_a_broken_answer_is_ambiguous_and_silent_and_nothing_is_sent_twice(self, script):
        async with serve(script=script) as server:
            provider = make_provider(server)
            posted = await provider.create(REQUEST, external_task_id=OUR_ID)
            assert (posted.fate, posted.generation) == (Fate.AMBIGUOUS, None)
            assert server.connections == 1
            assert (await provider.find(OUR_ID)).sight is Sight.SILENT
            assert (await provider.find_external(OUR_ID)).sight is Sight.SILENT
            assert (await provider.list(page=1, size=30)).supported is None
            await provider.aclose()
        assert server.connections == 4

    @pytest.mark.parametrize("script", ["stall", "endless 103"])
    async def test_an_answer_that_does_not_come_is_ambiguous_and_silent(self, script):
        async with serve(script=script) as server:
            provider = make_provider(server, timeout_s=0.9)

            async def create():
                posted = await provider.create(REQUEST, external_task_id=OUR_ID)
                assert (posted.fate, posted.detail) == (Fate.AMBIGUOUS, "no complete answer within 0.9 s")

            async def look():
                assert (await provider.find_external(OUR_ID)).sight is Sight.SILENT

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(create)
                tasks.start_soon(look)
            await provider.aclose()
        assert len(server.requests) == 2

    @pytest.mark.parametrize(
        "reply",
        [
            answer(b"<html>Sign in</html>", headers="Content-Type: text/html\r\n"),
            answer(b"<html>Bad gateway</html>", status="502 Bad Gateway"),
            answer(b"", status="302 Found", headers="Location: /elsewhere\r\n"),
            answer(b"", status="307 Temporary Redirect", headers="Location: /elsewhere\r\n"),
            answer(b"\x1f\x8b\x08\x00" + b"\x00" * 1000, headers="Content-Encoding: gzip\r\n"),
            json_answer(CREATED, status="500 Internal Server Error"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + json.dumps(CREATED).encode(),
        ],
        ids=["html", "502", "302", "307", "gzip bomb", "500 that created", "shorter length"],
    )
    async def test_an_unusable_answer_is_ambiguous_and_silent(self, reply):
        async with serve(script="answer and close", reply=reply) as server:
            provider = make_provider(server)
            posted = await provider.create(REQUEST, external_task_id=OUR_ID)
            look = await provider.find_external(OUR_ID)
            await provider.aclose()
        assert (posted.fate, look.sight) == (Fate.AMBIGUOUS, Sight.SILENT)
        assert len(server.requests) == 2

    @pytest.mark.parametrize(
        ("echo", "fate"),
        [(OUR_ID, Fate.ACCEPTED), (None, Fate.ACCEPTED), ("spring-0123456789abcdef01234567-a1", Fate.AMBIGUOUS)],
        ids=["ours", "none", "another's"],
    )
    async def test_an_acceptance_of_another_task_is_no_acceptance_of_ours(self, echo, fate):
        """Answers that a gateway mixed up: one task would get the other's clip, and the other none."""
        data = CREATED["data"] | ({"task_info": {"external_task_id": echo}} if echo else {})
        async with serve(reply=json_answer(CREATED | {"data": data, "request_id": "r-1"})) as server:
            provider = make_provider(server)
            posted = await provider.create(REQUEST, external_task_id=OUR_ID)
            await provider.aclose()
        assert (posted.fate, posted.request_id) == (fate, "r-1")
        assert (posted.generation is None) is (fate is Fate.AMBIGUOUS)

    async def test_a_refusal_carries_how_long_to_wait(self):
        full = json_answer({"code": 1303, "message": "m"}, status="429 Too Many", headers="Retry-After: 9\r\n")
        async with serve(reply=full) as server:
            provider = make_provider(server)
            posted = await provider.create(REQUEST, external_task_id=OUR_ID)
            listing = await provider.list(page=1, size=30)
            await provider.aclose()
        assert (posted.fate, posted.refusal.kind, posted.refusal.retry_after_s) == (Fate.REFUSED, RefusalKind.BUSY, 9)
        assert listing.refusal.retry_after_s == 9

    async def test_an_echo_of_the_key_is_not_passed_on(self):
        echo = json_answer({"error": {"message": f"Invalid token {KEY}"}}, status="401 Unauthorized")
        async with serve(reply=echo) as server:
            provider = make_provider(server)
            posted = await provider.create(REQUEST, external_task_id=OUR_ID)
            look = await provider.find(OUR_ID)
            await provider.aclose()
        assert posted.refusal.message == "Invalid token [key]"
        assert KEY not in repr((posted, look))
