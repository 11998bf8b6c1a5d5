"""One person with one manifest, over many commands in virtual time. The person remembers what they agreed to pay for.

Each verb is a process of its own, in an event loop of its own; the calendar goes on from one to the next.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import anyio
import trio
import yaml
from trio import testing

from batcher.cli import resolve as resolve_command
from batcher.cli import retry as retry_command
from batcher.cli.entry import run_command_line
from batcher.errors import UnavailableError, UsageError
from batcher.identity import derive_namespace, external_task_id
from batcher.manifest import load
from batcher.prepare import prepare
from batcher.simulator.clips import sample
from batcher.simulator.faults import Moods
from batcher.state.queries import Queries
from batcher.tasks import Status

from .harness import KEY, Lab, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.tasks import Task

    from .harness import Ran

ROTATED_KEY = "sk-flow-rotated-0123456789"
"""Another key of the same account."""
ELSEWHERE_KEY = "sk-flow-elsewhere-0123456789"
"""The key of another account at the same provider."""
KEYS = (KEY, ROTATED_KEY, ELSEWHERE_KEY)

WORDS = (
    "a harbour at dawn",
    "a kite over the dunes",
    "a lighthouse in the rain",
    "a fox in the snow",
    "simulate failure, softly",
    "simulate refusal, softly",
)
"""Prompts. The last two are refused by the provider's moderation: after they were paid, and before."""

FOR_EVER_S = 40 * 86400.0
"""No command takes longer; one that does hangs."""


def clip_of(generation_id: str) -> bytes:
    """The clip of this generation: whole, and like no other."""
    return sample() + _box(generation_id)


def foreign_clip(size: int) -> bytes:
    """A whole clip of that many bytes that somebody made of one of ours."""
    return sample() + _box("x" * (size - len(sample()) - 8))


def author_of(clip: bytes) -> str:
    """The generation whose clip this is, if it is one."""
    return clip[len(sample()) + 8 :].decode()


def _box(text: str) -> bytes:
    return (8 + len(text)).to_bytes(4, "big") + b"free" + text.encode()


@dataclass
class Wishes:
    """What the manifest says."""

    job: str = "film"
    edition: int = 1
    prompts: list[int] = field(default_factory=lambda: [0, 1])
    """Places in `WORDS`."""
    prefix: str = "s"
    """Of their ids."""
    takes: int = 1
    attempts: int = 1
    max_usd: float | None = None


@dataclass
class Consent:
    """What a person agreed to pay for one video, beyond the first purchase."""

    attempts: int = 1
    """`run.attempts`, for failures of the provider's own."""
    retries: int = 0
    """After any failure."""
    again: int = 0
    """Though the last one may still come, or has: `--pay-again`, `--buy-again`."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What a run would do, as far as the judge asks."""

    job: str
    edition: str
    unfinished_edition: bool
    hashes: tuple[str, ...]
    """Of what the manifest wants; nothing for an unfinished edition."""
    known: frozenset[str]
    names: frozenset[str]
    renamed: dict[str, Task]
    has_work: bool


