"""A plan of a million tasks: from JSONL, CSV and a matrix into the state, and the way back in when it is run again.

Each command runs in a process of its own: its CPU time and its peak memory are what the system says of it. The floor
is the least that such a plan costs with the same tools: `json.loads` of each line and one `executemany` of the rows.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from record import SMOKE, publish

TASKS = int(sys.argv[sys.argv.index("--tasks") + 1]) if "--tasks" in sys.argv else 300 if SMOKE else 1_000_000

FLOOR = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[2], isolation_level=None)
db.execute("CREATE TABLE floor (id INTEGER PRIMARY KEY, name, prompt, source)")
db.execute("BEGIN")
with open(sys.argv[1], encoding="utf-8") as lines:
    rows = ((row["id"], row["prompt"], f"shots.jsonl:{n}") for n, row in enumerate(map(json.loads, lines), 1))
    db.executemany("INSERT INTO floor (name, prompt, source) VALUES (?, ?, ?)", rows)
db.execute("COMMIT")
"""

QUERIES = """
import sys, time
from pathlib import Path
from batcher.state.selection import Selection
from batcher.state.store import Store
store = Store(Path(sys.argv[1]))
chosen = Selection(job="shots", edition="", scope="simulator")
start = time.perf_counter()
store.editions(job="shots", scope="simulator")
store.counts(chosen)
store.waiting(chosen)
store.in_flight("simulator", overdue_before=0.0)
store.open_tasks("simulator")
store.ready(chosen, now=time.time(), limit=4)
print((time.perf_counter() - start) * 1000)
"""


class Cost(NamedTuple):
    """What the system says of one process."""

    cpu_s: float
    memory_mib: float
    out: str


def measured(*arguments: str, folder: Path) -> Cost:
    """Run Python with these arguments; its own CPU time (user and system) and its highest resident memory."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("BATCHER_", "COMETAPI_"))}
    out = folder / "out.txt"
    with out.open("wb") as file:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *arguments],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1), (os.POSIX_SPAWN_DUP2, file.fileno(), 2)],
        )
        _, status, usage = os.wait4(pid, 0)
    text = out.read_text()
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}\n{text}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def words(n: int) -> str:
    return f"A red fox number {n} leaps over a frozen stream at dawn, 35mm film, slow push in, soft rim light"


def jsonl(folder: Path) -> str:
    with (folder / "shots.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": f"s{n:07}", "prompt": words(n)}) + "\n" for n in range(TASKS))
    return "prompts: [{file: shots.jsonl}]"


def csv(folder: Path) -> str:
    with (folder / "shots.csv").open("w", encoding="utf-8") as file:
        file.write("sku,what\n")
        file.writelines(f's{n:07},"{words(n)}"\n' for n in range(TASKS))
    return "prompts: [{file: shots.csv, id: '{{ sku }}', template: '{{ what }}'}]"


def matrix(folder: Path) -> str:  # noqa: ARG001 - as its sisters
    """As many takes, palettes, lights and ratios as make that many tasks of 100 prompts."""
    prompts, ratios, lights, palettes = (2, 3, 5, 10) if SMOKE else (100, 4, 5, 10)
    takes = max(1, TASKS // (prompts * ratios * lights * palettes))
    axes = {
        "aspect_ratio": ["16:9", "9:16", "1:1", "4:3"][:ratios],
        "light": [f"light{n}" for n in range(lights)],
        "palette": [f"palette{n}" for n in range(palettes)],
    }
    text = [f"takes: {takes}", f"matrix: {json.dumps(axes)}", "prompts:"]
    text += [f"  - {{id: p{n}, prompt: '{words(n)}, {{{{ light }}}}, {{{{ palette }}}}'}}" for n in range(prompts)]
    return "\n".join(text)


def main() -> None:
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jsonl(folder)
        floor = measured("-c", FLOOR, str(folder / "shots.jsonl"), str(folder / "floor.db"), folder=folder)
        rows.append(_row("floor: json.loads, executemany", floor, floor, folder / "floor.db"))
        for make in (jsonl, csv, matrix):
            if "--only" in sys.argv and sys.argv[sys.argv.index("--only") + 1] != make.__name__:
                continue
            home = folder / make.__name__
            home.mkdir()
            manifest, state = home / "shots.yaml", home / "state.db"
            manifest.write_text(make(home), encoding="utf-8")
            command = ("-m", "batcher", "{}", str(manifest), "--max-file-mb", "1000", "--state", str(state))
            out = ("-o", str(home / "out"), "--limit", "0")
            for verb, more in (("plan", ()), ("run", out), ("run again", out)):
                cost = measured(*(verb.split()[0] if c == "{}" else c for c in command), *more, folder=home)
                rows.append(_row(f"{make.__name__}: {verb}", cost, floor, state))
                print(*rows[-1], flush=True)
            asked = measured("-c", QUERIES, str(state), folder=home)
            rows.append([f"{make.__name__}: its first queries, ms", "", "", f"{float(asked.out):.2f}", "", ""])
    columns = ["what", "CPU s", "us a task", "times the floor", "peak MiB", "state MB"]
    publish("million", columns, rows, notes=[f"{TASKS:,} tasks; `run` with --limit 0, so that nothing is sent."])


def _row(what: str, cost: Cost, floor: Cost, state: Path) -> list[str]:
    size = f"{sum(p.stat().st_size for p in state.parent.glob(state.name + '*')) / 1e6:.0f}" if state.exists() else ""
    each, ratio = cost.cpu_s / TASKS * 1e6, cost.cpu_s / floor.cpu_s
    return [what, f"{cost.cpu_s:.1f}", f"{each:.1f}", f"{ratio:.1f}", f"{cost.memory_mib:.0f}", size]


if __name__ == "__main__":
    main()
