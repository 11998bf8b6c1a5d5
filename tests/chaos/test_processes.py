"""Real processes, real signals, a real provider on loopback that outlives them. Its ledger is the judge."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import select
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KEY = "sk-canary-51d0c7e2a94b8f36"

MANIFEST = """\
version: 1
job: storm
provider: cometapi
defaults: {model_name: kling-v1-6, duration: 5}
prompts:
  - id: wave
    prompt: Wave number {{ n }} breaks over the pier
matrix:
  n: [%s]
budget: {max_usd: 100}
"""


class Storm:
    """A folder with a manifest of `tasks` clips, and a provider that keeps running whatever happens to batcher."""

    def __init__(self, folder: Path, tasks: int, *simulate: str) -> None:
        self.folder = folder
        self.tasks = tasks
        self.started: list[subprocess.Popen] = []
        (folder / "storm.yaml").write_text(MANIFEST % ", ".join(map(str, range(tasks))))
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("BATCHER_", "COMETAPI_"))}
        self.environment |= {"COMETAPI_KEY": KEY, "BATCHER_QUIET_WINDOW": "0.5s", "PYTHONUNBUFFERED": "1"}
        self.environment.pop("CI", None)
        command = [sys.executable, "-m", "batcher", "simulate", "--limit", "6", *simulate]
        self.provider = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        assert self.provider.stdout
        line = self.provider.stdout.readline()
        self.environment["COMETAPI_BASE_URL"] = re.search(r"http://\S+", line)[0]

    def start(self, *more: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "batcher", "run", "storm.yaml", *more],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what was started, by its pid, whatever the test left running."""
        for process in [*self.started, self.provider]:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def finish(self) -> subprocess.Popen:
        """Run to the end."""
        process = self.start()
        _, err = process.communicate(timeout=50)
        assert process.returncode == 0, err
        return process

    @property
    def ledger(self) -> dict:
        with urllib.request.urlopen(f"{self.environment['COMETAPI_BASE_URL']}/_ledger") as reply:
            return json.load(reply)

    @property
    def clips(self) -> list[Path]:
        return sorted((self.folder / "out" / "storm").glob("*.mp4"))

    def statuses(self) -> dict[str, int]:
        state = sqlite3.connect(self.folder / "state.db")
        try:
            return dict(state.execute("SELECT status, count(*) FROM tasks GROUP BY status").fetchall())
        finally:
            state.close()

    def assert_each_paid_once_and_whole(self) -> None:
        totals = self.ledger["totals"]
        assert totals["charged"] == self.tasks
        assert not totals["twice"]
        assert totals["leaks"] == 0
        assert self.statuses() == {"downloaded": self.tasks}
        assert len(self.clips) == self.tasks
        state = sqlite3.connect(self.folder / "state.db")
        for path, sha256 in state.execute("SELECT path, sha256 FROM assets WHERE kind = 'video'").fetchall():
            assert hashlib.sha256((self.folder / "out" / path).read_bytes()).hexdigest() == sha256
        state.close()
        assert not list((self.folder / "out" / "storm").glob(".*.part"))


@pytest.fixture
def storm(tmp_path):
    opened: list[Storm] = []

    def make(tasks: int, *simulate: str) -> Storm:
        opened.append(Storm(tmp_path, tasks, *simulate))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def wait_for(process: subprocess.Popen, word: str, times: int = 1) -> None:
    """Read the process's lines until `word` was said so often: an event to wait for, never a pause."""
    assert process.stderr
    for _ in range(times):
        while True:
            ready, _, _ = select.select([process.stderr], [], [], 30)
            assert ready, f"{word!r} was not said in 30 s"
            line = process.stderr.readline()
            assert line, f"the process ended before it said {word!r}"
            if word in line:
                break


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_five_moments_each_clip_is_paid_once(storm, seed):
    """SIGKILL after a random event, five times, then once to the end: 30 charges, 30 whole files."""
    weather = storm(30, "--time-scale", "0.005")
    rng = random.Random(seed)
    for word in rng.choices(["submit ", "done ", "submitted ", "processing ", "succeeded "], k=5):
        process = weather.start("-v")
        wait_for(process, word, rng.randint(1, 4))
        process.kill()
        process.communicate()
    weather.finish()
    weather.assert_each_paid_once_and_whole()


@pytest.mark.timeout(90)
def test_lost_replies_are_adopted_not_paid_again(storm):
    """A third of the create calls is accepted and then reset, or answered with 5xx: one charge a task."""
    faults = ("--fault", "reset-after=0.2", "--fault", "5000-created=0.2")
    weather = storm(12, "--time-scale", "0.005", *faults)
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_ctrl_c_once_finishes_and_records_what_is_under_way(storm):
    """Exit 130; no task is left in doubt; the next run goes on."""
    weather = storm(8, "--time-scale", "0.05")
    process = weather.start("-v")
    wait_for(process, "submitted ", 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "nothing is lost" in err
    assert "submitting" not in weather.statuses()
    assert weather.ledger["totals"]["charged"] < 8


def test_sigterm_ends_well(storm):
    """What systemd and cron send: exit 143, state saved, and a second run completes it."""
    weather = storm(4, "--time-scale", "0.01")
    process = weather.start("-v")
    wait_for(process, "submitted ")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_ctrl_c_twice_leaves_at_once(storm):
    """A provider that does not answer the create call cannot hold us; the next run finds out what became of it."""
    weather = storm(3, "--time-scale", "0.005", "--script", "ok", "--script", "stall-after")
    process = weather.start("-v")
    wait_for(process, "submitted ", 2)  # the third is taken by the provider, and never answered
    process.send_signal(signal.SIGINT)
    wait_for(process, "stopping")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert weather.statuses()["submitting"] == 1
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_a_second_run_is_refused_and_told_who_runs(storm):
    """Cron overlaps: exit 4, the holder's pid, and the first run is not disturbed."""
    weather = storm(4, "--time-scale", "0.02")
    first = weather.start("-v")
    wait_for(first, "submitted ")
    second = weather.start()
    _, err = second.communicate(timeout=20)
    assert second.returncode == 4
    assert f"pid {first.pid}" in err
    first.communicate(timeout=40)
    assert first.returncode == 0
    weather.assert_each_paid_once_and_whole()


def test_a_broken_pipe_does_not_stop_a_run(storm):
    """`batcher run ... | head -1`: the reader is gone, the clips come home."""
    weather = storm(3, "--time-scale", "0.005")
    process = weather.start("-v")
    wait_for(process, "submit ")
    process.stderr.close()
    process.wait(timeout=40)
    weather.assert_each_paid_once_and_whole()


def test_the_state_deleted_while_running_stops_the_buying(storm):
    """A write to a deleted WAL file "succeeds" into nothing: the run notices before the next create call."""
    weather = storm(12, "--time-scale", "0.02")
    process = weather.start("-v")
    wait_for(process, "submitted ", 2)
    (weather.folder / "state.db").unlink()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    assert "deleted or replaced" in err
    weather.finish()
    weather.assert_each_paid_once_and_whole()
