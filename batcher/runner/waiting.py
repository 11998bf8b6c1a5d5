"""Who waits for the provider, and until when: each walk for a look of its own, or all of them for the list.

A walk enters here with its task and waits until there is something to do: a list showed news of it, somebody asked
for a look, or a look of its own is due. `watch` makes the list calls and wakes the walks.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import anyio

from batcher.catalog import class_of
from batcher.events import EventKind
from batcher.policy import polling
from batcher.policy.polling import bin_of
from batcher.times import unix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.generations import Generation
    from batcher.runner.session import Session
    from batcher.tasks import Task

CHECK_TIMES = 2.0
"""At so many times what is expected, and at each doubling of that, one still running by the list has a look of its
own: a list may be old, or never show an end."""
STALE_S = 10.0
"""A list that shows one running so long after its end is not to be waited for."""
DEAF_AFTER = 5
"""So many ends in a row of which no callback told: callbacks do not arrive, and are not counted on."""


@dataclass(slots=True, kw_only=True, eq=False)
class Waiter:
    """One walk that waits. Times are monotonic seconds, but `began`."""

    task: Task
    class_: str
    began: float
    """When the generation was accepted, Unix seconds."""
    entered_at: float
    looked_at: float
    looked_s: float = 0.0
    """The age at its last look of its own."""
    called_at: float | None = None
    """Since when a look is wanted at once."""
    is_alone: bool = False
    """The list does not show it: it has looks of its own."""
    is_direct: bool = False
    """The list cannot tell enough: one look of its own is wanted."""
    was_hinted: bool = False
    running_s: float = 0.0
    """The age up to which it is known, and was learnt, to have been running."""
    listed_s: float = 0.0
    """The age at which a list last showed it running."""
    seen: Generation | None = None
    """What a list showed that its walk does not know yet."""
    bell: anyio.Event = field(default_factory=anyio.Event)


class Waiting:
    """All walks of one run that wait for the provider."""

    def __init__(self) -> None:
        self.all: dict[int, Waiter] = {}
        self.by_id: dict[str, Waiter] = {}
        """By our id and by the provider's."""
        self.early: set[str] = set()
        """Ids of ours that were hinted at before their acceptance was recorded."""
        self.is_listed = False
        """List calls are made, and show all but those that are `is_alone`."""
        self.list_at: float | None = None
        """When the next list call is due, about."""
        self.quiet_until = -inf
        """The provider asked for no looks before that."""
        self.is_stale = False
        """The list shows generations running that ended long ago."""
        self.is_heard_of = False
        """A callback about one of ours came in: an address that nobody reaches must not make a run late."""
        self.unheard = 0
        """Ends in a row of which no callback told."""
        self.change = anyio.Event()
        """Set and replaced when the one who makes the list calls should look around."""

    @contextmanager
    def entered(self, s: Session, task: Task) -> Iterator[Waiter]:
        """While a walk waits for the end of this task's generation."""
        now = s.clock.monotonic()
        began = unix(task.submitted_at) if task.submitted_at else s.clock.now()
        waiter = Waiter(task=task, class_=class_of(task.request), began=began, entered_at=now, looked_at=now)
        if task.external_task_id in self.early or s.clock.now() - began > s.options.pace.cap_s:
            waiter.called_at = now  # of an earlier run, it may have been finished for hours
        self.early.discard(task.external_task_id)
        ids = [each for each in (task.external_task_id, task.generation_id) if each]
        self.all[task.id] = waiter
        self.by_id.update(dict.fromkeys(ids, waiter))
        if not self.is_listed:
            self.nudge()
        try:
            yield waiter
        finally:
            self.all.pop(task.id, None)
            for each in ids:
                self.by_id.pop(each, None)

    def call(self, waiter: Waiter, *, now: float) -> None:
        """A look at this task is wanted at once: its own, or the list where many are wanted."""
        waiter.called_at = now
        if self.is_listed and not waiter.is_alone:
            self.nudge()
        else:
            waiter.bell.set()

    def nudge(self) -> None:
        """Wake the one who makes the list calls."""
        self.change.set()
        self.change = anyio.Event()

    def set_listed(self, *, is_listed: bool) -> bool:
        """From now on list calls are made, or each walk looks for itself. Returns whether that is news."""
        if self.is_listed == is_listed:
            return False
        self.is_listed, self.list_at = is_listed, None
        self.ring()
        return True

    def ring(self) -> None:
        """Wake every walk: how they are looked at has changed, or the run leaves."""
        for waiter in self.all.values():
            waiter.bell.set()


