"""Whole runs in virtual time: the real program, the real simulator, and between them a network that can be cut.

Trio's clock jumps whenever everybody waits, so an hour takes milliseconds. `Lab` is one provider and one folder; its
`run` is one `batcher run` from the opened state to the summary.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import yaml

from batcher.choices import Choices
from batcher.connect import open_batch
from batcher.environment import Environment
from batcher.fetch import FetchError, FetchFault, FetchPolicy
from batcher.fetch.interface import Intake
from batcher.fetch.origin import check_url
from batcher.http import ApiClient, httpx
from batcher.manifest import load
from batcher.prepare import prepare
from batcher.providers.cometapi import CometApi
from batcher.runner.session import Stop
from batcher.simulator import Settings, World
from batcher.simulator.app import create_app
from batcher.simulator.clips import sample
from batcher.state.queries import Queries
from batcher.state.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import BinaryIO

    from batcher.batch import Batch
    from batcher.events import Event, EventKind, Summary
    from batcher.fetch import Fetched, Notes
    from batcher.providers.interface import Provider
    from batcher.state.rows import Account
    from batcher.tasks import Status, Task

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
KEY = "sk-flow-0123456789abcdef"
PRICE_USD = 0.26
"""Of one clip as `Lab.manifest` asks for it: kling-v1-6, std, 5 s."""

PIECE_BYTES = 16_384
"""What a socket brings at a time."""

POLICY = FetchPolicy(hosts=("cometapi.com",))


class VirtualClock:
    """The event loop's clock, with a date."""

    def __init__(self) -> None:
        self.start = NOON
        """The date at which the loop's time begins: whoever lives through several loops moves it on."""

    def now(self) -> float:
        return self.start + anyio.current_time()

    def monotonic(self) -> float:
        return anyio.current_time()


class Network(httpx.AsyncBaseTransport):
    """The way to the simulator: it takes time, and loses what it is told to lose."""

    def __init__(self, app: Any, *, latency_s: float = 0.1) -> None:
        self._inner = httpx.ASGITransport(app=app)
        self.latency_s = latency_s
        self.down = False
        """Nothing can connect."""
        self.dead = False
        """The process that would send is no more."""
        self.lost: dict[int, str] = {}
        """Number of a create call (from 1) -> `request` or `reply`, which of the two never arrives."""
        self.posts = 0
        self.at_post: Callable[[int, str], None] = lambda number, where: None
        """Told of each create call: `out` before it arrives, `back` when the provider has answered."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_post = request.method == "POST"
        self.posts += is_post
        number = self.posts if is_post else 0
        if self.down or self.dead:
            raise httpx.ConnectError("Network is unreachable")
        await anyio.sleep(self.latency_s)
        if is_post:
            self.at_post(number, "out")
            await anyio.lowlevel.checkpoint()
        if self.lost.get(number) == "request":
            raise httpx.WriteError("broken pipe")
        response = await self._inner.handle_async_request(request)
        if is_post:
            self.at_post(number, "back")
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(self.latency_s)
        if self.lost.get(number) == "reply":
            raise httpx.ReadError("connection reset by peer")
        return response


class Meddler:
    """Stands between the runner and the provider: some methods are ours, the rest is the provider's own."""

    def __init__(self, api: CometApi, methods: dict[str, Callable[..., Any]]) -> None:
        self._api = api
        for name, method in methods.items():
            setattr(self, name, partial(method, api))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


@dataclass
class Ran:
    """How one run ended."""

    summary: Summary | None
    """None: it was killed."""
    events: list[Event]

    @property
    def exit_code(self) -> int | None:
        return self.summary.exit_code if self.summary else None

    def of(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]


@dataclass
class Ledger:
    """What the simulator was asked, from its own books."""

    document: dict[str, Any]

    @property
    def totals(self) -> dict[str, Any]:
        return self.document["totals"]

    @property
    def creates(self) -> list[dict[str, Any]]:
        return [create for page in self.document["accounts"].values() for create in page["creates"]]

    @property
    def charges(self) -> Counter[str]:
        """External id -> how often it was charged."""
        return Counter(create["external_task_id"] for create in self.creates if create["charged"])

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(create["outcome"] for create in self.creates)


