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

PRIOR_S = 60.0
"""Typical seconds where nothing was learnt yet: between the 30-60 s of 2.5-turbo and the minutes of v1-6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Bounds on the gap between two looks, seconds."""

    floor_s: float = 1.0
    cap_s: float = 20.0


def next_look_s(*, age_s: float, typical_s: float | None, pace: Pace, rng: Random) -> float:
    """Seconds from now to the next look at a generation that is `age_s` old.

    The first comes at 0.6 of the typical time, then every tenth of the larger of typical and age, with +-10 %
    jitter so that tasks submitted together do not ask together.
    """
    typical = PRIOR_S if typical_s is None else typical_s
    known = typical_s is not None
    gap = 0.6 * typical - age_s if known and age_s < 0.5 * typical else 0.1 * max(typical, age_s)
    gap = max(gap, 0.1 * typical)
    ceiling = max(pace.cap_s, 0.6 * typical) if known and age_s < 0.5 * typical else pace.cap_s
    return max(pace.floor_s, min(gap, ceiling)) * (0.9 + 0.2 * rng.random())


def typical_s(durations: Sequence[float]) -> float | None:
    """The median of a class's finished times, seconds; None for none."""
    return median(durations) if durations else None
