"""How many more may go: keeps the session's limit, calls the roll that proves room, and remembers what was learnt.

The state says what is held, over all jobs of the account: what is being submitted or is in doubt, what runs, and what
is overdue for less than twice its time-out (decisions, 13).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.generations import RefusalKind
from batcher.policy import concurrency
from batcher.tasks import Status
from batcher.times import unix

if TYPE_CHECKING:
    from batcher.generations import Generation, Refusal
    from batcher.runner.session import Session
    from batcher.tasks import Task

ROLL_S = 60.0
"""A roll call that is older says nothing any more; another is begun."""
TOO_MANY_A_SECOND = "1302"


@dataclass(slots=True, kw_only=True)
class RollCall:
    """Which of the generations that should have been running at one moment were."""

    began_at: float
    """Monotonic seconds; `date` is the same moment in Unix seconds."""
    date: float
    called: int
    of: int
    waiting: set[int] = field(default_factory=set)
    """Tasks not heard of since."""
    missing: int = 0

    @property
    def has_failed(self) -> bool:
        return self.missing > concurrency.most_missing(self.called, of=self.of)


def held(s: Session) -> int:
    """How many of the account's slots this state holds, or may hold. One held in doubt lends its place."""
    return s.store.in_flight(s.account.scope, overdue_before=s.overdue_cutoff) - len(s.holding)


def room(s: Session) -> int:
    """How many more the limit lets go now."""
    _set(s, concurrency.probed(s.limit, now=s.clock.monotonic()))
    holds = held(s)
    return min(s.limit.value - holds, concurrency.at_once(s.limit, held=holds) - len(s.sending))


def accepted(s: Session) -> None:
    """A create call was accepted."""
    _set(s, concurrency.after_accepted(s.limit, now=s.clock.monotonic()))


def refused(s: Session, refusal: Refusal, *, sent_at: float) -> None:
    """A create call was refused for a reason that passes."""
    others = max(0, held(s) - 1)
    if refusal.kind is RefusalKind.BUSY and refusal.code != TOO_MANY_A_SECOND:
        now = s.clock.monotonic()
        _set(s, concurrency.after_busy(s.limit, held=others, sent_at=sent_at, now=now))
        s.roll = None
    else:
        _set(s, concurrency.after_trouble(s.limit, held=others))


def call_roll(s: Session) -> None:
    """Begin a roll call, where all that may run was accepted and proof of it would make room for more."""
    now = s.clock.monotonic()
    is_fresh = s.roll is not None and now - s.roll.began_at < ROLL_S
    if is_fresh or s.sending or not s.limit.may_grow:
        return
    running = [i for i, walk in s.walking.items() if walk.task.status in (Status.SUBMITTED, Status.PROCESSING)]
    if len(running) < s.limit.value:
        return
    count = len(running) if s.limit.tries_the_wall else min(concurrency.SAMPLE, len(running))
    waiting = set(running if count == len(running) else s.rng.sample(running, count))
    for task_id in waiting:
        s.rouse(task_id)
    s.roll = RollCall(began_at=now, date=s.clock.now(), called=count, of=len(running), waiting=waiting)


def seen(s: Session, task: Task, generation: Generation, *, asked_at: float) -> None:
    """A look that was asked for at `asked_at` (monotonic) showed the generation of this task."""
    roll = s.roll
    if roll is None or task.id not in roll.waiting or asked_at < roll.began_at:
        return
    roll.waiting.discard(task.id)
    roll.missing += generation.status.is_terminal and _ended_before(task, generation, roll.date)
    if roll.has_failed:
        s.roll = None
        s.nudge()  # what ended makes room
    elif not roll.waiting:
        s.roll = None
        _set(s, concurrency.after_roll_call(s.limit, running=roll.of - roll.missing, now=s.clock.monotonic()))


def _ended_before(task: Task, generation: Generation, date: float) -> bool:
    """By the provider's own times, of which only the difference counts; without them it may have been running."""
    if generation.created_at is None or generation.updated_at is None or task.submitted_at is None:
        return False
    return unix(task.submitted_at) + (generation.updated_at - generation.created_at) < date


def _set(s: Session, limit: concurrency.Limit) -> None:
    """Take a new limit. What was learnt is kept at once, as a run may be killed; it changes rarely."""
    before, s.limit = s.limit, limit
    if limit.learnt is not None and limit.learnt != before.learnt:
        s.store.save_limit(s.account.scope, limit.learnt, now=s.clock.now())
    if limit.value > before.value:
        s.nudge()
