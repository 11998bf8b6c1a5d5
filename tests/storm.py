"""A storm: the real command in processes of its own, and a real provider on loopback that outlives them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.simulator.clips import stamped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCHER = (sys.executable, "-m", "batcher")

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


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    err: str


class Storm:
    """A folder with a manifest of `tasks` clips, and a provider that keeps running whatever happens to batcher."""

    def __init__(self, folder: Path, tasks: int, *simulate: str, limit: int = 6) -> None:
        self.folder = folder
        self.state = folder / "state.db"
        self.out = folder / "out"
        self.tasks = tasks
        self.started: list[subprocess.Popen] = []
        self.kills = 0
        (folder / "storm.yaml").write_text(MANIFEST % ", ".join(map(str, range(tasks))))
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("BATCHER_", "COMETAPI_"))}
        self.environment |= {"COMETAPI_KEY": KEY, "BATCHER_QUIET_WINDOW": "0.5s", "PYTHONUNBUFFERED": "1"}
        self.environment.pop("CI", None)
        command = [*BATCHER, "simulate", "--limit", str(limit), "--clips", "stamped", *simulate]
        self.provider = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        assert self.provider.stdout
        line = self.provider.stdout.readline()
        self.environment["COMETAPI_BASE_URL"] = re.search(r"http://\S+", line)[0]

    # ---- processes ----------------------------------------------------------------------------------------------

    def start(
        self, *more: str, verb: tuple[str, ...] = ("run", "storm.yaml"), before: tuple[str, ...] = (), **how: Any
    ) -> subprocess.Popen:
        """Start `batcher run storm.yaml`, or another verb; `before` are words before the command, as of `env`."""
        return self.launch([*before, *BATCHER, *verb, *more], **how)

    def launch(self, command: list[str], **how: Any) -> subprocess.Popen:
        """Start any command in the folder; `how` is for `Popen`."""
        elsewhere = {"BATCHER_STATE": self.state, "BATCHER_OUT": self.out}
        environment = self.environment | {
            name: str(path) for name, path in elsewhere.items() if path.parent != self.folder
        }
        settings = {"cwd": self.folder, "env": environment, "stderr": subprocess.PIPE, "text": True, **how}
        process = subprocess.Popen(command, **settings)
        self.started.append(process)
        return process

    def run(self, *more: str, **how: Any) -> Ended:
        """Start and wait for the end."""
        process = self.start(*more, **how)
        _, err = process.communicate(timeout=50)
        return Ended(process.returncode, err)

    def finish(self) -> Ended:
        """Run to the end."""
        ended = self.run()
        assert ended.code == 0, ended.err
        return ended

    def send(self, process: subprocess.Popen, number: signal.Signals, *, after_s: float) -> None:
        """Send a signal after some seconds; one that was stopped goes on first. Nothing, where it has ended."""
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The provider is stopped meanwhile: who waits for it neither ends nor gets on."""
        self.provider.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.provider.send_signal(signal.SIGCONT)

    def has_request_waiting(self) -> bool:
        """Whether bytes lie in a connection to the provider that it has not read: it is stopped, as a rule."""
        port = int(self.environment["COMETAPI_BASE_URL"].rpartition(":")[2])
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, here, _, _, queues, *_ = line.split()
            if int(here.rpartition(":")[2], 16) == port and int(queues.rpartition(":")[2], 16) > 100:
                return True
        return False

    def is_waiting_for_the_state(self, process: subprocess.Popen) -> bool:
        """Whether it has the state open and sleeps between two tries to lock it: in a call, not in its event loop."""
        folder = Path(f"/proc/{process.pid}")
        try:
            is_open = any(os.path.realpath(fd) == str(self.state) for fd in (folder / "fd").iterdir())
            return is_open and "nanosleep" in (folder / "wchan").read_text()
        except OSError:
            return False

    def kill(self, process: subprocess.Popen, *, after_s: float = 0.0) -> bool:
        """SIGKILL, at once or after some seconds. False where the process has ended by itself before."""
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            self.kills += 1
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def close(self) -> None:
        """End what was started, by its pid, whatever the test left running."""
        for process in [*self.started, self.provider]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

    def script(self, *faults: str) -> None:
        """Queue faults, each for the next call at its door."""
        self._post({"script": faults})

    def chances(self, **faults: float) -> None:
        """Change the weather: the chance of each fault."""
        self._post({"faults": {name.replace("_", "-"): chance for name, chance in faults.items()}})

    def _post(self, wish: dict[str, Any]) -> None:
        url = f"{self.environment['COMETAPI_BASE_URL']}/_faults"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(wish).encode())) as reply:
            assert reply.status == 200

    # ---- the judge ----------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> dict:
        with urllib.request.urlopen(f"{self.environment['COMETAPI_BASE_URL']}/_ledger") as reply:
            return json.load(reply)

    @property
    def creates(self) -> list[dict]:
        return [create for page in self.ledger["accounts"].values() for create in page["creates"]]

    @property
    def charged(self) -> int:
        return self.ledger["totals"]["charged"]

    @property
    def clips(self) -> list[Path]:
        return sorted(self.out.joinpath("storm").glob("*.mp4"))

    def rows(self, sql: str, *values: Any) -> list[tuple]:
        with closing(sqlite3.connect(self.state)) as state:
            return state.execute(sql, values).fetchall()

    def edit(self, sql: str, *values: Any) -> None:
        """Change the state by hand."""
        with closing(sqlite3.connect(self.state)) as state:
            state.execute(sql, values)
            state.commit()

    def statuses(self) -> dict[str, int]:
        return dict(self.rows("SELECT status, count(*) FROM tasks GROUP BY status"))

    def assert_whole(self, clips: list[Path]) -> None:
        """Each of these files is, from its first byte to its last, a clip that this provider made."""
        generations = [g["task_id"] for page in self.ledger["accounts"].values() for g in page["generations"]]
        sold = {stamped(generation_id) for generation_id in generations}
        assert all(clip.read_bytes() in sold for clip in clips)

    def assert_each_paid_once_and_whole(self) -> None:
        """One charge a task, and the clip at home is the one that was paid for under the task's own id."""
        ledger = self.ledger
        totals = ledger["totals"]
        assert totals["charged"] == self.tasks
        assert not totals["twice"]
        assert totals["leaks"] == 0
        assert self.statuses() == {"downloaded": self.tasks}
        assert len(self.clips) == self.tasks
        sold = {g["external_task_id"]: g for page in ledger["accounts"].values() for g in page["generations"]}
        rows = self.rows(
            "SELECT t.external_task_id, t.generation_id, t.prompt, a.path, a.sha256"
            " FROM tasks t JOIN assets a ON a.task = t.id AND a.kind = 'video'"
        )
        for external_id, generation_id, prompt, path, sha256 in rows:
            clip = (self.out / path).read_bytes()
            assert (sold[external_id]["task_id"], sold[external_id]["prompt"]) == (generation_id, prompt)
            assert clip == stamped(generation_id)
            assert hashlib.sha256(clip).hexdigest() == sha256
        assert [path.name for path in self.out.joinpath("storm").glob(".*.part")] == []


def poll(condition: Callable[[], Any], *, within_s: float = 30.0) -> None:
    """Ask until it is so: for what nobody announces."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not so within {within_s} s"
        time.sleep(0.01)


def wait_for(process: subprocess.Popen, word: str, times: int = 1, *, or_the_end: bool = False) -> bool:
    """Read the process's lines until `word` was said so often: an event to wait for, never a pause.

    False where the process has ended before, and that is all right with the caller.
    """
    assert process.stderr
    for _ in range(times):
        while word not in (line := _line(process.stderr.fileno())):
            if not line and or_the_end:
                return False
            assert line, f"the process ended before it said {word!r}"
    return True


def _line(pipe: int) -> str:
    """One line, byte by byte: what a buffer had taken of the next ones, `select` would not see."""
    line = bytearray()
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], 30)
        assert ready, f"nothing more was said in 30 s, after {line!r}"
        byte = os.read(pipe, 1)
        if not byte:
            break
        line += byte
    return line.decode()
