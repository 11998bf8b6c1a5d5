"""When to look at a running generation next. Pure.

Generations of one class (model, mode, duration) take similar times, so the class's typical time is learnt and the
looks gather around it: none while it can hardly be done, close together where it probably is, thinning out in the
tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random


FIRST_LOOK_S = 600.0
"""No later, whatever was learnt: the slowest model takes five minutes, but a provider's clock may say years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Bounds on the gap between two looks, seconds."""

    floor_s: float = 1.0
    cap_s: float = 20.0


def next_look_s(*, age_s: float, typical_s: float | None, pace: Pace, rng: Random) -> float:
    """Seconds from now to the next look at a generation that is `age_s` old.

    Where the typical time is known the first look comes at 0.6 of it, and the others every tenth of the larger of
    typical time and age; where it is not, every quarter of the age. All with +-10 % jitter, so that tasks
    submitted together do not ask together.
    """
    cap = pace.cap_s
    if typical_s is None:
        gap = 0.25 * age_s
    elif age_s < 0.5 * typical_s:
        gap = min(0.6 * typical_s - age_s, FIRST_LOOK_S)
        cap = max(cap, gap)
    else:
        gap = 0.1 * max(typical_s, age_s)
    return max(pace.floor_s, min(gap, cap)) * (0.9 + 0.2 * rng.random())


def typical_s(durations: Sequence[float]) -> float | None:
    """The median of a class's finished times, seconds; None for none."""
    return median(durations) if durations else None