def note_running(s: Session, waiter: Waiter) -> None:
    """A look showed it running. It is learnt once a bin, which is all that makes a difference."""
    age = s.clock.now() - waiter.began
    if bin_of(age) > bin_of(waiter.running_s):
        s.durations[waiter.class_] = s.learnt(waiter.class_).with_survived(age, since_s=waiter.running_s)
        waiter.running_s = age


def note_end(s: Session, waiter: Waiter, generation: Generation) -> None:
    """It ended. No list should have shown it running after that; and with callbacks, one should have told of it."""
    if generation.created_at is not None and generation.updated_at is not None:
        ended_s = generation.updated_at - generation.created_at
        if waiter.listed_s > ended_s + STALE_S and not s.waiting.is_stale:
            s.waiting.is_stale = True
            s.waiting.nudge()
    if s.hints is None or waiter.was_hinted:
        return
    s.waiting.unheard += 1
    if s.waiting.unheard == DEAF_AFTER:
        message = f"{DEAF_AFTER} generations in a row ended and no callback came: looking as often as without"
        s.tell(EventKind.WARNING, message=message)


def has_callbacks(s: Session) -> bool:
    """Whether callbacks tell of the ends, so that looks are only for those that were lost."""
    return s.waiting.is_heard_of and s.waiting.unheard < DEAF_AFTER


async def until_news(s: Session, waiter: Waiter, *, pause_s: float | None) -> Generation | None:
    """Wait until a list showed news, which it returns, or a look of this task's own is due, or the run leaves: None.

    `pause_s`: what the last look, which failed, asks to wait. Nobody's hint shortens that.
    """
    waiting, floor_s = s.waiting, s.options.pace.floor_s
    own = None if pause_s is None else s.clock.monotonic() + pause_s
    was_listed = False
    while not s.is_leaving:
        if waiter.seen is not None:
            seen, waiter.seen = waiter.seen, None
            return seen
        now = s.clock.monotonic()
        is_listed = waiting.is_listed and not waiter.is_alone and pause_s is None
        if is_listed:
            own = now + _check_s(s, waiter)
        elif own is None or was_listed:
            own = now + _gap_s(s, waiter)
        due, was_listed = own, is_listed
        if pause_s is None and (waiter.is_direct or (waiter.called_at is not None and not is_listed)):
            due = min(due, waiter.looked_at + floor_s)
        if pause_s is None and not waiter.task.overdue:
            overdue_at = now + waiter.began + s.options.timeout_s - s.clock.now()
            due = min(due, max(overdue_at, waiter.looked_at + floor_s))
        due = max(due, waiting.quiet_until)
        if due <= now:
            break
        s.show(waiter.task, waiter.task.status, next_look_s=None if is_listed else due - now)
        waiter.bell = anyio.Event()
        with anyio.move_on_after(due - now):
            await waiter.bell.wait()
    waiter.called_at, waiter.is_direct = None, False
    waiter.looked_at, waiter.looked_s = s.clock.monotonic(), s.clock.now() - waiter.began
    return None


def _check_s(s: Session, waiter: Waiter) -> float:
    """Seconds to a look of its own at one that lists show."""
    pace, age = s.options.pace, max(0.0, s.clock.now() - waiter.began)
    check_s = CHECK_TIMES * max(_expected_s(s, waiter), pace.cap_s)
    while check_s <= waiter.looked_s:
        check_s *= 2
    return max(0.0, check_s - age)


def _gap_s(s: Session, waiter: Waiter) -> float:
    """Seconds to the next look of its own, when nothing else calls for one."""
    pace, age = s.options.pace, s.clock.now() - waiter.began
    if has_callbacks(s):
        return polling.sweep_s(_expected_s(s, waiter), pace=pace, rng=s.rng)
    prior = pace.prior_of(waiter.class_)
    return polling.next_look_s(s.learnt(waiter.class_), age_s=age, prior_s=prior, pace=pace, rng=s.rng)


def _expected_s(s: Session, waiter: Waiter) -> float:
    """Seconds that its generation takes, as learnt or else as the pace assumes."""
    expected = s.learnt(waiter.class_).expected_s
    return s.options.pace.prior_of(waiter.class_) if expected is None else expected
