from __future__ import annotations

import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
import trio.testing

from batcher.simulator import Settings, World
from batcher.simulator.app import create_app
from batcher.simulator.clips import sample
from batcher.simulator.serving import start

from .conftest import CREATE, NOON

BODY = {"prompt": "a red fox", "model_name": "kling-v1-6", "external_task_id": "fox-1"}


def url_of(client, **changes):
    """Create a generation and return its URL; on these worlds it is over at once."""
    client.post(CREATE, json={**BODY, **changes}).raise_for_status()
    for _ in range(100):
        task = client.get(f"{CREATE}/{changes.get('external_task_id', 'fox-1')}").json()["data"]
        if task["task_status"] == "succeed":
            return task["task_result"]["videos"][0]["url"]
    raise AssertionError("not over after 100 looks")


def totals(client):
    return client.get("/_ledger").json()["totals"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset-after", httpx.ReadError),
        ("close-after", httpx.RemoteProtocolError),
        ("half-reply", httpx.RemoteProtocolError),
        ("reset-before", httpx.ReadError),
    ],
)
def test_a_lost_connection_is_truly_lost(serve, fault, error):
    """The socket is reset or closed without a reply, and what was created before is charged."""
    client = serve(script=(fault,))
    with pytest.raises(error):
        client.post(CREATE, json=BODY)
    assert totals(client)["charged"] == (0 if fault == "reset-before" else 1)


def test_on_the_wire_a_reset_is_an_rst_and_a_half_reply_is_half_a_header(serve):
    client = serve(script=("reset-after", "half-reply"))
    body = json.dumps({"prompt": "a"}).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
    with connect(client) as one:
        one.sendall(head.encode() + body)
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    with connect(client) as two:
        two.sendall(head.encode() + body)
        assert two.makefile("rb").read() == b"HTTP/1.1 200 OK\r\ncontent-type: applica"


def connect(client):
    where = urlsplit(str(client.base_url))
    return socket.create_connection((where.hostname, where.port), timeout=5)


def test_no_reply_ever_comes(serve):
    client = serve(script=("stall-after",))
    with pytest.raises(httpx.ReadTimeout):
        client.post(CREATE, json=BODY, timeout=0.05)
    while not totals(client)["charged"]:
        pass  # the server may be slower than we were impatient


def test_closing_does_not_wait_for_clients():
    """A reply that never comes does not keep the simulator open: it dies as a provider would."""
    with start(Settings(script=("stall-after",))) as running, httpx.Client(base_url=running.base_url) as client:
        headers = {"authorization": "Bearer k"}
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, CREATE, json=BODY, headers=headers, timeout=20)
            while not client.get("/_ledger").json()["totals"]["charged"]:
                pass
            running.close()
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                waiting.result()


def test_the_ledger_judges_what_was_asked(serve):
    client = serve()
    url = url_of(client)
    client.post(CREATE, json=BODY)
    httpx.get(url)
    httpx.get(url, headers={"authorization": "Bearer sk-test"})
    (account,) = client.get("/_ledger").json()["accounts"].values()
    assert [(c["outcome"], c["charged"]) for c in account["creates"]] == [("accepted", True), ("refused 1201", False)]
    assert (account["charged"], account["downloads"], len(account["leaks"])) == (1, 2, 1)
    assert account["generations"][0]["prompt"] == "a red fox"
    assert "sk-test" not in client.get("/_ledger").text


def test_the_file_comes_whole_or_in_parts(serve):
    client = serve()
    url = url_of(client)
    whole = httpx.get(url)
    assert (whole.content, whole.headers["content-type"]) == (sample(), "video/mp4")
    etag, size = whole.headers["etag"], len(sample())
    head = httpx.head(url)
    assert (head.headers["content-length"], head.content) == (str(size), b"")

    def part(asked, **more):
        reply = httpx.get(url, headers={"range": asked, **more})
        return reply.status_code, reply.headers.get("content-range"), reply.content

    assert part("bytes=0-9") == (206, f"bytes 0-9/{size}", sample()[:10])
    assert part(f"bytes={size - 5}-", **{"if-range": etag}) == (
        206,
        f"bytes {size - 5}-{size - 1}/{size}",
        sample()[-5:],
    )
    assert part("bytes=-3") == (206, f"bytes {size - 3}-{size - 1}/{size}", sample()[-3:])
    assert part(f"bytes={size}-") == (416, f"bytes */{size}", b"")
    assert part("bytes=0-9", **{"if-range": '"other"'})[0] == 200
    assert part("bytes=0-1,4-5")[0] == part("bytes=x")[0] == 200


