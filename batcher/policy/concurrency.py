"""How many generations may be at the provider at once, learnt from what it takes and refuses. Pure.

The account's limit is unknown, may move, and may be shared with other programs. TCP's rule (AIMD) fails here: its
"round trip" would be a whole generation, so it stands far below the limit for hours. Three facts do better:

- a refusal (1303) says where the wall is: one more than we hold, now;
- an accepted call proves no room, as it may have taken the place of a generation that ended unseen;
- as many of ours running at one moment as the limit allows does prove room.

Times are monotonic seconds. Numbers without another source were chosen in virtual time over accounts of 5 to 500 that
stand or move, so that 97 % of the slots are used and 2 % of the calls refused: `python bench/slots.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

START = 4
"""Where an account of unknown size begins; the smallest pack documented has 5 (API notes, 5)."""

PROBE_GAPS_S = (60.0, 120.0, 180.0)
"""Seconds after the first, second, and every further refusal in a row until the wall is tried again."""
LOWERED_GAP_S = 60.0
"""The same for a wall that came down: it may go up again."""
LOWERED_FOR_S = 7200.0
"""So long an account that took a third more counts as lowered."""

PURSE_START, PURSE_MOST = 2.0, 10.0
EARNED, EARNED_LOWERED = 0.013, 0.07
"""Tokens an accepted call earns. A refusal costs one, and trying the wall takes one: refusals stay near 1.5 %."""

RAMP_SHARE, GROWTH_SHARE = 4, 8
"""A step of growth is at most this part of the limit: where no wall is known, and below one."""

CAREFUL, MOST_AT_ONCE = 4, 10
"""Create calls on their way at once: where they may be too many, and where room was seen (the API client's own)."""

SAMPLE = 24
"""A roll call in the open asks so many: none missing means that hardly a tenth is, and a step is a quarter."""
UNSEEN_SHARE = 64
"""One in so many may be missing from a roll call of a great number: some have always ended just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The number to keep in flight, and what is known about the wall."""

    value: int = START
    ceiling: int | None = None
    """Never more than this: `-j`. None: automatic."""
    learnt: int | None = None
    """What the account was seen to take, in this run or an earlier one: worth remembering."""
    proved: int = 0
    """As many were seen running at once in this run, since the last refusal."""
    wall: int | None = None
    """The smallest number known to be too many."""
    step: int = 1
    """What the next proof of room adds."""
    streak: int = 0
    """Refusals with no accepted call between them, bursts counted once."""
    probes: int = 0
    """Times in a row that this wall was found standing."""
    probe_at: float = 0.0
    """From when it may be tried again."""
    purse: float = PURSE_START
    best: int = 0
    """The most that the account took, and when that was last true."""
    best_at: float = 0.0
    cut_at: float = -1.0
    """When the limit was last cut: a refusal of a call sent before that is of the same burst."""

    def is_lowered(self, now: float) -> bool:
        """Whether the account took a third more not long ago."""
        return self.value * 4 <= self.best * 3 and now - self.best_at < LOWERED_FOR_S

    @property
    def may_grow(self) -> bool:
        """Whether a proof of room would raise the limit: then it is worth looking at once."""
        if self.streak or (self.ceiling is not None and self.value >= self.ceiling):
            return False
        return self.wall is None or self.value != self.wall - 1

    @property
    def tries_the_wall(self) -> bool:
        """Whether the limit stands on a number that was too many before."""
        return self.wall is not None and self.value >= self.wall


def start(*, given: int | None, learnt: int | None) -> Limit:
    """The limit at the start of a run.

    A given `-j` is a ceiling and a wish: without better knowledge it is used at once, as the person may know the
    account, and as too high a wish costs no more than `CAREFUL` refusals, which are free. To begin at 4 all the same
    would save those few, and take twelve seconds to 20.
    """
    value = learnt or given or START
    return Limit(value=min(value, given or value), ceiling=given, learnt=learnt)


def at_once(limit: Limit, *, held: int) -> int:
    """How many create calls may be on their way: one after a refusal, few on unknown ground, else as many as go."""
    if limit.streak:
        return 1
    return MOST_AT_ONCE if held < limit.proved else min(MOST_AT_ONCE, max(CAREFUL, held // 16))


def after_accepted(limit: Limit, *, now: float) -> Limit:
    """A create call was accepted: no proof of room, but an end to a row of refusals."""
    earned = EARNED_LOWERED if limit.is_lowered(now) else EARNED
    return replace(limit, streak=0, purse=min(PURSE_MOST, limit.purse + earned))


def after_busy(limit: Limit, *, held: int, sent_at: float, now: float) -> Limit:
    """A create call sent at `sent_at` was refused as one too many while `held` others of ours were in flight.

    The first in a row says where the wall is; the next may be generations that ended and were not seen yet; from the
    third on the wall is coming down, and we go a quarter below.
    """
    held = max(1, held)
    purse = max(0.0, limit.purse - 1.0)
    if sent_at < limit.cut_at:
        wall = held + 1 if limit.wall is None else min(limit.wall, held + 1)
        best = min(limit.best, held) if limit.best_at == limit.cut_at else limit.best  # others on their way counted
        value = min(limit.value, held)
        return replace(limit, value=value, learnt=held, proved=0, wall=wall, purse=purse, best=best)
    if limit.streak == 0 and not limit.is_lowered(now):
        limit = replace(limit, best=held, best_at=now)
    value = max(1, (held, held - held // 16, held * 3 // 4)[min(limit.streak, 2)])
    probes = limit.probes if limit.wall is not None and held + 1 >= limit.wall else 0
    gap_s = LOWERED_GAP_S if limit.is_lowered(now) else PROBE_GAPS_S[min(probes, len(PROBE_GAPS_S) - 1)]
    return replace(
        limit,
        value=min(limit.value, value),
        learnt=held,
        proved=0,
        wall=held + 1,
        step=1,
        streak=limit.streak + 1,
        probes=probes + 1,
        probe_at=now + gap_s,
        purse=purse,
        cut_at=now,
    )


def after_trouble(limit: Limit, *, held: int) -> Limit:
    """A create call was refused for another passing reason (too many a second, 1302): no wall, only less haste."""
    return replace(limit, value=min(limit.value, max(1, held)), step=1, streak=max(1, limit.streak))


def after_roll_call(limit: Limit, *, running: int, now: float) -> Limit:
    """`running` of ours were at the provider at one moment, after every call that was refused."""
    if running < limit.value or limit.streak:
        return limit
    if running >= limit.best or not limit.is_lowered(now):
        limit = replace(limit, best=running, best_at=now)
    wall, probes = limit.wall, limit.probes
    if wall is not None and running >= wall:
        wall, probes = None, 0  # it has moved
    value = limit.value + max(1, min(limit.step, limit.value // (RAMP_SHARE if wall is None else GROWTH_SHARE)))
    most = min(limit.ceiling or value, value if wall is None else wall - 1)
    return replace(
        limit,
        value=max(limit.value, min(value, most)),
        learnt=max(running, limit.learnt or 0),
        proved=running,
        wall=wall,
        probes=probes,
        step=min(2 * limit.step, value),
    )


def probed(limit: Limit, *, now: float) -> Limit:
    """At the wall, when its time has come and a token is left, one more is tried; otherwise the same limit."""
    if limit.wall is None or limit.value != limit.wall - 1 or now < limit.probe_at or limit.purse < 1.0:
        return limit
    is_wanted = limit.ceiling is None or limit.wall <= limit.ceiling
    return replace(limit, value=limit.wall) if is_wanted else limit


def most_missing(called: int, *, of: int) -> int:
    """How many of a roll call of `called` out of `of` may be missing and it still proves that all are running."""
    return of // UNSEEN_SHARE if called == of else 0
