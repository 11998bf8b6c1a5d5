"""How long a person waits: from the command until it answers, and until the first create call of a paid run.

Every start has an `import click` of the same Python right before it, and its ratio is to that one: what else the
machine does meanwhile weighs on both. Nothing here is a simulator: the paid run's create call goes to a bare loopback
server in this process, which notes the time and refuses it.
"""

from __future__ import annotations

import http.server
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from record import SMOKE, publish

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 1 if SMOKE else 15
TASKS = 10 if SMOKE else 1000
CLICK = ("-c", "import click")
GOALS = {"batcher --help": 110, "first create call": 800}
"""Milliseconds on the machine where `import click` took 39."""
CLICK_MS = 39


class Gateway(http.server.BaseHTTPRequestHandler):
    """Notes when the first create call came; takes none."""

    first: threading.Event
    at: float

    def do_POST(self) -> None:
        if not Gateway.first.is_set():
            Gateway.at = time.perf_counter()
            Gateway.first.set()
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Kling's words for "not now"."""
        body = json.dumps({"code": 5001, "message": "server temporarily unavailable"}).encode()
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = _environment(f"http://127.0.0.1:{server.server_address[1]}")
        _manifest(home, "small.yaml", 8, provider="simulator")
        _manifest(home, "paid.yaml", TASKS, provider="cometapi")
        quick = environment | {"BATCHER_SIMULATOR": "time_scale=0.001,clips=sample"}
        _start(home, quick, "-m", "batcher", "run", "small.yaml", "-q")
        starts: dict[str, Callable[[], float]] = {
            "import batcher": lambda: _start(home, environment, "-c", "import batcher"),
            "batcher --help": lambda: _start(home, environment, "-m", "batcher", "--help"),
            "batcher status": lambda: _start(home, environment, "-m", "batcher", "status"),
            "batcher plan": lambda: _start(home, environment, "-m", "batcher", "plan", "small.yaml"),
            "first create call": lambda: _until_the_first_create(home, environment),
        }
        rows = []
        for name, start in starts.items():
            pairs = [(_start(home, environment, *CLICK), start()) for _ in range(RUNS + 1)][1:]  # the first warms up
            click, took = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(mine / theirs for theirs, mine in pairs)
            goal = f"≤ {GOALS[name] / CLICK_MS:.1f}" if name in GOALS else ""
            rows.append((name, f"{took * 1000:.0f} ms", f"{click * 1000:.0f} ms", f"{ratio:.1f}", goal))
    server.shutdown()
    publish(
        "startup",
        ("start", "median", "import click beside it", "ratio", "goal"),
        rows,
        notes=(
            f"{RUNS} starts each. `status` and `plan` are of a state of 8 tasks.",
            f"The first create call is of a paid run of {TASKS:,} tasks, on a state that is new.",
            f"The goals are 110 and 800 ms where `import click` takes {CLICK_MS} ms.",
        ),
    )


def _environment(base_url: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("BATCHER_", "COMETAPI_"))}
    return clean | {"COMETAPI_KEY": "sk-bench-0001", "COMETAPI_BASE_URL": base_url}


def _manifest(home: Path, name: str, tasks: int, *, provider: str) -> None:
    prompts = "\n".join(f"  - Lighthouse number {n} in a storm, 35mm film grain" for n in range(tasks))
    head = f"provider: {provider}\ndefaults: {{model_name: kling-v1-6}}\nbudget: {{max_usd: 1000}}"
    (home / name).write_text(f"{head}\nprompts:\n{prompts}\n")


def _start(home: Path, environment: dict[str, str], *arguments: str) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=home, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _until_the_first_create(home: Path, environment: dict[str, str]) -> float:
    """Seconds from the start of a process to its first create call. The process is ended then."""
    for stale in home.glob("first.db*"):
        stale.unlink()
    Gateway.first = threading.Event()
    command = [sys.executable, "-m", "batcher", "run", "paid.yaml", "-y", "--state", "first.db", "-o"]
    with tempfile.TemporaryDirectory(dir=home) as out, (home / "log").open("wb") as log:
        began = time.perf_counter()
        with subprocess.Popen([*command, out], cwd=home, env=environment, stdout=log, stderr=log) as child:
            came = Gateway.first.wait(120)
            child.kill()
        if not came:
            sys.exit((home / "log").read_text(errors="replace"))
        return Gateway.at - began


if __name__ == "__main__":
    main()
