"""The real runner in virtual time, against a provider that weighs nothing: hours of generations in seconds.

Trio's clock jumps whenever everybody waits. All that is ours is real: the manifest, the state file, the walks, the
clips on disk. The provider is an object with a limit, times and books. Use: `report = run(Case(limit=50))`;
several runners on one account: `share(Case(...), Case(...))`.
"""

from __future__ import annotations

import io
import math
import random
import tempfile
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from heapq import heappop, heappush
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from trio.testing import MockClock

from batcher.choices import Choices
from batcher.connect import open_batch
from batcher.environment import Environment
from batcher.events import EventKind
from batcher.fetch.interface import Intake
from batcher.generations import (
    Fate,
    Generation,
    GenerationStatus,
    Listing,
    Look,
    Posted,
    Refusal,
    RefusalKind,
    Sight,
    Video,
)
from batcher.manifest import load
from batcher.prepare import prepare
from batcher.tasks import Asset
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import BinaryIO

    from batcher.assets import Folder
    from batcher.batch import Batch
    from batcher.events import Event, Summary
    from batcher.fetch import Fetched, Notes
    from batcher.prepare import Prepared
    from batcher.tasks import Task

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
API_REQUESTS = 10
"""At once, as the API client allows."""
QUEUE_S = 2.0
"""A generation is `submitted` for so long, then `processing`."""

Limits = int | Sequence[tuple[float, int]]
"""How many generations the account takes: a number, or steps (seconds from the start, number)."""
Durations = Callable[[random.Random, Mapping[str, Any]], float]
"""Seconds that the generation of a request takes; the same for the same prompt and seed."""


def lognormal(median_s: float = 90.0, sigma: float = 0.5, *, tail: float = 0.0, factor: float = 8.0) -> Durations:
    """The usual shape of rendering times; a share of `tail` takes `factor` times as long (API notes, 8)."""

    def seconds(rng: random.Random, _: Mapping[str, Any]) -> float:
        value = rng.lognormvariate(math.log(median_s), sigma)
        return value * factor if rng.random() < tail else value

    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run to be measured."""

    tasks: int = 2_000
    limit: Limits = 20
    concurrency: int | None = None
    """A given `-j`."""
    learnt: int | None = None
    """What the state knows of the limit from earlier runs."""
    durations: Durations = field(default_factory=lognormal)
    requests: Sequence[Mapping[str, Any]] = ({},)
    """Parameters of the tasks, taken in turns: `({"mode": "std"}, {"mode": "pro"})`."""
    has_list: bool = True
    is_local: bool = False
    """The API is on this machine, and may be asked more often."""
    callbacks_lost: float | None = None
    """Share of the ends of which no callback tells; None: there are no callbacks."""
    keeps_clips: bool = True
    """False: the clips are not written, and a run takes half the CPU; for figures about the slots alone."""
    latency_s: float = 0.1
    """Of a request, there and back."""
    seed: int = 0
    job: str = "bench"
    choices: Mapping[str, Any] = field(default_factory=dict)
    """More of `batcher.choices.Choices`."""


@dataclass(slots=True, kw_only=True)
class Made:
    """One generation at the account."""

    number: int
    external_id: str
    begin_s: float
    end_s: float


class Account:
    """The provider's side: implements `batcher.providers.interface.Provider`."""

    def __init__(self, case: Case, *, scope: str) -> None:
        self.case = case
        self.scope = scope
        self.steps = [(0.0, case.limit)] if isinstance(case.limit, int) else list(case.limit)
        self.made: list[Made] = []
        self.posts = self.refused = self.gets = self.lists = self.called = 0
        self._by_external: dict[str, Made] = {}
        self._ends: list[float] = []
        self._requests = anyio.CapacityLimiter(API_REQUESTS)

    def limit_at(self, at_s: float) -> int:
        """How many it takes at a time."""
        return [limit for since, limit in self.steps if since <= at_s][-1]

    async def create(self, request: Mapping[str, Any], *, external_task_id: str) -> Posted:
        async with self._requests:
            await anyio.sleep(self.case.latency_s / 2)
            posted = self._create(request, external_task_id)
            await anyio.sleep(self.case.latency_s / 2)
            return posted

    async def find(self, generation_id: str) -> Look:
        async with self._requests:
            self.gets += 1
            await anyio.sleep(self.case.latency_s / 2)
            number = int(generation_id) - 1
            look = Look(sight=Sight.FOUND, generation=self._shown(self.made[number], anyio.current_time()))
            await anyio.sleep(self.case.latency_s / 2)
            return look

    async def find_external(self, external_task_id: str) -> Look:
        made = self._by_external.get(external_task_id)
        if made is not None:
            return await self.find(str(made.number))
        self.gets += 1
        await anyio.sleep(self.case.latency_s)
        return Look(sight=Sight.ABSENT)

    async def list(self, *, page: int, size: int, wanted: Container[str] | None = None) -> Listing:
        async with self._requests:
            self.lists += 1
            await anyio.sleep(self.case.latency_s / 2)
            now, older = anyio.current_time(), max(0, len(self.made) - (page - 1) * size)
            newest = self.made[max(0, older - size) : older][::-1]
            chosen = [made for made in newest if wanted is None or str(made.number) in wanted]
            shown = tuple(self._shown(made, now) for made in chosen) if self.case.has_list else ()
            await anyio.sleep(self.case.latency_s / 2)
            return Listing(supported=self.case.has_list, generations=shown, shown=len(newest))

    async def call_back(self, take: Callable[[str], object]) -> None:
        """Tell of each end, but for some, within half a second; as `batcher.runner.session.Hints`."""
        luck, known, ends = random.Random(self.case.seed), 0, list[tuple[float, str]]()
        while True:
            for made in self.made[known:]:
                heappush(ends, (made.end_s, made.external_id))
            known = len(self.made)
            while ends and ends[0][0] <= anyio.current_time():
                external_id = heappop(ends)[1]
                if luck.random() >= (self.case.callbacks_lost or 0.0):
                    self.called += 1
                    take(external_id)
            await anyio.sleep(0.5)

    def _create(self, request: Mapping[str, Any], external_id: str) -> Posted:
        now = anyio.current_time()
        self.posts += 1
        while self._ends and self._ends[0] <= now:
            heappop(self._ends)
        if external_id in self._by_external:
            return Posted(fate=Fate.EXISTS, detail="already exists")
        if len(self._ends) >= self.limit_at(now):
            self.refused += 1
            message = "parallel task over resource pack limit"
            refusal = Refusal(kind=RefusalKind.BUSY, code="1303", message=message, http_status=429)
            return Posted(fate=Fate.REFUSED, refusal=refusal, detail=f"1303: {message}")
        luck = random.Random(f"{self.case.seed} {request['prompt']}")
        end_s = now + self.case.durations(luck, request)
        made = Made(number=len(self.made) + 1, external_id=external_id, begin_s=now, end_s=end_s)
        self.made.append(made)
        self._by_external[external_id] = made
        heappush(self._ends, end_s)
        return Posted(fate=Fate.ACCEPTED, generation=self._shown(made, now))

    def _shown(self, made: Made, now: float) -> Generation:
        status, updated, videos = GenerationStatus.SUBMITTED, made.begin_s, ()
        if now >= made.end_s:
            url = f"https://cdn.klingai.com/{made.number}.mp4?Expires=1&Signature=none"
            status, updated, videos = GenerationStatus.SUCCEEDED, made.end_s, (Video(url=url),)
        elif now >= made.begin_s + QUEUE_S:
            status, updated = GenerationStatus.PROCESSING, made.begin_s + QUEUE_S
        return Generation(
            id=str(made.number),
            status=status,
            external_task_id=made.external_id,
            created_at=NOON + made.begin_s,
            updated_at=NOON + updated,
            videos=videos,
        )


