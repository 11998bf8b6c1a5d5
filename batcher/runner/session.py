"""What all walks of one run share: the world outside, the settings, and the ways to stop."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from batcher.catalog import class_of
from batcher.events import Active, Event, EventKind, Outcome
from batcher.policy import concurrency, submission
from batcher.policy.budget import Budget
from batcher.policy.polling import Durations, Pace
from batcher.runner.waiting import Waiting
from batcher.tasks import Status
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from random import Random

    from batcher.assets import Folder
    from batcher.errors import BatcherError
    from batcher.fetch import Fetch
    from batcher.providers.interface import Provider
    from batcher.runner.room import RollCall
    from batcher.state.rows import Account
    from batcher.state.selection import Selection
    from batcher.state.store import Store
    from batcher.tasks import Task

    Hints = Callable[[Callable[[str], object]], Coroutine[None, None, None]]
    """Gives each hint, an id for which something moved, to a function, for ever."""


MAX_DOUBTS = 3
"""So many submissions in doubt, with none accepted, end the run: each may have been charged."""


class Clock(Protocol):
    """Time from outside, so that a whole run can happen in virtual time."""

    def now(self) -> float:
        """Unix seconds: for records and for the provider's times. Never to measure a wait."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump: for every wait."""
        ...


class RealClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return anyio.current_time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run behaves. Seconds and US dollars."""

    concurrency: int | None = None
    """A ceiling on generations at once; None: automatic."""
    timeout_s: float = 1800.0
    """After this a generation is `overdue`; nothing is resubmitted for it."""
    quiet_window_s: float | None = None
    """How long a doubtful create call rests; None: the protocol's default."""
    is_loopback: bool = False
    """The API is on this machine: a quiet window may be short."""
    deadline_s: float | None = None
    """The run leaves after this, resumable (exit 75)."""
    fail_fast: bool = False
    max_failures: int | None = None
    """Nothing more is submitted once more than this many have failed in this run."""
    limit: int | None = None
    """At most this many new submissions in this run."""
    canary: int = 0
    """The first N go to their end before others start, and the run stops if one fails."""
    submit_only: bool = False
    buys: bool = True
    """False for `collect`: nothing is ever submitted."""
    alone: bool = False
    """Only what is selected is walked, and not all that the account has open."""
    budget: Budget = field(default_factory=Budget)
    pace: Pace = field(default_factory=Pace)
    downloads: int = 4
    """Downloads at once, apart from the slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why nothing new is submitted, and whether what is in flight is still waited for."""

    outcome: Outcome
    exit_code: int
    reason: str
    hint: str | None = None
    leaves: bool = False
    """True: do not wait for the provider either; downloads that run still finish."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One run's shared world. Mutable, used from the event loop only."""

    store: Store
    provider: Provider
    fetch: Fetch
    folder: Callable[[Task], Folder]
    account: Account
    selection: Selection
    options: Options
    clock: Clock
    rng: Random
    emit: Callable[[Event], None]

    hints: Hints | None = None
    waiting: Waiting = field(default_factory=Waiting)
    limit: concurrency.Limit = field(default_factory=concurrency.Limit)
    roll: RollCall | None = None
    sending: set[int] = field(default_factory=set)
    """Tasks claimed whose create call has no answer yet."""
    durations: dict[str, Durations] = field(default_factory=dict)
    """How long generations take, by class: from earlier runs and from this one."""
    proof_tried: bool = False
    proving: anyio.Lock = field(default_factory=anyio.Lock)
    stop: Stop | None = None
    wake: anyio.Event = field(default_factory=anyio.Event)
    leaving: anyio.Event = field(default_factory=anyio.Event)
    whole: anyio.CancelScope | None = None
    """The run's own cancel scope, while it runs."""
    shields: set[anyio.CancelScope] = field(default_factory=set)
    slots: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(4))
    walking: dict[int, Walking] = field(default_factory=dict)
    holding: set[int] = field(default_factory=set)
    """Tasks in doubt that wait for a control which another task may bring."""
    looks: Counter[str] = field(default_factory=Counter)
    """At ids of tasks under way, not yet in the state."""
    looked_late: set[int] = field(default_factory=set)
    """Overdue tasks that had their one look, answered after they were known to be overdue."""
    tally: Counter[str] = field(default_factory=Counter)
    """What this run did: `claimed`, `submitted`, `downloaded`, `failed`."""
    words: set[str | None] = field(default_factory=set)
    """The provider's words for a status that no document has."""
    cost_usd: float = 0.0
    started_at: float = 0.0
    """Monotonic seconds."""
    unreachable_since: float | None = None
    refusals: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    """How often tasks that still wait were refused."""

    # ---- telling --------------------------------------------------------------------------------------------

    def tell(self, kind: EventKind, task: Task | None = None, *, path: str | None = None, **detail: Any) -> None:
        self.emit(Event(kind=kind, at=iso(self.clock.now()), task=task, path=path, detail=detail))

    def show(self, task: Task, status: str, *, next_look_s: float | None = None) -> None:
        """What is being done for a task right now, for the live view."""
        now = self.clock.monotonic()
        before = self.walking.get(task.id)
        since = before.since if before and before.status == status else now
        self.walking[task.id] = Walking(
            task=task, status=status, since=since, look_at=None if next_look_s is None else now + next_look_s
        )

    def active(self) -> Iterator[Active]:
        now = self.clock.monotonic()
        for walk in list(self.walking.values()):
            look_at = (
                self.waiting.list_at if walk.look_at is None and walk.task.id in self.waiting.all else walk.look_at
            )
            yield Active(
                name=walk.task.name,
                status=walk.status,
                since_s=now - walk.since,
                next_look_s=None if look_at is None else max(0.0, look_at - now),
            )

    # ---- waiting and stopping -------------------------------------------------------------------------------

    @property
    def is_leaving(self) -> bool:
        return self.leaving.is_set()

    @property
    def may_claim(self) -> bool:
        """Whether this run still submits anything new."""
        most = self.options.limit
        return self.options.buys and self.stop is None and (most is None or self.tally["claimed"] < most)

    @property
    def may_learn(self) -> bool:
        """Whether some other task may yet be accepted in this run, and so serve as a control."""
        if self.stop is not None or not self.options.buys or self.is_in_the_dark:
            return False
        accepted = (
            Status.SUBMITTED,
            Status.PROCESSING,
            Status.SUCCEEDED,
        )  # under this key they were controls already
        others = any(
            task_id not in self.holding and walk.task.status not in accepted for task_id, walk in self.walking.items()
        )
        return others or (self.may_claim and self.store.waiting(self.selection)[0] > 0)

    @property
    def is_in_the_dark(self) -> bool:
        """Whether so many submissions of this run are in doubt, and none accepted, that no more may be sent."""
        in_doubt = min(self.tally["claimed"], len(self.holding) + self.tally["unclear"])
        return in_doubt >= MAX_DOUBTS and not self.tally["submitted"]

    async def sleep(self, seconds: float) -> bool:
        """Wait, unless the run leaves first. True when the time has passed."""
        with anyio.move_on_after(max(0.0, seconds)):
            await self.leaving.wait()
        return not self.is_leaving

    def rouse(self, task_id: int) -> None:
        """There is reason to look at this task before its time: at once, though not sooner than the pace's floor."""
        if waiter := self.waiting.all.get(task_id):
            self.waiting.call(waiter, now=self.clock.monotonic())

    def hint(self, any_id: str) -> None:
        """Somebody says that a generation moved, by its id or by ours: look now. A stranger's word, and no more.

        Many for one task bring one look. One about a task whose acceptance is not recorded yet is kept until it is.
        """
        waiting = self.waiting
        if waiter := waiting.by_id.get(any_id):
            waiter.was_hinted, waiting.is_heard_of, waiting.unheard = True, True, 0
            waiting.call(waiter, now=self.clock.monotonic())
        elif any(
            walk.task.external_task_id == any_id and walk.status == "submitting" for walk in self.walking.values()
        ):
            waiting.early.add(any_id)

    def nudge(self) -> None:
        """Something changed that the claim loop may want to know."""
        self.wake.set()
        self.wake = anyio.Event()

    def halt(self, stop: Stop) -> None:
        """Submit nothing more. The first reason stays, unless the new one also leaves and the old did not."""
        if self.stop is None or (stop.leaves and not self.stop.leaves):
            self.stop = stop
            self.tell(EventKind.STOPPING, reason=stop.reason, hint=stop.hint, exit_code=stop.exit_code)
        if stop.leaves:
            self.leave()
        self.nudge()

    def leave(self) -> None:
        """Wait for nothing at the provider any more; what waits there is the next run's."""
        self.leaving.set()
        self.waiting.ring()
        self.nudge()

    def abort(self) -> None:
        """Leave at once: even create calls in flight are cut, and their tasks stay in `submitting`."""
        self.leave()
        for shield in list(self.shields):
            shield.cancel()
        if self.whole is not None:
            self.whole.cancel()

    def halt_for(self, error: BatcherError, *, leaves: bool = True) -> None:
        self.halt(
            Stop(
                outcome=Outcome.STOPPED,
                exit_code=error.exit_code,
                reason=error.message,
                hint=error.hint,
                leaves=leaves,
            )
        )

    @property
    def quiet_window_s(self) -> float:
        return submission.quiet_window_s(
            setting_s=self.options.quiet_window_s,
            largest_lag_s=self.account.lag_s,
            loopback=self.options.is_loopback,
        )

    @property
    def overdue_cutoff(self) -> float:
        """Unix seconds: an overdue task submitted before this no longer counts against the limit."""
        return self.clock.now() - 2 * self.options.timeout_s

    # ---- what was learnt ------------------------------------------------------------------------------------

    def learnt(self, class_: str) -> Durations:
        """What is known of how long the generations of a class take."""
        return self.durations.get(class_) or Durations()

    def learn(self, task: Task, seconds: float) -> None:
        """A generation took so long. That it was seen running up to some age was learnt before."""
        name, waiter = class_of(task.request), self.waiting.all.get(task.id)
        known_s = waiter.running_s if waiter else 0.0
        self.durations[name] = self.learnt(name).with_finished(seconds, since_s=known_s)

    def save_account(self, **changes: Any) -> None:
        self.account = replace(self.account, **changes)
        self.store.save_account(self.account, now=self.clock.now())


@dataclass(slots=True, kw_only=True)
class Walking:
    """One task under way, as the live view shows it."""

    task: Task
    status: str
    since: float
    look_at: float | None