def test_clips_may_be_as_large_as_real_ones_and_their_bytes_are_counted(serve):
    """Filled up with the same bytes each time, so that a download can go on; what is sent is in the ledger."""
    client = serve(clip_bytes=200_000)
    url = url_of(client)
    whole = httpx.get(url).content
    assert len(whole) == 200_000
    assert whole[: len(sample())] == sample()
    assert httpx.get(url, headers={"range": "bytes=150000-"}).content == whole[150_000:]
    assert client.get("/_ledger").json()["totals"]["asset_bytes"] == 250_000


def test_ranges_may_be_off(serve):
    reply = httpx.get(url_of(serve(ranges=False)), headers={"range": "bytes=0-9"})
    assert (reply.status_code, "accept-ranges" in reply.headers, reply.content) == (200, False, sample())


@pytest.mark.parametrize(
    ("fault", "error"), [("asset-cut", httpx.RemoteProtocolError), ("asset-reset", httpx.ReadError)]
)
def test_a_file_may_break_off(serve, fault, error):
    client = serve(script=(fault,))
    url = url_of(client)
    with pytest.raises(error):
        httpx.get(url)
    assert httpx.get(url).content == sample()


def test_a_file_without_a_length_looks_whole_and_is_not(serve):
    client = serve(script=("asset-unsized",))
    reply = httpx.get(url_of(client))
    assert (reply.status_code, "content-length" in reply.headers) == (200, False)
    assert reply.content == sample()[: len(sample()) // 2]


def test_an_expired_or_forged_url_is_403(serve):
    client = serve(url_life_s=-1)
    url = url_of(client)
    assert httpx.get(url).status_code == 403
    assert httpx.get(url.split("?")[0]).status_code == 403


def test_a_clip_is_rendered_for_its_prompt(serve):
    client = serve(clips="rendered", limit=5)
    one = httpx.get(url_of(client, external_task_id="a", aspect_ratio="1:1"))
    two = httpx.get(url_of(client, external_task_id="b", aspect_ratio="1:1", prompt="a lighthouse"))
    assert one.content[4:8] == two.content[4:8] == b"ftyp"
    assert one.content != two.content


def test_faults_can_be_scripted_while_it_runs(serve):
    client = serve()
    assert client.post("/_faults", json={"script": ["html-502"], "faults": {"look-502": 1.0}}).status_code == 200
    assert client.post(CREATE, json=BODY).status_code == 502
    assert client.get(f"{CREATE}/x").status_code == 502
    for bad in ({"script": ["nonsense"]}, {"faults": {"look-502": 2}}, [1], {"faults": [1]}):
        assert client.post("/_faults", json=bad).status_code == 400


def test_it_says_that_it_is_well_and_refuses_huge_bodies(serve):
    client = serve()
    assert client.get("/_healthz").json() == {"ok": True, "simulated": True}
    assert client.post(CREATE, content=b"x" * 1_100_000).status_code == 413


def test_the_world_goes_on_under_another_port(serve, tmp_path):
    """A run killed and started again finds its generations, though the address is new."""
    path = tmp_path / "world.jsonl"
    script = f"""
import os, pathlib, signal, sys
import httpx
from batcher.simulator.serving import start
running = start(None, pathlib.Path(sys.argv[1]))
headers = {{"authorization": "Bearer sk-test"}}
print(httpx.post(running.base_url + {CREATE!r}, json={BODY!r}, headers=headers).status_code, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert (died.stdout, died.returncode) == ("200\n", -9)
    client = serve(path)
    assert client.get(f"{CREATE}/fox-1").status_code == 200
    assert client.post(CREATE, json=BODY).json()["message"] == "External_task_id fox-1 already exists"
    assert totals(client)["charged"] == 1


def test_hours_pass_in_no_time_under_a_virtual_clock():
    """The same application without a server, on trio: an hour of looking costs nothing."""

    async def main():
        ticks = count(1)
        app = create_app(World(Settings(time_scale=20, clips="sample")), clock=lambda: NOON + trio.current_time())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"authorization": "Bearer k"}
        ) as client:
            await client.post(CREATE, json=BODY)
            while (task := (await client.get(f"{CREATE}/fox-1")).json()["data"])["task_status"] != "succeed":
                next(ticks)
                await anyio.sleep(60)
            clip = await client.get(task["task_result"]["videos"][0]["url"])
            assert clip.content == sample()
        assert next(ticks) > 20

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(main, backend="trio", backend_options={"clock": clock})


def test_without_a_server_a_lost_connection_is_an_error_of_that_name():
    async def main():
        app = create_app(World(Settings(script=("reset-after",))))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers={"authorization": "Bearer k"}
        ) as client:
            with pytest.raises(ConnectionResetError):
                await client.post(CREATE, json=BODY)

    anyio.run(main, backend="trio")
