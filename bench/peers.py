"""batcher beside what people use instead: the same thirty clips, the same simulator, one run.

The simulator is a process of its own with a fresh world for each contestant: 30 clips of exactly 2 s on 5 slots, so
that nobody can be done before 12 s. What was asked and charged comes from its ledger, what is on disk is held against
the bytes it sent. The peers are in `peers/`, with the reason for each; their packages go into an environment that is
made for the run, and a contestant whose tool is missing is left out by name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from record import SMOKE, publish

from batcher.simulator.clips import stamped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).resolve().parent / "peers"
CLIPS, SLOTS, TAKES_S = (4, 2, 0.2) if SMOKE else (30, 5, 2.0)
IDEAL_S = CLIPS / SLOTS * TAKES_S
ENOUGH_S = 30.0 if SMOKE else 120.0
"""After so long a contestant is stopped; what it has by then counts."""
LOSSES = {"a reset": "reset-after", "a proxy's 502": "html-502-created", "a 504": "5002-created"}
"""Ways to lose the reply of a create call: it is carried out and charged, and the client is not told."""
LOSSES_AFTER = CLIPS // 5
MOST_RUNS = 3
"""So often a command is typed again while clips are missing."""
QUIET_S = 0.5 if SMOKE else 5.0
KEY = "sk-simulated"
SEES_PROCESSES = Path("/proc/self/statm").exists()

MANIFEST = """\
job: peers
provider: cometapi
defaults: {model_name: kling-v1-6}
prompts:
  - file: prompts.txt
budget: {max_usd: 1000}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Who takes part, and how it is started in its folder."""

    name: str
    command: tuple[str, ...]
    more: Mapping[str, str] = field(default_factory=dict)
    """Its own environment."""
    needs: tuple[str, ...] = ()
    """Programs, and modules of the peers' Python."""
    is_variant: bool = False
    """Another setting of one that takes part: only in the table of times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One run of a contestant."""

    seconds: float
    cpu_s: float
    peak_mb: float
    """Of all its processes together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the provider knows, and what is on disk."""

    calls: int
    refused: int
    clips: int
    twice: int
    """Purchases beyond the first of each prompt."""


def contestants(python: str) -> list[Contestant]:
    batcher = (sys.executable, "-m", "batcher", "run", "job.yaml")
    cookbook = Contestant(
        name="asyncio cookbook, looks every 1 s", command=(python, f"{HERE}/cookbook.py"), needs=("httpx",)
    )
    parallel = f"parallel --will-cite -j {SLOTS} --joblog jobs.log --resume-failed --retries 3"
    return [
        Contestant(name="**batcher**, not told the limit", command=batcher),
        Contestant(name=f"**batcher**, `-j {SLOTS}`", command=(*batcher, "-j", str(SLOTS)), is_variant=True),
        Contestant(name="threads, requests, sleep(5)", command=(python, f"{HERE}/threads.py"), needs=("requests",)),
        cookbook,
        _variant(cookbook, "asyncio cookbook, looks every 0.25 s", SLEEP_S="0.25"),
        _variant(cookbook, f"asyncio cookbook, asks for {2 * SLOTS} at once", AT_ONCE=str(2 * SLOTS)),
        Contestant(
            name="GNU parallel + curl",
            command=(*parallel.split(), f"sh {HERE}/clip.sh {{#}} {{}}", "::::", "prompts.txt"),
            needs=("parallel", "curl"),
        ),
        Contestant(
            name="make + curl, ids kept",
            command=("make", "-k", "-j", str(SLOTS), "-f", f"{HERE}/Makefile", f"HERE={HERE}"),
            needs=("make", "curl"),
        ),
        Contestant(name="joblib.Memory", command=(python, f"{HERE}/memo.py"), needs=("joblib", "requests")),
        Contestant(name="DBOS on SQLite", command=(python, f"{HERE}/durable.py"), needs=("dbos", "requests")),
    ]


def _variant(of: Contestant, name: str, **more: str) -> Contestant:
    return Contestant(name=name, command=of.command, more={**of.more, **more}, needs=of.needs, is_variant=True)


