"""Lives of the real program that end at a chosen statement: forked, traced, and killed by SIGKILL.

A `Mortal` is a lab whose runs are processes of their own, in virtual time. The provider's books are a file that
outlives them, and so is what was still on the wire when the sender died: a call that left may yet arrive.
"""

from __future__ import annotations

import copy
import gc
import json
import mmap
import os
import pickle
import shutil
import signal
import struct
import sys
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import flow.harness
import trio
from flow.harness import KEY, NOON, Lab, Ledger, Network
from PIL import Image
from trio import testing

import batcher
from batcher.assets import media
from batcher.errors import BatcherError
from batcher.http import httpx
from batcher.simulator import World
from batcher.simulator.app import create_app
from batcher.simulator.faults import FAULTS
from batcher.simulator.keys import account_name
from batcher.state import shape

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator
    from types import CodeType, FrameType

    from batcher.events import Event

LIFE_S = 40
"""Real seconds after which a life that hangs is ended; whole ones take a tenth of a second."""

PACKAGE = Path(batcher.__file__).parent
ROOMS = ("runner", "state", "assets")
FILES = ("recall.py", "prepare.py", "batch.py", "connect.py", "fetch/interface.py", "cli/resolve.py")
"""What submits, resolves, brings home and writes down: each statement of it is one to die at."""
NETWORK = (__file__, flow.harness.__file__)
"""Deaths while a request or a reply is on its way, and between two pieces of a clip."""