class Lab:
    """One provider, one folder with a manifest, a state and clips."""

    def __init__(self, home: Path, *, latency_s: float = 0.1, key: str = KEY, **settings: Any) -> None:
        self.home = home
        self.folder = home / "life-0"
        self.folder.mkdir()
        self.deaths = 0
        self.backups = 0
        self.clock = VirtualClock()
        self.world = World(Settings(**{"clips": "sample", "time_scale": 1.0, "limit": 100, **settings}))
        self.app = create_app(self.world, clock=self.clock.now)
        self.network = Network(self.app, latency_s=latency_s)
        self.use_key(key)
        self.seed = 0
        self.is_disk_full = False
        """Whether writing a clip fails as on a full disk."""
        self.provider: Callable[[CometApi], Provider] = lambda api: api
        """May put something between the runner and the provider."""
        self.batch: Batch | None = None
        """The one open now."""
        self.kill: Callable[[], None] = lambda: None
        """Ends the process of the run that is under way."""

    interruption = Stop(outcome="interrupted", exit_code=130, reason="Ctrl-C", leaves=True)

    # ---- the user's side ------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def use_key(self, key: str) -> None:
        self.environment = Environment(process={"COMETAPI_KEY": key})
        self.endpoint = self.environment.endpoint("cometapi")

    def manifest(self, prompts: int | list[str] = 3, *, job: str = "film", **keys: Any) -> Path:
        """Write a manifest: so many prompts, or these."""
        words = prompts if isinstance(prompts, list) else [f"scene {n} at the sea" for n in range(1, prompts + 1)]
        document = {
            "version": 1,
            "job": job,
            "provider": "cometapi",
            "defaults": {"model_name": "kling-v1-6", "mode": "std", "duration": 5},
            "prompts": [{"id": f"s{n:02}", "prompt": text} for n, text in enumerate(words, 1)],
            **keys,
        }
        path = self.home / f"{job}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def meddle(self, **methods: Callable[..., Any]) -> None:
        """Answer these calls in the provider's place; each method is given the provider first."""
        self.provider = lambda api: Meddler(api, methods)

    def die_at(self, number: int, where: str) -> None:
        """The process dies at this create call (from 1), `out` or `back` as in `Network.at_post`."""
        self.network.at_post = lambda *moment: self.kill() if moment == (number, where) else None

    def forget_state(self) -> None:
        for file in self.folder.glob("state.db*"):
            file.unlink()

    def back_up(self) -> Path:
        """A copy of the state as it is now, as a person would make it."""
        self.backups += 1
        backup = self.home / f"backup-{self.backups}"
        backup.mkdir()
        for file in self.folder.glob("state.db*"):
            shutil.copy(file, backup)
        return backup

    def restore(self, backup: Path) -> None:
        self.forget_state()
        shutil.copytree(backup, self.folder, dirs_exist_ok=True)

    def open(self) -> AbstractAsyncContextManager[Batch]:
        client = ApiClient(base_url=self.endpoint.base_url or "", key=self.endpoint.key, transport=self.network)
        return open_batch(
            self.state,
            endpoint=self.endpoint,
            environment=self.environment,
            clock=self.clock,
            rng=random.Random(self.seed),
            provider=self.provider(CometApi(client, scope=self.endpoint.scope)),
            fetch=self.fetch,
        )

    async def run(
        self,
        manifest: Path,
        *,
        edition: str | None = None,
        watch: Callable[[Event], None] = lambda event: None,
        **choices: Any,
    ) -> Ran:
        """One `batcher run`. `watch` sees each event as it happens, and may end the process."""

        async def work(batch: Batch, emit: Callable[[Event], None]) -> Summary:
            now = datetime.fromtimestamp(self.clock.now(), UTC)
            loaded = load(manifest)
            prepared = prepare(loaded, endpoint=self.endpoint, state=batch.store, now=now, edition=edition)
            return await batch.run(prepared, Choices(**{"out": self.out, **choices}), emit)

        return await self._process(work, watch)

    async def collect(self, job: str | None = None, **options: Any) -> Ran:
        """One `batcher collect`."""
        return await self._process(lambda batch, emit: batch.collect(job, emit, **options))

    async def retry(self, tasks: list[Task], **choices: Any) -> Ran:
        """One `batcher retry` of these tasks."""
        return await self._process(lambda batch, emit: batch.retry(tasks, Choices(**choices), emit))

    async def _process(self, work: Any, watch: Callable[[Event], None] = lambda event: None) -> Ran:
        """A process, from its start to its end; `kill` ends it as SIGKILL does: what it knew is gone."""
        events: list[Event] = []
        summary = None
        started_in = self.folder
        with anyio.CancelScope() as life:

            def emit(event: Event) -> None:
                events.append(event)
                watch(event)

            def kill() -> None:
                if life.cancel_called:
                    return
                self._leave_behind()
                self.network.dead = True
                life.cancel()
                if self.batch and self.batch.session:
                    self.batch.session.abort()  # create calls in flight are cut too

            self.kill = kill
            async with self.open() as self.batch:
                summary = await work(self.batch, emit)
        self.batch = None
        self.network.dead = False
        return Ran(None if self.folder != started_in else summary, events)

    def _leave_behind(self) -> None:
        """Go on in a copy of the folder as it is at this moment: nothing that a dying run still writes is in it."""
        self.deaths += 1
        before, self.folder = self.folder, self.home / f"life-{self.deaths}"
        shutil.copytree(before, self.folder)

    async def fetch(self, url: str, sink: BinaryIO, notes: Notes | None = None) -> Fetched:
        """A download by the same rules as the real one, over the same network as everything else."""
        check_url(url, POLICY)
        if self.is_disk_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        request = httpx.Request("GET", url)
        intake = Intake(sink, max_bytes=POLICY.max_bytes)
        try:
            if self.network.down or self.network.dead:
                raise httpx.ConnectError("Network is unreachable")
            response = await httpx.ASGITransport(app=self.app).handle_async_request(request)
            pieces = [piece async for piece in response.stream]
        except (httpx.HTTPError, OSError) as exc:
            raise FetchError(FetchFault.NETWORK, type(exc).__name__) from exc
        if response.status_code != 200:
            is_gone = 400 <= response.status_code < 500
            raise FetchError(FetchFault.GONE if is_gone else FetchFault.NETWORK, f"HTTP {response.status_code}")
        length = response.headers.get("content-length")
        for piece in pieces:
            for start in range(0, len(piece), PIECE_BYTES):
                intake.take(piece[start : start + PIECE_BYTES])
        return intake.close(announced=int(length) if length else None)

    # ---- the judge's side -----------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.world.ledger(now=self.clock.now()))

    def tasks(self, *statuses: Status, job: str | None = None) -> list[Task]:
        """What the state says."""
        queries = Queries.open(self.state)
        try:
            return queries.tasks(Selection(job=job, orphaned=True), statuses=statuses)
        finally:
            queries.close()

    def counts(self) -> dict[str, int]:
        return dict(Counter(str(task.status) for task in self.tasks()))

    def spent_usd(self, job: str = "film", edition: str = "") -> float:
        """What the state counts against the budget."""
        queries = Queries.open(self.state)
        try:
            return queries.spent(job=job, edition=edition, scope=self.endpoint.scope, day="2026-11-22").usd
        finally:
            queries.close()

    def account(self) -> Account:
        """What the state has learnt of the provider."""
        queries = Queries.open(self.state)
        try:
            account = queries.account(self.endpoint.scope)
        finally:
            queries.close()
        assert account
        return account

    def ends(self) -> dict[str, float]:
        """External id -> when the provider had finished it."""
        generations = [g for account in self.world._accounts.values() for g in account.generations.values()]
        return {g.external_id: g.ends_at for g in generations if g.ends_at is not None}

    def busy_share(self, *, slots: int) -> float:
        """Which share of the slots was at work from the first submission until there was too little left to send."""
        ends = self.ends()
        spans = [
            (create["at"], ends[create["external_task_id"]]) for create in self.ledger.creates if create["charged"]
        ]
        start, stop = min(a for a, _ in spans), max(a for a, _ in spans)
        worked = sum(max(0.0, min(end, stop) - begin) for begin, end in spans)
        return worked / (slots * (stop - start))

    def change_provider(self, **settings: Any) -> None:
        """The provider is another from now on."""
        self.world.settings = replace(self.world.settings, **settings)

    def clips(self) -> list[Path]:
        return sorted(self.out.rglob("*.mp4"))

    def assert_all_home(self, tasks: int) -> None:
        """Every task is downloaded, was charged exactly once, and lies whole on the disk; nothing else does."""
        assert self.counts() == {"downloaded": tasks}
        charges = self.ledger.charges
        assert len(charges) == tasks
        assert set(charges.values()) == {1}
        assert len(self.clips()) == tasks
        assert all(clip.read_bytes() == sample() for clip in self.clips())
        assert not list(self.out.rglob("*.part"))
