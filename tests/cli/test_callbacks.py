"""A run with callbacks: hints make it quicker, and nothing that anybody posts makes it end in another way."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing, suppress
from pathlib import Path

import pytest

from batcher.callbacks import listening
from batcher.callbacks.app import create_app
from batcher.callbacks.handover import Outbox
from batcher.callbacks.server import Receiver

from .conftest import query

SECRET = "whsec_c2VjcmV0"
LOCAL = "http://127.0.0.1:0"


@pytest.fixture
def hardly_polls(monkeypatch):
    """Without a hint the next look is an hour away."""
    monkeypatch.setattr("batcher.runner.waiting._gap_s", lambda *_: 3600.0)
    monkeypatch.setattr("batcher.runner.watch.LIST_FROM", 1_000_000)


def token() -> str:
    return query("SELECT value FROM secrets")[0][0]


def ledger(provider) -> dict:
    with urllib.request.urlopen(f"{provider.base_url}/_ledger") as reply:
        return json.load(reply)


def outcome(provider) -> tuple:
    """What came of a run: of each task, of the account, of the files."""
    totals = ledger(provider)["totals"]
    files = sorted(str(path) for path in Path("out").rglob("*"))
    return (
        query("SELECT name, status, attempt, external_task_id FROM tasks ORDER BY name"),
        (totals["charged"], totals["twice"], totals["leaks"]),
        files,
    )


def test_a_hint_wakes_a_look_that_was_an_hour_away(cli, manifest, hardly_polls):
    """The demo with callbacks: simulator, receiver and run in one process, on a free port."""
    result = cli("run", manifest, "--callback-url", LOCAL)
    assert result.code == 0, result.err
    assert query("SELECT status, count(*) FROM tasks GROUP BY 1") == [("downloaded", 4)]


def test_the_provider_is_given_the_whole_address_and_identity_is_without_it(cli, paid, provider):
    """What the create call says; the same task with and without callbacks is one task."""
    assert cli("run", paid, "-y", "--limit", "1").code == 0
    before = query("SELECT external_task_id FROM tasks ORDER BY id")
    assert cli("run", paid, "-y", "--callback-url", LOCAL).code == 0
    assert query("SELECT external_task_id FROM tasks ORDER BY id") == before
    assert ledger(provider)["totals"]["charged"] == 4
    world = provider._world
    urls = [
        g.request.get("callback_url") for name in world._accounts for g in world.account(name).generations.values()
    ]
    assert urls[0] is None
    assert all(url.endswith(f"/callback/{token()}") and ":0/" not in url for url in urls[1:])
    assert len(urls) == 4


MOODS = {
    "good": {},
    "lost": {"lost": 0.5},
    "all lost": {"lost": 1.0},
    "doubled": {"duplicate": 1.0},
    "out of order": {"reordered": 1.0},
    "early": {"early": 1.0},
    "all at once": {"lost": 0.3, "duplicate": 0.3, "reordered": 0.3, "early": 0.3},
}


@pytest.mark.parametrize(
    ("provider", "signed"),
    [pytest.param({"callback_moods": moods}, False, id=name) for name, moods in MOODS.items()]
    + [pytest.param({"callback_secret": SECRET}, True, id="signed")],
    indirect=["provider"],
)
def test_whatever_callbacks_come_it_ends_as_with_polling(cli, paid, provider, signed, monkeypatch):
    """Lost, doubled, out of order, before the acceptance is written, signed: the tasks, the bill and the files."""
    if signed:
        monkeypatch.setenv("BATCHER_WEBHOOK_SECRET", SECRET)
    assert cli("run", paid, "-y", "--callback-url", LOCAL).code == 0
    tasks, bill, files = outcome(provider)
    assert [status for _, status, *_ in tasks] == ["downloaded"] * 4
    assert bill == (4, [], 0)
    assert len([name for name in files if name.endswith(".mp4")]) == 4


def test_forged_callbacks_change_nothing(cli, paid, provider, monkeypatch):
    """By somebody who knows the token and every id: a success with a file of theirs, again and again."""
    stop, ports, forged = threading.Event(), queue.SimpleQueue(), []

    class Told(listening.Receiver):
        def __init__(self, app, **more):
            super().__init__(app, **more)
            ports.put(self.port)

    monkeypatch.setattr(listening, "Receiver", Told)
    with socket.create_server(("127.0.0.1", 0)) as evil:
        evil.setblocking(False)

        def forge():
            port = ports.get(timeout=20)
            while not stop.is_set():
                rows = query("SELECT external_task_id, generation_id FROM tasks")
                url = f"http://127.0.0.1:{port}/callback/{token()}"
                for external_id, generation_id in [*rows, ("birds-unknown-a1", "1")]:
                    body = {
                        "task_id": generation_id,
                        "task_status": "succeed",
                        "task_info": {"external_task_id": external_id},
                        "task_result": {
                            "videos": [{"id": "1", "url": f"http://127.0.0.1:{evil.getsockname()[1]}/x.mp4"}]
                        },
                    }
                    with suppress(OSError):
                        urllib.request.urlopen(url, json.dumps(body).encode()).close()
                        forged.append(external_id)

        forger = threading.Thread(target=forge)
        forger.start()
        try:
            result = cli("run", paid, "-y", "--callback-url", LOCAL)
        finally:
            stop.set()
            forger.join()
        assert result.code == 0, result.err
        with pytest.raises(BlockingIOError):
            evil.accept()
    assert forged
    tasks, bill, _ = outcome(provider)
    assert [status for _, status, *_ in tasks] == ["downloaded"] * 4
    assert bill == (4, [], 0)


def test_unsigned_callbacks_wake_nothing_where_a_secret_is_set(cli, paid, provider, hardly_polls, monkeypatch):
    """The provider does not sign: nothing comes of its callbacks, and the deadline ends the run."""
    monkeypatch.setenv("BATCHER_WEBHOOK_SECRET", SECRET)
    result = cli("run", paid, "-y", "--callback-url", LOCAL, "--deadline", "1s")
    assert result.code == 75
    assert "downloaded" not in {status for (status,) in query("SELECT status FROM tasks")}


def test_a_port_that_is_taken_is_told_and_the_run_polls(cli, manifest):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cli("run", manifest, "--callback-url", f"http://127.0.0.1:{port}")
    assert result.code == 0, result.err
    assert f"no callbacks, only polling: port {port} cannot be listened on (Address already in use)" in result.err
    assert "BATCHER_CALLBACK_PORT" in result.err


def test_a_receiver_of_our_own_at_that_port_is_no_trouble(cli, manifest, hardly_polls):
    """What `batcher serve` on this state would be: the run takes its hints."""
    assert cli("run", manifest, "--limit", "0").code in (0, 75)
    served = token()
    with (
        closing(Outbox(Path("state.db"))) as outbox,
        Receiver(create_app(token=lambda: served, take=outbox.send_all), port=0) as receiver,
    ):
        result = cli("run", manifest, "--callback-url", receiver.base_url)
    assert result.code == 0, result.err
    assert "no callbacks" not in result.err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BATCHER_CALLBACK_PORT", "70000", "is no port"),
        ("BATCHER_CALLBACK_PORT", "http", "is no port"),
        ("BATCHER_WEBHOOK_SECRET", "whsec_%%%", "is not base64"),
    ],
)
def test_a_setting_that_cannot_be_stops_the_run_before_it_sends(cli, paid, provider, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    result = cli("run", paid, "-y", "--callback-url", LOCAL)
    assert result.code == 78
    assert words in result.err
    assert "whsec" not in result.err.replace("as whsec_...", "")
    assert ledger(provider)["totals"]["charged"] == 0


def test_a_callback_url_is_not_taken_from_a_stranger(cli, paid, provider):
    """Neither from the manifest nor from a `.env`: what is posted to it holds the signed addresses of clips."""
    Path(".env").write_text("BATCHER_CALLBACK_URL=https://evil.example\n")
    assert cli("run", paid, "-y").code == 0
    world = provider._world
    assert all(
        "callback_url" not in g.request for name in world._accounts for g in world.account(name).generations.values()
    )
    paid.write_text(paid.read_text() + "params: {callback_url: https://evil.example}\n")
    assert cli("check", paid).code == 2


def test_the_token_is_nowhere_but_in_the_state(cli, paid, tmp_path):
    """Not in what a run says or logs, nor in an event, a sidecar, a view or any document."""
    said = [cli("run", paid, "-y", "-v", "--callback-url", LOCAL, "--log-file", "run.log")]
    assert said[0].code == 0, said[0].err
    secret = token()
    said += [cli("run", paid, "-y", "--json", "--callback-url", f"https://host.example/callback/{secret}")]
    said += [cli("run", paid, "-y", "--callback-url", f"http://host.example/callback/{secret}")]
    said += [cli(*words) for words in (("status",), ("status", "--json"), ("show", "heron-16x9-t1", "--json"))]
    said += [cli("run", paid, "-y", "--callback-url", f"https://host.example/callback/{secret[::-1]}")]
    assert said[-1].code == 2
    for each in said:
        assert secret not in each.out + each.err
        assert secret[::-1] not in each.out + each.err
    holding = {p.name for p in tmp_path.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()}
    assert holding <= {"state.db", "state.db-wal"}
    tables = {name for (name,) in query("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
    holding = {name for name in tables if secret in repr(query(f'SELECT * FROM "{name}"'))}
    assert holding == {"secrets"}


def test_a_run_without_callbacks_loads_no_server(cli, manifest):
    """In a process of its own, on a provider of its own: the built-in simulator is a server."""
    code = "import batcher.cli.run, batcher.connect, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "batcher.connect" in loaded
    assert {"uvicorn", "starlette", "batcher.callbacks.listening"} & loaded == set()


def test_serve_without_a_state_says_what_makes_one(cli):
    result = cli("serve")
    assert result.code == 78
    assert "there is no state at state.db" in result.err
    assert "batcher run" in result.err


def test_serve_at_a_port_that_is_taken_is_an_error(cli, manifest):
    assert cli("run", manifest).code == 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cli("serve", "--port", port)
    assert result.code == 78
    assert f"cannot listen on 127.0.0.1 port {port}" in result.err
    assert "--port" in result.err
