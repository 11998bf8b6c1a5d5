"""How many generations may be at the provider at once, learnt from what it takes and refuses. Pure.

The account's limit is unknown and may move. A refusal (1303) shows where the wall is; an accepted call does not
prove room, since it may have taken the place of a generation that ended unseen; a look that shows as many of ours
running as the limit allows, does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

START = 4
"""Where an account of unknown size begins; the smallest pack documented has 5."""

PROBE_GAPS_S = (60.0, 120.0, 180.0)
"""Seconds after the first, second, and every further refusal in a row until the wall is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The number to keep in flight, and what is known about the wall."""

    value: int = START
    ceiling: int | None = None
    """Never more than this: `-j`. None: automatic."""
    wall: int | None = None
    """The smallest number known to be too many."""
    refusals: int = 0
    """In a row, bursts counted once."""
    probe_at: float = 0.0
    """Monotonic seconds from which the wall may be tried again."""


def start(*, given: int | None, learnt: int | None) -> Limit:
    """The limit at the start of a run. A given `-j` is a ceiling and a wish: it is used at once."""
    if given is not None:
        return Limit(value=min(given, learnt) if learnt else given, ceiling=given)
    return Limit(value=learnt or START)


def after_busy(limit: Limit, *, held: int, now: float) -> Limit:
    """A create call was refused as one too many while `held` of ours were in flight."""
    value = max(1, min(limit.value, held))
    if now < limit.probe_at and limit.wall is not None and limit.wall <= value + 1:
        return replace(limit, value=value)
    gap = PROBE_GAPS_S[min(limit.refusals, len(PROBE_GAPS_S) - 1)]
    return replace(limit, value=value, wall=value + 1, refusals=limit.refusals + 1, probe_at=now + gap)


def after_full(limit: Limit, *, running: int, now: float) -> Limit:
    """A look showed `running` of ours at the provider at once: proof of room for that many."""
    if running < limit.value:
        return limit
    value, wall, refusals = limit.value + max(1, limit.value // 8), limit.wall, limit.refusals
    if wall is not None and now < limit.probe_at:
        value = min(value, wall - 1)
    elif wall is not None:
        value, wall = limit.value + 1, None
    else:
        refusals = 0  # the last try was right: so many are running
    if limit.ceiling is not None:
        value = min(value, limit.ceiling)
    return replace(limit, value=max(value, limit.value), wall=wall, refusals=refusals)