class VirtualClock:
    """The event loop's clock, with a date."""

    def now(self) -> float:
        return NOON + anyio.current_time()

    def monotonic(self) -> float:
        return anyio.current_time()


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of it. Seconds are virtual, but `wall_s` and `cpu_s`."""

    makespan_s: float
    """From the first create call until the last clip is home."""
    ideal_s: float
    """The same of a runner that learns of everything at once, with the same order and times."""
    used: float
    """Share of the slots at work, until the last generation was accepted."""
    refused: float
    """Share of the create calls that met a full account."""
    gets: float
    """Single looks a task; `lists`: list calls a task."""
    lists: float
    lag_s: float
    """Mean, from the end of a generation until the state knew of it."""
    wall_s: float
    cpu_s: float
    """Of this process, from the opened state to the summary; planning left out."""
    account: Account
    summaries: list[Summary]

    @property
    def ratio(self) -> float:
        return self.makespan_s / self.ideal_s


def run(case: Case, *, watch: Callable[[Event], None] | None = None) -> Report:
    """One run on a fresh state. `watch` sees each event as it happens."""
    return share(case, watch=watch)


def share(*cases: Case, watch: Callable[[Event], None] | None = None) -> Report:
    """Several runners, each with a state of its own, on one account: that of the first case."""
    clock = MockClock(autojump_threshold=0)
    with tempfile.TemporaryDirectory(dir=_memory()) as home:
        folders = [Path(home, str(number)) for number in range(len(cases))]
        for folder in folders:
            folder.mkdir()
        return anyio.run(_share, cases, folders, watch, backend="trio", backend_options={"clock": clock})


async def _share(cases: Sequence[Case], folders: Sequence[Path], watch: Callable[[Event], None] | None) -> Report:
    address = {"COMETAPI_BASE_URL": "http://127.0.0.1:9"} if cases[0].is_local else {}
    environment = Environment(process={"COMETAPI_KEY": "sk-bench-0123456789abcdef", **address})
    account = Account(cases[0], scope=environment.endpoint("cometapi").scope)
    seen: dict[str, float] = {}
    last_s, summaries, started = [0.0], [], list[tuple[float, float]]()

    def emit(event: Event) -> None:
        if watch is not None:
            watch(event)
        if event.kind is EventKind.SUCCEEDED and event.task is not None:
            seen[event.task.external_task_id] = anyio.current_time()
        if event.kind is EventKind.DONE:
            last_s[0] = anyio.current_time()

    async def one(case: Case, folder: Path) -> None:
        async with _planned(case, folder, environment, account) as (batch, prepared):
            started.append((time.perf_counter(), time.process_time()))
            choices = Choices(out=folder / "out", concurrency=case.concurrency, **case.choices)
            summaries.append(await batch.run(prepared, choices, emit))

    async with anyio.create_task_group() as group:
        for case, folder in zip(cases, folders, strict=True):
            group.start_soon(one, case, folder)
    made = account.made
    return Report(
        makespan_s=last_s[0] - made[0].begin_s,
        ideal_s=ideal_s(account),
        used=used(account),
        refused=account.refused / account.posts,
        gets=account.gets / len(made),
        lists=account.lists / len(made),
        lag_s=sum(seen[m.external_id] - m.end_s for m in made if m.external_id in seen) / max(1, len(seen)),
        wall_s=time.perf_counter() - started[0][0],
        cpu_s=time.process_time() - started[0][1],
        account=account,
        summaries=summaries,
    )


class Nowhere:
    """A job's output folder that takes clips and keeps none; all else is the real one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    async def save(self, task: Task, url: str, **_: Any) -> tuple[Asset, ...]:  # noqa: ARG002 - as the real one
        at = iso(VirtualClock().now())
        facts = {"size_bytes": len(clip()), "sha256": "0" * 64, "downloaded_at": at}
        return (Asset(task_id=task.id, kind="video", path=f"{task.output}.mp4", **facts),)


