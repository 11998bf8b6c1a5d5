"""How long what is left of a job will take. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.policy.polling import expected_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.polling import Durations

LEFT_OF_RUNNING = 0.5
"""Of a generation met at any moment half its time is left, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A time, and what it rests on."""

    seconds: float
    at_once: int
    """Generations at the provider at once."""
    is_estimate: bool
    """Of one class at least no generation ended yet: its usual time is taken."""


def forecast(
    waiting: Mapping[str, int], running: Mapping[str, int], *, learnt: Mapping[str, Durations], at_once: int
) -> Forecast | None:
    """The least time in which so many of each class can end, waiting and running; None where none is left.

    That is the work over the generations at once, and never less than the longest single one (Graham 1966: the
    order that batcher takes, longest first, comes within a third of it).
    """
    left = [
        (expected_s(class_, learnt) * share, count)
        for counts, share in ((waiting, 1.0), (running, LEFT_OF_RUNNING))
        for class_, count in counts.items()
        if count > 0
    ]
    if not left:
        return None
    seconds = max(sum(each * count for each, count in left) / at_once, *(each for each, _ in left))
    classes = {class_ for counts in (waiting, running) for class_, count in counts.items() if count > 0}
    return Forecast(
        seconds=seconds,
        at_once=min(at_once, sum(count for _, count in left)),
        is_estimate=any(class_ not in learnt or learnt[class_].expected_s is None for class_ in classes),
    )
