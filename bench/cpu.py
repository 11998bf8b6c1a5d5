"""What the runner costs the machine: CPU and memory of the whole client process, the simulator in another one.

The times of the generations are compressed and the clips tiny, so what is left is the runner's own work. Beside it,
in the same minute: a bare loop that makes as many requests with the same HTTP client and keeps nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import record
from lab import Case, manifest

from batcher.http import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME_SCALE = 0.005 if record.SMOKE else 0.03
"""A clip takes about 3 s instead of 90."""
PATIENCE_S = 600.0
KEY = "sk-bench-0123456789abcdef"
SIZES = ((10, 10),) if record.SMOKE else ((300, 20), (2_000, 200), (4_000, 1_000))
"""Tasks and slots."""

BARE = """
import json, sys, anyio
from batcher.http import httpx
url, posts, gets, clips = sys.argv[1], *map(int, sys.argv[2:])
async def main():
    limits = httpx.Limits(max_connections=10, max_keepalive_connections=10, keepalive_expiry=60)
    async with httpx.AsyncClient(base_url=url, limits=limits, headers={"Authorization": "Bearer sk-bare"}) as client:
        made = []
        async def post(number):
            body = {"model_name": "kling-v1-6", "mode": "std", "duration": "5", "prompt": f"scene {number}"}
            reply = await client.post("/kling/v1/videos/text2video", json=body)
            made.append(reply.json()["data"]["task_id"])
        async def get(number):
            (await client.get(f"/kling/v1/videos/text2video/{made[number % len(made)]}")).json()
        limiter = anyio.CapacityLimiter(10)
        async def limited(call, number):
            async with limiter:
                await call(number)
        for call, count in ((post, posts), (get, gets)):
            async with anyio.create_task_group() as group:
                for number in range(count):
                    group.start_soon(limited, call, number)
anyio.run(main)
"""


TIMED = """
import sys, time
from pathlib import Path
from batcher.__main__ import main
kept, *sys.argv[1:] = sys.argv[1:]
try:
    main()
finally:
    Path(kept).write_text(str(time.thread_time()))
"""
"""batcher, which leaves behind what its first thread took: all but downloads and posters, which have their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one process took."""

    cpu_s: float
    peak_mb: float
    wall_s: float
    code: int


def child(arguments: list[str], **environment: str) -> Used:
    """Run a Python process to its end. Its own CPU and memory, nobody else's."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Used(
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
        wall_s=time.perf_counter() - started,
        code=process.returncode,
    )


@contextmanager
def simulator(*, limit: int, time_scale: float = TIME_SCALE) -> Iterator[str]:
    """A provider in a process of its own. Its address."""
    options = [f"--limit={limit}", f"--time-scale={time_scale}", "--clips=sample", "--port=0"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "batcher", "simulate", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        try:
            yield next(word for word in words if word.startswith("http://"))
        finally:
            process.terminate()


def totals(url: str) -> dict[str, Any]:
    """What the provider was asked for."""
    reply = httpx.get(f"{url}/_ledger", timeout=60)
    return dict(json.loads(reply.content)["totals"])


def run(url: str, home: Path, *, tasks: int, limit: int) -> tuple[Used, float]:
    """One `batcher run` of so many tasks, and the CPU seconds of its event loop."""
    path, kept = manifest(Case(tasks=tasks), home), home / "loop.txt"
    words = [
        "-c",
        TIMED,
        str(kept),
        "run",
        str(path),
        "--yes",
        "-q",
        f"-j{limit}",
        f"--state={home}/state.db",
        f"-o{home}/out",
    ]
    used = child(words, COMETAPI_BASE_URL=url, COMETAPI_KEY=KEY)
    return used, float(kept.read_text())


def main() -> None:
    rows = []
    start = child(["-m", "batcher", "doctor", "--help"])
    for tasks, limit in SIZES:
        with tempfile.TemporaryDirectory() as home, simulator(limit=limit) as url:
            ours, loop_s = run(url, Path(home), tasks=tasks, limit=limit)
            assert ours.code == 0, f"the run ended with {ours.code}"
            asked = totals(url)
        with simulator(limit=10**6) as url:
            calls = [asked["creates"], asked["looks"] + asked["lists"], asked["downloads"]]
            bare = child(["-c", BARE, url, *map(str, calls)])
        each = (ours.cpu_s - start.cpu_s) / tasks
        rows.append(
            (
                f"{tasks:,} / {limit:,}",
                f"{1000 * each:.1f}",
                f"{1000 * (loop_s - start.cpu_s) / tasks:.1f}",
                f"{sum(calls) / tasks:.1f}",
                f"{1000 * bare.cpu_s / tasks:.2f}",
                f"{ours.cpu_s / bare.cpu_s:.2f}",
                f"{ours.peak_mb:.0f}",
                f"{ours.wall_s:.0f}",
            )
        )
        print(rows[-1], calls, flush=True)
    record.publish(
        "cpu",
        ("tasks / slots", "CPU ms a task", "event loop", "requests", "bare loop", "of bare's", "peak MB", "wall s"),
        rows,
        notes=(
            "The whole process, then its event loop alone: without downloads, checks, posters and their syncs.",
            "The start of the process is taken off both. The bare loop keeps nothing and makes no poster.",
        ),
    )


if __name__ == "__main__":
    main()