@asynccontextmanager
async def _planned(
    case: Case, folder: Path, environment: Environment, account: Account
) -> AsyncIterator[tuple[Batch, Prepared]]:
    endpoint = environment.endpoint("cometapi")
    async with open_batch(
        folder / "state.db",
        endpoint=endpoint,
        environment=environment,
        clock=VirtualClock(),
        rng=random.Random(case.seed),
        provider=account,
        fetch=fetch,
    ) as batch:
        if case.callbacks_lost is not None:
            batch.hints = account.call_back
        if not case.keeps_clips:
            real = batch.folder
            batch.folder = lambda task: Nowhere(real(task))
        loaded = load(manifest(case, folder))
        prepared = prepare(loaded, endpoint=endpoint, state=batch.store, now=datetime.fromtimestamp(NOON, UTC))
        if case.learnt is not None:
            batch.store.save_learnt(endpoint.scope, limit=case.learnt, durations={}, now=NOON)
        yield batch, prepared


def manifest(case: Case, folder: Path) -> Path:
    """A manifest of so many prompts."""
    prompts = folder / "prompts.jsonl"
    with prompts.open("w", encoding="utf-8") as file:
        for number in range(case.tasks):
            extra = case.requests[number % len(case.requests)]
            file.write(dumps({"id": f"s{number:06}", "prompt": f"{case.job}, scene {number}", **extra}) + "\n")
    path = folder / f"{case.job}.yaml"
    document = {
        "version": 1,
        "job": case.job,
        "provider": "cometapi",
        "defaults": {"model_name": "kling-v1-6", "mode": "std", "duration": 5},
        "prompts": [{"file": prompts.name}],
        "run": {"timeout": "4h"},
    }
    path.write_text(dumps(document), encoding="utf-8")
    return path


async def fetch(url: str, sink: BinaryIO, notes: Notes | None = None) -> Fetched:  # noqa: ARG001 - every clip is the same
    """A download that takes no time."""
    intake, data = Intake(sink, max_bytes=1_000_000), clip()
    intake.take(data)
    return intake.close(announced=len(data))


@cache
def clip() -> bytes:
    """The smallest clip that passes every check: one picture where the extra `media` is installed, else boxes."""
    try:
        import av  # noqa: PLC0415 - optional
    except ImportError:
        return b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x09mdat\0" + b"\0\0\0\x08moov"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def used(account: Account) -> float:
    """Share of the slots at work from the first accepted create call to the last; above the limit counts as full."""
    first, last = account.made[0].begin_s, account.made[-1].begin_s
    changes = [(m.begin_s, 1) for m in account.made] + [(m.end_s, -1) for m in account.made]
    changes += [(since, 0) for since, _ in account.steps]
    worked = there = 0.0
    running, before = 0, first
    for at_s, change in sorted(changes):
        until = min(max(at_s, first), last)
        limit = account.limit_at(before)
        worked += min(running, limit) * (until - before)
        there += limit * (until - before)
        running, before = running + change, until
    return worked / there if there else 1.0


def ideal_s(account: Account) -> float:
    """The makespan of a runner without any delay that starts the same generations in the same order."""
    first = account.made[0].begin_s
    now, ends = first, []
    for made in account.made:
        while True:
            while ends and ends[0] <= now:
                heappop(ends)
            if len(ends) < account.limit_at(now):
                break
            now = min([ends[0], *(since for since, _ in account.steps if since > now)])
        heappush(ends, now + made.end_s - made.begin_s)
    return max(ends) - first


def _memory() -> str | None:
    """A folder in memory where there is one: the figures are not about this machine's disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