class World:
    """A simulator of its own process, and a folder in which one contestant works."""

    def __init__(self, folder: Path, contestant: Contestant, *, script: tuple[str, ...] = ()) -> None:
        self.folder, self.contestant = folder, contestant
        for name in ("out", "prompts", "ids"):
            (folder / name).mkdir(parents=True)
        prompts = [f"Wave {number:02} breaks over the pier" for number in range(1, CLIPS + 1)]
        (folder / "prompts.txt").write_text("\n".join(prompts) + "\n")
        for number, prompt in enumerate(prompts, 1):
            (folder / "prompts" / f"{number:02}.txt").write_text(prompt + "\n")
        (folder / "job.yaml").write_text(MANIFEST)
        command = [sys.executable, "-m", "batcher", "simulate", "--limit", str(SLOTS), "--clips", "stamped"]
        command += ["--generation-s", str(TAKES_S), *(word for name in script for word in ("--script", name))]
        self._simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._simulator.stdout
        address = re.search(r"http://\S+", self._simulator.stdout.readline())
        assert address, "the simulator did not start"
        self.url = address[0]

    def close(self) -> None:
        self._simulator.terminate()
        self._simulator.wait()

    def run(self, *, kill_at: int | None = None) -> Life:
        """Let the contestant work to its end, or kill all its processes once so many clips were charged."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BATCHER_", "COMETAPI_", "CI"))}
        environment |= {"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": self.url, "BATCHER_QUIET_WINDOW": f"{QUIET_S}s"}
        environment |= {"API_KEY": KEY, "API_BASE": f"{self.url}/kling", "AT_ONCE": str(SLOTS), "no_proxy": "*"}
        environment |= {**({"SLEEP_S": "0.1"} if SMOKE else {}), **self.contestant.more}
        began, peak = time.monotonic(), 0.0
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self.contestant.command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            seconds = time.monotonic() - began
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            members = _members(process.pid)
            peak = max(peak, sum(map(_resident_mb, members)))
            if seconds > ENOUGH_S or (kill_at and self.ledger()["totals"]["charged"] >= kill_at):
                for member in (*members, process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(member, signal.SIGKILL)
            time.sleep(0.02)
        return Life(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, peak_mb=peak)

    def ledger(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_ledger", timeout=30) as reply:
            return json.load(reply)

    def last_words(self) -> str:
        """The last line it printed."""
        return ((self.folder / "log").read_text(errors="replace").splitlines() or ["nothing"])[-1]

    def books(self) -> Books:
        """What was asked, what was charged, and how many prompts have a whole clip on disk."""
        ledger = self.ledger()
        pages = ledger["accounts"].values()
        made = [generation for page in pages for generation in page["generations"]]
        bought = Counter(generation["prompt"] for generation in made)
        on_disk = {path.read_bytes() for path in (self.folder / "out").rglob("*.mp4")}
        return Books(
            calls=ledger["totals"]["requests"],
            refused=sum(create["outcome"].startswith("refused") for page in pages for create in page["creates"]),
            clips=len({made_one["prompt"] for made_one in made if stamped(made_one["task_id"]) in on_disk}),
            twice=sum(times - 1 for times in bought.values()),
        )


def _members(leader: int) -> list[int]:
    """All processes of the session that `leader` began, itself among them."""
    members = []
    for folder in Path("/proc").glob("[0-9]*") if SEES_PROCESSES else ():
        with suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                members.append(int(folder.name))
    return members


def _resident_mb(process: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


@contextmanager
def world(root: Path, contestant: Contestant, *, script: tuple[str, ...] = ()) -> Iterator[World]:
    opened = World(Path(tempfile.mkdtemp(dir=root)), contestant, script=script)
    try:
        yield opened
    finally:
        opened.close()


def undisturbed(root: Path, contestant: Contestant) -> list[object]:
    """A row of the first table; raises RuntimeError where it made nothing at all."""
    with world(root, contestant) as here:
        life, books = here.run(), here.books()
        if not books.clips:
            raise RuntimeError(f"{contestant.name}: no clip, and said: {here.last_words()}")
    memory = f"{life.peak_mb:.0f}" if SEES_PROCESSES else "?"
    ratio = f"{life.seconds / IDEAL_S:.2f}"
    row = (f"{life.seconds:.1f}", ratio, books.calls, books.refused, books.clips, f"{life.cpu_s:.1f}", memory)
    return [contestant.name, *row]


def mishaps(root: Path, contestant: Contestant) -> list[object]:
    """A row of the second table."""
    with world(root, contestant) as here:
        here.run(kill_at=CLIPS // 2)
        twice, missing, runs = run_until_whole(here)
    with world(root, contestant, script=(*["ok"] * LOSSES_AFTER, *LOSSES.values())) as here:
        lost = run_until_whole(here)
    return [contestant.name, twice, missing, runs + 1, *lost]


def run_until_whole(here: World) -> tuple[int, int, int]:
    """Type the command until all clips are there: paid twice, missing, runs. The world is as it was left before."""
    for runs in range(1, MOST_RUNS + 1):
        here.run()
        books = here.books()
        if books.clips == CLIPS or runs == MOST_RUNS:
            return books.twice, CLIPS - books.clips, runs
        time.sleep(TAKES_S)  # whoever types it again has seen that it ended
    raise AssertionError


def peers_python(root: Path) -> str:
    """A Python with the peers' packages; this one where they cannot be had, or need not."""
    if SMOKE:
        return sys.executable
    python = str(root / "python" / "bin" / "python")
    pip = ["python3", "-m", "pip", "--python", python, "install", "-q", "-r", str(HERE / "requirements.txt")]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "python")], check=True)
        subprocess.run(pip, check=True, timeout=180, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"the peers' packages could not be installed: {error}", file=sys.stderr)
        return sys.executable
    return python


