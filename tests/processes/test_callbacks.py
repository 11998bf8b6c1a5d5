"""`batcher serve` and `batcher run` as two real processes on one state, and a real provider that posts."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import urllib.error
import urllib.request
from contextlib import closing

import pytest
from storm import wait_for

pytestmark = pytest.mark.slow


def serve(weather, *more):
    """Start it on a free port; the process and its address."""
    process = weather.start("--port", "0", "-v", *more, verb=("serve",), stdout=subprocess.PIPE)
    line = ""
    while "listening on" not in line:
        line = process.stderr.readline()
        assert line, "serve ended before it listened"
    return process, re.search(r"http://\S+", line)[0]


def token(weather) -> str:
    with closing(sqlite3.connect(weather.state)) as state:
        return state.execute("SELECT value FROM secrets").fetchone()[0]


@pytest.mark.timeout(120)
def test_serve_hands_hints_to_the_run(storm):
    """The run ends by callbacks alone: its own looks would be too late; and neither process tells the token."""
    weather = storm(6, "--time-scale", "0.02")
    weather.run("--limit", "0")
    server, url = serve(weather)
    secret = token(weather)
    ended = weather.run("--callback-url", url, "-v", "--log-file", "run.log")
    assert ended.code == 0, ended.err
    assert "no callbacks" not in ended.err
    weather.assert_each_paid_once_and_whole()
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=20)
    assert server.returncode == 0
    told = re.findall(r"callback for (storm-\S+)", err)
    assert {external_id for (external_id,) in weather.rows("SELECT external_task_id FROM tasks")} == set(told)
    assert out == f"{url}/callback/{secret[:6]}...\n", "what is no terminal may be a log"
    for text in (out, err, ended.err, (weather.folder / "run.log").read_text()):
        assert secret not in text
    left = {
        path.name for path in weather.folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    }
    assert left == {"state.db"}


@pytest.mark.timeout(120)
def test_serve_outlives_runs_and_states(storm):
    """No run: what comes is dropped. A run killed: the next one gets the hints. Another state: another token."""
    weather = storm(4, "--time-scale", "0.02")
    weather.run("--limit", "0")
    server, url = serve(weather)
    first = token(weather)

    def post(secret, body):
        try:
            with urllib.request.urlopen(f"{url}/callback/{secret}", json.dumps(body).encode()) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code

    assert post(first, {"task_id": "1"}) == 204
    wait_for(server, "callback for nothing that is awaited")
    killed = weather.start("--callback-url", url, "-v")
    wait_for(killed, "submitted ")
    assert stat.S_IMODE((weather.folder / "state.db.hints").stat().st_mode) == 0o600
    weather.kill(killed)
    assert (weather.folder / "state.db.hints").exists()
    assert weather.run("--callback-url", url).code == 0
    assert not (weather.folder / "state.db.hints").exists()
    weather.assert_each_paid_once_and_whole()
    for path in weather.folder.glob("state.db*"):
        path.unlink()
    assert post(first, {}) == 404
    assert weather.run("--callback-url", url).code == 0
    assert token(weather) != first
    assert post(first, {}) == 404
    assert post(token(weather), {}) == 204


@pytest.mark.timeout(120)
def test_a_flood_of_callbacks_disturbs_no_run(storm):
    """Hung connections, huge bodies and forgeries while a run goes on: it ends as ever."""
    weather = storm(4, "--time-scale", "0.02")
    weather.run("--limit", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = weather.start("--callback-url", f"http://127.0.0.1:{port}", "-v")
    wait_for(process, "submitted ")
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    for connection in held[:10]:
        try:
            connection.sendall(b"POST /callback/x HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000)
        except ConnectionError:
            continue
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for connection in held:
        connection.close()
    weather.assert_each_paid_once_and_whole()


def test_serve_ends_well_on_ctrl_c(storm):
    weather = storm(1)
    weather.run("--limit", "0")
    server, url = serve(weather)
    with urllib.request.urlopen(f"{url}/healthz") as reply:
        assert reply.status == 200
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=20)
    assert server.returncode == 0