class Life(Lab):
    """A lab, and the person in it."""

    def __init__(self, **settings: Any) -> None:
        self._stack = contextlib.ExitStack()
        home = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="life-", dir=_quick_disk()))
        super().__init__(Path(home), **settings)
        for target, stand_in in (
            ("batcher.simulator.app._content", _own_content),
            ("batcher.simulator.keys.account_name", lambda key: "elsewhere" if key == ELSEWHERE_KEY else "home"),
            ("batcher.cli.resolve.open_batch", lambda *_, **__: self.open()),
            ("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True),
        ):
            self._stack.enter_context(mock.patch(target, stand_in))
        variables = {"COMETAPI_KEY": KEY, "SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}
        self._stack.enter_context(mock.patch.dict("os.environ", variables))
        self.key = KEY
        self.wishes = Wishes()
        self.consents: dict[str, Consent] = {}
        self.told: list[str] = []
        """All that was ever shown."""
        self._contents: dict[str, str] = {}
        self._same: dict[str, str] = {}
        self.jobs: dict[str, tuple[str, str]] = {}
        """Content -> the job and the edition that it was first of."""
        self.touched: dict[str, bytes | None] = {}
        """Clips that a person damaged or took away, by path below the output root: what they made, if it is whole."""
        self.stale: set[str] = set()
        """Contents of which a lost state, or an old backup, may not know the truth until a run has found it out."""
        self.was_forgotten = False
        """Whether a state was lost, or an old one put back."""
        self.receipts_are_whole = True
        """Whether the output folder remembers each create call ever made."""
        self.snapshots: list[Path] = []
        self.fetches = 0
        self.dies_in_fetch = 0

    def close(self) -> None:
        self._stack.close()

    # ---- time -----------------------------------------------------------------------------------------------

    def live(self, work: Callable[[], Any]) -> Any:
        """Do this in an event loop of its own."""

        async def timed() -> Any:
            try:
                with anyio.fail_after(FOR_EVER_S):
                    return await work()
            finally:
                passed.append(anyio.current_time())

        passed: list[float] = []
        trio._core._run._r.seed(0)
        clock = testing.MockClock(autojump_threshold=0)
        try:
            return anyio.run(timed, backend="trio", backend_options={"clock": clock})
        finally:
            self.clock.start += passed[0] + 1

    @property
    def books(self) -> Ledger:
        """The ledger, between two commands."""
        return Ledger(self.world.ledger(now=self.clock.start))

    # ---- who a clip is --------------------------------------------------------------------------------------

    def content_of(self, external_id: str) -> str | None:
        """The content that was bought under this id; None for an id that nobody can have made."""
        content = self._contents.get(external_id)
        return content and self.root_of(content)

    def root_of(self, content: str) -> str:
        """One name for all contents that a renamed job made into one."""
        while content in self._same:
            content = self._same[content]
        return content

    def consent(self, content: str) -> Consent:
        return self.consents.setdefault(self.root_of(content), Consent())

    def _same_as(self, old: str, new: str) -> None:
        old, new = self.root_of(old), self.root_of(new)
        if old == new:
            return
        was, now = self.consent(old), self.consent(new)
        now.attempts = max(now.attempts, was.attempts)
        now.retries += was.retries
        now.again += was.again
        self._same[old] = new

    def look_ahead(self, edition: str | None = None) -> Ahead:
        """What a run would do, read as `plan` reads it; every id that may come of it is known from now on."""
        with contextlib.closing(Queries.open(self.state) if self.state.exists() else Queries.empty()) as state:
            now = datetime.fromtimestamp(self.clock.start, UTC)
            loaded = load(self.manifest_path)
            plan = prepare(loaded, endpoint=self.endpoint, state=state, now=now, edition=edition)
            known = plan.known()
            prepared = Ahead(
                job=plan.job,
                edition=plan.edition,
                unfinished_edition=plan.unfinished_edition,
                hashes=tuple(plan.plan.hashes()),
                known=frozenset(task.content_hash for task in known),
                names=frozenset([*plan.plan.names(), *(task.name for task in known)]),
                renamed=plan.renamed,
                has_work=bool(plan.new(limit=1) or plan.in_flight or plan.known(Status.PENDING)),
            )
        for content in {*prepared.hashes, *prepared.known} - self.jobs.keys():
            self.jobs[content] = (prepared.job, prepared.edition)
            for key in KEYS:
                for attempt in range(1, 12):
                    name = external_task_id(
                        job=prepared.job, content=content, namespace=derive_namespace(key), attempt=attempt
                    )
                    self._contents[name] = content
        return prepared

    # ---- the person's verbs ---------------------------------------------------------------------------------

    @property
    def manifest_path(self) -> Path:
        return self.home / "wishes.yaml"

    def write_manifest(self) -> None:
        wishes = self.wishes
        document = {
            "version": 1,
            "job": wishes.job,
            "provider": "cometapi",
            "edition": f"e{wishes.edition}",
            "defaults": {"model_name": "kling-v1-6", "mode": "std", "duration": 5},
            "prompts": [{"id": f"{wishes.prefix}{n}", "prompt": WORDS[n]} for n in wishes.prompts],
            "takes": wishes.takes,
            "run": {"attempts": wishes.attempts},
            "budget": {} if wishes.max_usd is None else {"max_usd": wishes.max_usd},
        }
        self.manifest_path.write_text(yaml.safe_dump(document, sort_keys=False))

    def go(self, troubles: Sequence[tuple[Any, ...]], *, edition: str | None = None, **choices: Any) -> Ran | None:
        """`batcher run`, in this weather. None where it refused to start."""
        prepared = self.look_ahead(edition)
        attempts = self.wishes.attempts
        for content in () if prepared.unfinished_edition else prepared.hashes:
            consent = self.consent(content)
            consent.attempts = max(consent.attempts, attempts)
        if choices.get("buy_again"):
            for content in prepared.renamed:
                self.consent(content).again += 1
        elif choices.get("adopt_orphans"):
            for content, task in prepared.renamed.items():
                self._same_as(task.content_hash, content)
        return self._weathered(
            lambda watch: self.run(self.manifest_path, watch=watch, edition=edition, **choices), troubles
        )

    def pick_up(self) -> Ran | None:
        """`batcher collect`."""
        return self._weathered(lambda watch: self._process(lambda b, emit: b.collect(None, emit), watch), ())

    def try_again(self, selectors: tuple[str, ...], *, pay_again: bool) -> list[Ran | None]:
        """`batcher retry`: the tasks it would choose, a run for each edition."""
        state = Queries.open(self.state)
        try:
            found = retry_command._find(state, self.wishes.job, None, selectors)
        except UsageError:
            return []
        finally:
            state.close()
        tasks = [t for t in found if retry_command._is_chosen(t, None, pay_again=pay_again)]
        groups: dict[tuple[str, str], list[Task]] = {}
        for task in tasks:
            groups.setdefault((task.job, task.edition), []).append(task)
            consent = self.consent(task.content_hash)
            consent.again += task.status in retry_command.PAID_TWICE
            consent.retries += task.status not in retry_command.PAID_TWICE
        return [
            self._weathered(lambda watch, g=g: self._process(lambda b, emit: b.retry(g, _choices(), emit), watch), ())
            for g in groups.values()
        ]

    def resolve(self, task: Task, *, adopt: str | None = None, drop: bool = False) -> bool:
        """`batcher resolve`, by its own rules. False where the provider does not show that generation."""
        shared = SimpleNamespace(state=self.state, environment=lambda: self.environment)
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                self.live(lambda: resolve_command._resolve(shared, task.external_task_id, task.scope, adopt, drop))
            except UnavailableError:
                return False
        return True

    def read(self, *words: str) -> int:
        """A command that only looks: `plan`, `status`, `show`. It is the real one."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command_line([*words, "--state", str(self.state)])
        self.told += [out.getvalue(), err.getvalue()]
        return code

    def change_key(self, key: str) -> None:
        self.key = key
        self.use_key(key)

    # ---- weather --------------------------------------------------------------------------------------------

    def _weathered(self, command: Callable[..., Any], troubles: Sequence[tuple[Any, ...]]) -> Ran | None:
        script: list[str] = []
        at_event: dict[int, Callable[[], None]] = {}
        outages: list[tuple[float, float]] = []
        self.network.posts, self.network.lost, self.network.at_post = 0, {}, lambda *_: None
        self.fetches, self.dies_in_fetch, self.is_disk_full = 0, 0, False
        slots = 100
        for kind, *how in troubles:
            match kind:
                case "killed at event":
                    at_event[how[0]] = lambda: self.kill()  # noqa: PLW0108 - each process brings its own
                case "killed at call":
                    self.die_at(*how)
                case "killed in download":
                    self.dies_in_fetch = how[0]
                case "lost":
                    self.network.lost[how[0]] = how[1]
                case "outage":
                    outages.append((how[0], how[1]))
                case "Ctrl-C":
                    at_event[how[0]] = lambda twice=how[1]: self._interrupt(twice=twice)
                case "faults":
                    script += how[0]
                case "disk full":
                    self.is_disk_full = True
                case "backed up":
                    at_event[how[0]] = lambda: self.snapshots.append(self.back_up())
                case "slots":
                    slots = how[0]
        self.world.moods = Moods({}, script, seed=0)
        self.change_provider(limit=slots)
        count = iter(range(1, 1_000_000))

        def watch(event: Any) -> None:
            self.told.append(repr(event))
            at_event.get(next(count), lambda: None)()

        async def work() -> Ran | None:
            async with anyio.create_task_group() as group:
                for outage in outages:
                    group.start_soon(self._outage, *outage)
                try:
                    return await command(watch)
                except UsageError as error:
                    self.told.append(repr(error))
                    return None
                finally:
                    group.cancel_scope.cancel()

        try:
            return self.live(work)
        finally:
            self.network.down = False
            self.batch = None

    def _interrupt(self, *, twice: bool) -> None:
        session = self.batch.session if self.batch else None
        if session:
            session.halt(self.interruption)
            if twice:
                session.abort()

    async def _outage(self, after_s: float, for_s: float) -> None:
        await anyio.sleep(after_s)
        self.network.down = True
        await anyio.sleep(for_s)
        self.network.down = False

    async def fetch(self, url: str, sink: Any, notes: Any = None) -> Any:
        self.fetches += 1
        if self.fetches == self.dies_in_fetch:
            sink.write(sample()[:1000])
            sink.flush()
            self.kill()
            await anyio.lowlevel.checkpoint()
        return await super().fetch(url, sink)

    # ---- the judge's side -----------------------------------------------------------------------------------

    def rows(self) -> list[Task]:
        return self.tasks() if self.state.exists() else []

    def attempts(self, task: Task) -> list[dict[str, Any]]:
        state = Queries.open(self.state)
        try:
            return state.attempts(task)
        finally:
            state.close()

    def generations(self) -> dict[str, dict[str, Any]]:
        """By the provider's id."""
        return {g["task_id"]: g for page in self.books.document["accounts"].values() for g in page["generations"]}

    def mark_of(self, generation_id: str) -> str:
        """The fault that this generation was born with."""
        generation = self.world.generation(generation_id)
        return generation.mark if generation else ""

    def may_still_come(self, external_id: str) -> bool:
        """Whether a create call under this id is still on its way to the provider."""
        return any(late.request.get("external_task_id") == external_id for late in self.world._late.values())

    def forget_clips(self) -> None:
        """The whole output folder goes, receipts and all."""
        self.receipts_are_whole = False
        self.touched.update(dict.fromkeys((str(path.relative_to(self.out)) for path in self.clips()), None))
        shutil.rmtree(self.out, ignore_errors=True)


def _quick_disk() -> str | None:
    """A folder in memory, where there is one with room: these lives commit thousands of times."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > 2e9 else None


def _choices() -> Any:
    from batcher.choices import Choices  # noqa: PLC0415

    return Choices()


async def _own_content(_: Any, file: Any) -> bytes:
    return clip_of(file.generation.id)
