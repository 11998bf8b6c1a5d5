"""A storm: the real command in processes of its own, and a real provider on loopback that outlives them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

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