def mortal_code(extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Prefixes of the files whose statements count; `extra` are further files."""
    return (
        *(f"{PACKAGE / room}{os.sep}" for room in ROOMS),
        *(str(PACKAGE / file) for file in FILES),
        *NETWORK,
        *extra,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """Statements in a row at which a death leaves the same behind: files, the provider's books, calls on the wire."""

    first: int
    length: int
    after: frozenset[str]
    """Names of the files that changed just before."""


@dataclass(slots=True, kw_only=True)
class Life:
    """How one process ended, and what it told."""

    exit_code: int | None = None
    """None: it was killed."""
    died_at: str = ""
    """File and line."""
    statements: int = 0
    spells: list[Spell] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    """Every file and line it came by, where it was asked to remember."""
    told: list[str] = field(default_factory=list)
    crash: str = ""
    """A traceback: it ended in a way that batcher does not know."""
    faults: int = 0
    """How many calls could be made to fail, or did."""
    value: Any = None


class Tracer:
    """Counts the statements of the code that counts, and acts at one of them."""

    def __init__(
        self, at: int = 0, act: Callable[[FrameType], None] | None = None, *, prefixes: tuple[str, ...] = ()
    ) -> None:
        self.at = at
        self.act = act
        self.count = 0
        self.prefixes = prefixes or mortal_code()
        self._counts: dict[CodeType, bool] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        counts = self._counts.get(code)
        if counts is None:
            counts = self._counts[code] = code.co_filename.startswith(self.prefixes)
        return self.line if counts else None

    def line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.at and self.act:
                self.act(frame)
        return self.line


class Census(Tracer):
    """Also notes when a statement finds the world changed by those before it."""

    def __init__(self, footprint: Callable[[], frozenset[Any]], *, prefixes: tuple[str, ...] = ()) -> None:
        super().__init__(prefixes=prefixes)
        self.footprint = footprint
        self.starts: list[tuple[int, frozenset[str]]] = []
        self.places: set[str] = set()
        self._last: frozenset[Any] = frozenset()

    def line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self.count += 1
            self.places.add(where(frame))
            now = self.footprint()
            if now != self._last or self.count == 1:
                self.starts.append((self.count, frozenset(Path(path).name for path, *_ in now ^ self._last)))
                self._last = now
        return self.line

    def spells(self) -> list[Spell]:
        ends = [*(start for start, _ in self.starts[1:]), self.count + 1]
        return [
            Spell(first=start, length=end - start, after=after)
            for (start, after), end in zip(self.starts, ends, strict=True)
        ]


def where(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path.name}:{frame.f_lineno}"


class LongClock:
    """Virtual time that goes on from one life to the next."""

    def __init__(self, began: float) -> None:
        self._began = began

    def now(self) -> float:
        return NOON + self._began + anyio.current_time()

    def monotonic(self) -> float:
        return anyio.current_time()


class Wire(Network):
    """Writes each create call down as it leaves: should its sender die, it may still be on its way."""

    def __init__(self, app: Any, record: Path, *, finds: bool) -> None:
        super().__init__(app)
        self._record = record
        self._finds = finds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            body = b"".join([part async for part in request.stream])  # type: ignore[union-attr]
            request = httpx.Request(request.method, request.url, headers=request.headers, content=body)
            self.note(body)
        if not self._finds and not request.url.path.rpartition("/")[2].isdecimal() and request.method == "GET":
            await anyio.sleep(self.latency_s)
            return httpx.Response(502, content=b"<html>Bad Gateway</html>")
        return await super().handle_async_request(request)

    def note(self, body: bytes) -> None:
        with self._record.open("ab") as file:
            file.write(body + b"\n")


class Mortal(Lab):
    """One provider, one folder, and as many lives as it takes.

    `looks_fail`: every look by an id of ours, and the list, answers 502. `arrives`: whether a create call that was
    on the wire when its sender died reaches the provider, `late_s` after; True, False, or as chance has it.
    """

    def __init__(
        self,
        home: Path,
        *,
        rng: random.Random,
        script: tuple[str, ...] = (),
        looks_fail: bool = False,
        arrives: bool | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(home, **{"time_scale": 0.1, **settings})
        self.rng = rng
        self.script = script
        self.looks_fail = looks_fail
        self.arrives = arrives
        self.books = home / "books.jsonl"
        self.wire = home / "wire.jsonl"
        self._shared = mmap.mmap(-1, 4096)
        self.age = 0.0
        """Virtual seconds lived so far, all lives together."""
        self.lives: list[Life] = []
        self.notes: list[str] = []
        """What a failed test should tell."""
        self.budget_usd = 0.0
        self.allowed: dict[str, int] = {}
        """Prompt -> how often a person asked to buy it, or gave it up; once where it is not here."""
        self.backup: Path | None = None
        self.has_lost_state = False
        """A state was deleted, or an old one put back: the receipts know more than it does."""
        self.is_forgotten = False
        """All of it was bought by a folder that is gone: this one may think it new."""

    def twin(self, home: Path) -> Mortal:
        """Another that has come as far, in a folder of its own."""
        shutil.copytree(self.home, home)
        twin = copy.copy(self)
        twin.home, twin.folder = home, home / self.folder.name
        twin.books, twin.wire = home / self.books.name, home / self.wire.name
        twin.lives, twin.notes, twin.allowed = [*self.lives], [*self.notes], dict(self.allowed)
        return twin

    # ---- a life ---------------------------------------------------------------------------------------------

    def live(
        self,
        work: Callable[[Mortal], Awaitable[Any]],
        *,
        die_at: int = 0,
        tracer: Callable[[Mortal], Tracer] | None = None,
        before: Callable[[], Any] = lambda: None,
    ) -> Life:
        """One process that does `work`; `die_at` is the statement (from 1) that it does not come to.

        `before` is called in the process, before its work: what must be different in this life.
        """
        self._deliver()
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads are pytest's own, and never come here
            gc.freeze()  # else the child's collector would touch, and so copy, every page
            pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._be_born(writer, work, die_at, tracer, before)
        gc.unfreeze()
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            report = pipe.read()
        _, status = os.waitpid(pid, 0)
        age, at, length = struct.unpack_from("dQQ", self._shared)
        self.age = age
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by signal {os.WTERMSIG(status)}"
            life = Life(died_at=self._shared[24 : 24 + length].decode(), statements=at)
        else:
            life = pickle.loads(report)
        self.lives.append(life)
        return life

    def _be_born(self, writer: int, work: Any, die_at: int, tracer: Any, before: Any) -> None:
        life, code = Life(), 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout's own handler belongs to the parent
            signal.alarm(LIFE_S)
            shape._ours.cache_clear()  # a new process has worked nothing out yet
            # FFmpeg's threads do not come along into a fork, and it would wait for them where a test has used it.
            media.first_picture = lambda _: Image.new("RGB", (64, 36))
            trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
            trio._core._run._r.seed(0)
            mock = testing.MockClock(autojump_threshold=0)
            self._open_provider(self.age)
            before()
            self.die = lambda frame: self._die(mock, frame, die_at)
            watch = tracer(self) if tracer else Tracer(die_at, self.die)
            self._work(life, work, mock, watch if die_at or tracer else None)
            if isinstance(watch, Census):
                life.spells, life.places = watch.spells(), watch.places
            life.statements = watch.count
            life.faults = getattr(watch, "faults", 0)
            struct.pack_into("dQQ", self._shared, 0, self.age + mock.current_time(), 0, 0)
            self.world.close()
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(life, pipe)
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of the child may go on in pytest
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def _work(self, life: Life, work: Any, mock: Any, watch: Tracer | None) -> None:
        sys.settrace(watch)
        try:
            life.value = anyio.run(work, self, backend="trio", backend_options={"clock": mock})
            life.exit_code = getattr(life.value, "exit_code", 0)
        except BatcherError as exc:
            life.exit_code = exc.exit_code
            life.told.append(exc.message)
        except BaseException:  # noqa: BLE001 - whatever it is, the test tells it
            life.crash = traceback.format_exc()
        finally:
            sys.settrace(None)
        if life.value is not None and hasattr(life.value, "events"):
            life.told += [_words(event) for event in life.value.events]
        life.value = None

    def _die(self, mock: Any, frame: FrameType, at: int) -> None:
        place = where(frame).encode()
        struct.pack_into("dQQ", self._shared, 0, self.age + mock.current_time(), at, len(place))
        self._shared[24 : 24 + len(place)] = place
        os.kill(os.getpid(), signal.SIGKILL)

    def _open_provider(self, age: float) -> None:
        self.clock = LongClock(age)
        self.world.close()
        self.world = World.open(self.books, self.world.settings)
        self.world.moods.add_script(self.script[self._calls() :])
        self.app = create_app(self.world, clock=self.clock.now)
        self.network = Wire(self.app, self.wire, finds=not self.looks_fail)

    def footprint(self) -> frozenset[Any]:
        """What a death at this moment would leave behind, cheaply told: every file's place, size and last change."""
        found = []
        folders = [str(self.home)]
        while folders:
            for entry in os.scandir(folders.pop()):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.name.endswith("-shm"):  # an index of the log, made anew by whoever comes next
                    stat = entry.stat(follow_symlinks=False)
                    found.append((entry.path, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return frozenset(found)

    # ---- the provider between lives -------------------------------------------------------------------------

    def _calls(self) -> int:
        """How many create calls the provider has dealt with: answered, refused, swallowed or held up."""
        return sum(create.fault != "zombie" or create.outcome == "delayed" for create in self._creates())

    def _creates(self) -> Iterator[Any]:
        for account in self.world._accounts.values():
            yield from account.creates

    def _deliver(self) -> None:
        """What was on the wire at the death arrives late, or never."""
        if not self.wire.exists():
            return
        sent = [json.loads(line) for line in self.wire.read_bytes().splitlines()]
        world = World.open(self.books, self.world.settings)
        try:
            met = Counter(
                create.external_task_id
                for account in world._accounts.values()
                for create in account.creates
                if create.fault != "zombie" or create.outcome == "delayed"
            )
            for body in sent:
                met[body["external_task_id"]] -= 1
                if met[body["external_task_id"]] < 0:
                    arrives = self.rng.random() < 0.5 if self.arrives is None else self.arrives
                    fault = FAULTS["zombie" if arrives else "reset-before"]
                    world.divert(account_name(KEY), body, fault, now=NOON + self.age)
        finally:
            world.close()

    @property
    def ledger(self) -> Ledger:
        """The provider's books, everything that is on its way let in."""
        if not self.books.exists():
            return Ledger({"totals": {"charged": 0}, "accounts": {}})
        world = World.open(self.books, self.world.settings)
        try:
            return Ledger(world.ledger(now=NOON + self.age + 86400))
        finally:
            world.close()


def _words(event: Event) -> str:
    detail = event.detail.get("message") or event.detail.get("reason") or ""
    return f"{event.kind} {event.task.name if event.task else ''} {detail}".strip()