def lacks(contestant: Contestant, python: str) -> str:
    """The first thing it needs that is not here."""
    for need in contestant.needs:
        if shutil.which(need):
            continue
        if python == sys.executable:
            is_here = find_spec(need) is not None
        else:
            is_here = not subprocess.run(
                [python, "-c", f"import {need}"], capture_output=True, check=False
            ).returncode
        if not is_here:
            return need
    return ""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        root = Path(folder)
        python = peers_python(root)
        missing = {each.name: lacks(each, python) for each in contestants(python)}
        here = [each for each in contestants(python) if not missing[each.name]]
        left_out = [f"Left out, as {need} is not here: {name}." for name, need in missing.items() if need]
        times = []
        for each in here[:3:2] if SMOKE else here:
            try:
                times.append(undisturbed(root, each))
            except RuntimeError as error:
                left_out.append(f"Left out: {error}.")
        worked = {name for name, *_ in times}
        judged = [each for each in here if each.name in worked and not each.is_variant]
        # These count purchases and clips, not seconds: worlds may stand side by side.
        with ThreadPoolExecutor(3) as pool:
            counted = list(pool.map(lambda each: mishaps(root, each), judged[:1] if SMOKE else judged))
    publish(
        "peers",
        ("", "makespan s", f"/ ideal {IDEAL_S:g} s", "API calls", "refused", f"clips of {CLIPS}", "CPU s", "peak MB"),
        times,
        notes=[
            f"{CLIPS} clips of {TAKES_S:g} s on {SLOTS} slots, from the start of the process to its end.",
            "API calls: creates and looks, without downloads. Refused: creates that were.",
            "Peak MB: resident memory of all processes of the contestant added up.",
            *left_out,
        ],
    )
    print()
    publish(
        "peers/mishaps",
        ("", "killed: paid twice", "missing", "runs", f"{len(LOSSES)} replies lost: paid twice", "missing", "runs"),
        counted,
        notes=[
            f"Killed: `kill -9` of all its processes at the {CLIPS // 2}th purchase; its run counts.",
            f"Replies lost: {len(LOSSES)} creates are carried out and charged, and answered by {', '.join(LOSSES)}.",
            f"Missing: not on disk, of {CLIPS}. The command is typed again meanwhile, {MOST_RUNS - 1} times at most.",
            f"batcher's quiet window was {QUIET_S:g} s here; towards a real provider it is 120 s.",
        ],
    )


if __name__ == "__main__":
    main()
