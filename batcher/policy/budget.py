"""May this task be reserved? Money already spent, reserved or unclear counts; so do failed attempts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits in US dollars, and a count. None: no limit."""

    max_usd: float | None = None
    """For one job and edition, all attempts, over all runs."""
    max_usd_per_day: float | None = None
    """For one account and one UTC day."""
    max_tasks: int | None = None
    """Submissions of one job and edition, over all runs."""

    @property
    def limits_money(self) -> bool:
        return self.max_usd is not None or self.max_usd_per_day is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What counts against a budget now."""

    usd: float = 0.0
    usd_today: float = 0.0
    tasks: int = 0

    def plus(self, price_usd: float) -> Spent:
        return replace(self, usd=self.usd + price_usd, usd_today=self.usd_today + price_usd, tasks=self.tasks + 1)


CENT_FRACTION = 1e-9
"""Slack for sums of binary fractions: 25 prices of 0.1 are 2.5."""
UNITS_SLACK = 0.05
"""The usual number is worked out from rounded prices, to the tenth."""
MOST_TIMES = 100.0
"""Told to have taken more than this times the usual number of units, we book no more than this."""


def settled_usd(booked_usd: float, *, usual_units: float | None, told_units: float | None) -> float:
    """What a finished generation counts, now that the provider has told how many units it took.

    More than usual counts more. Less counts no less: units are not dollars, and a gateway may bill its own price.
    """
    if not usual_units or told_units is None or told_units <= usual_units + UNITS_SLACK:
        return booked_usd
    return round(booked_usd * min(told_units / usual_units, MOST_TIMES), 4)


def exceeded(budget: Budget, spent: Spent, *, price_usd: float) -> str | None:
    """Why reserving `price_usd` more would break the budget, in words; None when it fits."""
    if budget.max_tasks is not None and spent.tasks + 1 > budget.max_tasks:
        return f"budget.max_tasks is {budget.max_tasks}"
    if budget.max_usd is not None and spent.usd + price_usd > budget.max_usd + CENT_FRACTION:
        return f"budget.max_usd is ${budget.max_usd:.2f}, ${spent.usd:.2f} of it is used"
    if budget.max_usd_per_day is not None and spent.usd_today + price_usd > budget.max_usd_per_day + CENT_FRACTION:
        return f"budget.max_usd_per_day is ${budget.max_usd_per_day:.2f}, ${spent.usd_today:.2f} of it is used today"
    return None
