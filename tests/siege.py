"""A siege: the real command in a process of its own, and a hostile provider and CDN around it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostile import SIGNATURE, Hostile

from batcher.simulator.clips import sample

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-canary-2f94c1d07ab35e68"
CODES = {0, 1, 3, 69, 75, 77, 78}
"""How a run may end that was not told to stop (README, "Exit codes")."""

MANIFEST = """\
version: 1
job: siege
provider: cometapi
defaults: {model_name: kling-v1-6, duration: 5}
prompts:
  - id: wall
    prompt: Wall number {{ n }} holds
matrix:
  n: [%s]
budget: {max_usd: 1000}
"""

MEASURE = """
import os, signal, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""
"""Starts a command from a small process: Linux counts what the parent held at the start as the process's own."""

STEERING = {"Cc", "Cf", "Zl", "Zp"}
"""Unicode categories that steer a terminal or turn text round."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float
    peak_mb: float
    """Memory that was resident at most."""


class Siege:
    """A folder with a manifest of `tasks` clips, and a hostile provider that outlives every command."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self.folder = folder
        self.tasks = tasks
        self.enemy = Hostile()
        (folder / "siege.yaml").write_text(MANIFEST % ", ".join(map(str, range(tasks))))
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BATCHER_", "COMETAPI_", "GITHUB_")) and not name.lower().endswith("_proxy")
        }
        self.environment |= {
            "COMETAPI_KEY": KEY,
            "COMETAPI_BASE_URL": self.enemy.url("api"),
            "BATCHER_QUIET_WINDOW": "0.3s",
            "PYTHONUNBUFFERED": "1",
        }
        self.environment.pop("CI", None)

    def close(self) -> None:
        self.enemy.close()

    def run(self, *more: str, within_s: float = 40, **environment: str) -> Ended:
        """`batcher run`, which must end by itself."""
        return self.command("run", "siege.yaml", *more, within_s=within_s, **environment)

    def command(self, *arguments: str, within_s: float = 40, **environment: str) -> Ended:
        """One command to its end."""
        out, err, memory = (self.folder.parent / name for name in ("out.txt", "err.txt", "memory.txt"))
        started = time.monotonic()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", MEASURE, str(memory), sys.executable, "-m", "batcher", *arguments],
                cwd=self.folder,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
            overtime = threading.Event()
            bell = threading.Timer(within_s, lambda: (overtime.set(), process.terminate()))
            bell.start()
            process.wait()
            bell.cancel()
        ended = Ended(  # read as bytes: a translated line end would hide a carriage return
            process.returncode,
            out.read_bytes().decode(errors="surrogateescape"),
            err.read_bytes().decode(errors="surrogateescape"),
            time.monotonic() - started,
            int(memory.read_text()) / 1024,
        )
        assert not overtime.is_set(), f"not ended after {within_s} s\n{ended.err[-4000:]}"
        return ended

    # ---- the judge -----------------------------------------------------------------------------------------------

    def assert_safe(self, *ended: Ended) -> None:
        """What must be true at any moment, whatever the enemy did."""
        books = self.enemy.books
        assert {external_id: n for external_id, n in books.charges.items() if n > 1} == {}
        for raw in books.at("cdn", "elsewhere"):
            assert KEY.encode() not in raw
            assert b"authorization" not in raw.lower()
            assert b"theirs.mp4" not in raw, "another customer's clip was fetched"
        for raw in books.at("api", "cdn", "elsewhere"):
            assert b"\r\ncookie" not in raw.lower()
            assert KEY.encode() not in raw.partition(b"\r\n")[0]
        for each in ended:
            said = each.out + each.err
            assert each.code in CODES, said[-4000:]
            assert "Traceback" not in said
            assert "defect" not in said, said[-4000:]
            assert KEY not in said
            assert SIGNATURE not in said
            steering = {char for char in said if unicodedata.category(char) in STEERING} - {"\n"}
            assert not steering, [line for line in said.splitlines() if steering & set(line)][:3]
        for path in self.folder.rglob("*"):
            if path.is_file():
                assert KEY.encode() not in path.read_bytes(), path

    def assert_all_home(self) -> None:
        """Each clip is here, was charged once, and nothing else lies about."""
        self.assert_safe()
        assert self.statuses() == {"downloaded": self.tasks}
        assert len(self.enemy.books.charges) == self.tasks
        self.assert_only_ours_lies_there()
        assert len(self.clips) == self.tasks
        for path in self.folder.rglob("*"):
            assert not path.is_file() or SIGNATURE.encode() not in path.read_bytes(), path

    def assert_only_ours_lies_there(self) -> None:
        """Whole clips under names of our own, and their notes: no name or extension came from outside."""
        names = {path.name for path in (self.folder / "out" / "siege").iterdir()}
        ours = r"wall(-\d+)?-t1\.(mp4|json|jpg)|metadata\.jsonl|\.batcher(-receipts)?\.jsonl?"
        assert not [name for name in names if not re.fullmatch(ours, name)]
        assert all(clip.read_bytes() == sample() for clip in self.clips)
        outside = {path.name for path in self.folder.iterdir()} - {"out", "siege.yaml"}
        assert not [name for name in outside if not name.startswith("state.db")]

    @property
    def clips(self) -> list[Path]:
        return sorted((self.folder / "out" / "siege").glob("*.mp4"))

    def statuses(self) -> dict[str, int]:
        with closing(sqlite3.connect(self.folder / "state.db")) as state:
            return dict(state.execute("SELECT status, count(*) FROM tasks GROUP BY status").fetchall())

    def rows(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.folder / "state.db")) as state:
            return state.execute(sql).fetchall()

    def status_of(self) -> dict[str, str]:
        """External id -> status, as the state has it."""
        return dict(self.rows("SELECT external_task_id, status FROM tasks"))


def events(ended: Ended) -> list[dict]:
    return [json.loads(line) for line in ended.out.splitlines()]
