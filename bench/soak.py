"""Does the memory of a run grow with the tasks that are finished? Twenty thousand through the real command.

The client is a process of its own, so that nothing of the provider is counted; its resident memory is read each time
another thousand clips are home. The clips are deleted as they come: the disk is not what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record
from cpu import KEY, simulator
from lab import Case, manifest

TASKS, STEP, SLOTS = (40, 10, 10) if record.SMOKE else (20_000, 1_000, 200)
TIME_SCALE = 0.005 if record.SMOKE else 0.02


def rss_mb(pid: int) -> float:
    """Resident memory of a process, from Linux's /proc (proc(5)); elsewhere from `ps`."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        words = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()
        return int(words[1]) / 1024
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout) / 1024


def soak(url: str, home: Path) -> list[tuple[int, float, float]]:
    """Clips at home, MB, seconds; at each step."""
    words = ["run", str(manifest(Case(tasks=TASKS), home)), "--yes", "--json", f"-j{SLOTS}"]
    words += [f"--state={home}/state.db", f"-o{home}/out"]
    environment = {**os.environ, "COMETAPI_BASE_URL": url, "COMETAPI_KEY": KEY}
    found, done, started = [], 0, time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "batcher", *words], stdout=subprocess.PIPE, cwd=home, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("event") != "done":
                continue
            (home / event["path"]).unlink(missing_ok=True)
            done += 1
            if done % STEP == 0:
                found.append((done, rss_mb(process.pid), time.perf_counter() - started))
    assert process.returncode == 0, f"the run ended with {process.returncode}"
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as home, simulator(limit=SLOTS, time_scale=TIME_SCALE) as url:
        found = soak(url, Path(home))
    first, highest = found[0][1], max(mb for _, mb, _ in found)
    shown = found if len(found) <= 8 else [*found[:2], *found[4::5]]
    record.publish(
        "soak",
        ("clips at home", "memory, MB", "against the first", "seconds"),
        [(f"{done:,}", f"{mb:.1f}", f"{mb / first:.2f}", f"{at:.0f}") for done, mb, at in shown],
        notes=(f"{TASKS:,} tasks on {SLOTS} slots; the highest at any step: {highest / first:.2f}.",),
    )


if __name__ == "__main__":
    main()
