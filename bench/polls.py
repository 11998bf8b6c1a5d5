"""When to look: polls a task, how late an end is seen, and what that costs, by the way of looking.

`python bench/polls.py [--smoke] [--record]`: the real runner in virtual time (`bench/lab.py`) on an account of known
size, against a runner without any delay with the same order and the same times. The fixed gaps are there to compare.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from lab import Case, Report, run
from record import SMOKE, publish

from batcher import compose
from batcher.policy.polling import Pace

SIZES = {20: 25} if SMOKE else {20: 1000, 200: 2000}
"""Slots -> tasks."""
LOST = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of looking, and what is wanted of it: polls a task by size, makespan over the ideal."""

    name: str
    fixed_s: float | None = None
    has_list: bool = False
    callbacks_lost: float | None = None
    polls: tuple[float, float] | None = None
    ratio: float | None = None


WAYS = (
    *(Way(name=f"every {gap:g} s", fixed_s=gap) for gap in (2.0, 5.0, 10.0)),
    Way(name="single looks", polls=(14.5, 14.5), ratio=1.035),
    Way(name="list", has_list=True, polls=(3.3, 0.6), ratio=1.02),
    Way(name="callbacks, list", has_list=True, callbacks_lost=LOST, polls=(0.5, 0.5), ratio=1.02),
    Way(name="callbacks, no list", callbacks_lost=LOST, polls=(0.5, 0.5), ratio=1.02),
)


def measured(way: Way, slots: int) -> tuple[str, ...]:
    """The row of one run, on an account whose limit is known from earlier runs; how long clips take is not."""
    if way.fixed_s is not None:
        compose.LOCAL_PACE = Pace(floor_s=way.fixed_s, cap_s=way.fixed_s)
    report = run(
        Case(
            tasks=SIZES[slots],
            limit=slots,
            concurrency=slots,
            learnt=slots,
            has_list=way.has_list,
            callbacks_lost=way.callbacks_lost,
            is_local=way.fixed_s is not None,
            keeps_clips=False,
        )
    )
    return row(way, slots, report)


def row(way: Way, slots: int, report: Report) -> tuple[str, ...]:
    """A line of the table. A look that a callback asked for is no poll; it is counted apart."""
    asked = report.account.called / len(report.account.made)
    polls = max(0.0, report.gets + report.lists - asked)
    wanted = "" if way.polls is None else f"at most {way.polls[slots == 200]}, {way.ratio}"
    return (
        way.name,
        str(slots),
        f"{polls:.2f}",
        f"{asked:.2f}" if asked else "",
        f"{report.lag_s:.2f} s",
        f"{report.used:.3f}",
        f"{report.ratio:.3f}",
        wanted,
    )


def main() -> None:
    """Measure each way at each size."""
    each = [(way, slots) for slots in SIZES for way in WAYS]
    if SMOKE:
        rows = [measured(way, slots) for way, slots in each]
    else:
        with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            rows = list(pool.map(measured, *zip(*each, strict=True)))
    publish(
        "polls",
        ("way", "slots", "polls a task", "called for", "mean lag", "slots used", "makespan / ideal", "wanted"),
        rows,
        notes=(
            "Generations take 90 s (median, lognormal, sigma 0.5), unknown to the run at its start. Virtual time.",
            ", ".join(f"{tasks} tasks on {slots} slots" for slots, tasks in SIZES.items()) + ".",
            f"Of {LOST:.0%} of the ends no callback told. What it tells is only a reason to look: `called for`.",
            "The ideal is a runner that knows of each end at once, with the same order and times.",
        ),
    )


if __name__ == "__main__":
    main()
