"""What a run would submit and what that costs, as far as it is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from batcher.tasks import Status

if TYPE_CHECKING:
    from collections import Counter

    from batcher.choices import Choices
    from batcher.prices import Prices
    from batcher.state.queries import Queries
    from batcher.state.rows import Line
    from batcher.state.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a run would submit: how many tasks, at which estimated price."""

    tasks: int = 0
    usd: float = 0.0
    """Of those whose price is known."""
    unknown: int = 0
    """Tasks whose price nobody published."""
    is_estimate: bool = False

    @property
    def cost_usd(self) -> float | None:
        """None where no price is known at all."""
        return None if self.tasks and self.unknown == self.tasks else self.usd


def is_chosen(name: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Whether selectors pick a task that waits. An id is unknown before it is planned, so `id:` may mean any."""

    def matches(selector: str) -> bool:
        kind, _, word = selector.partition(":")
        if kind == "status":
            return word == Status.PENDING
        return kind == "id" or fnmatchcase(name, selector.replace("[^", "[!"))

    is_in = not include or any(map(matches, include))
    return is_in and not any(not s.startswith("id:") and matches(s) for s in exclude)


def bill_of(state: Queries, selection: Selection, choices: Choices | None, prices: Prices) -> Bill:
    """What a run would submit of a plan that is written down."""
    term, values, limit = picked(choices)
    if not values and limit is None and term == _ALL:
        tasks = state.counts(selection).get(Status.PENDING, 0)
        usd, unknown, is_estimate = state.prices(selection)
        if not (unknown and prices.own):
            return Bill(tasks=tasks, usd=usd, unknown=unknown, is_estimate=is_estimate)
    return summed(state.priced(selection, term, values, limit=limit), prices)


def summed(lines: Counter[Line], prices: Prices) -> Bill:
    """The bill of so many of each line. One that was planned without a price has the one that `prices` know now."""
    tasks, usd, unknown, is_estimate = 0, 0.0, 0, False
    for line, n in lines.items():
        price = prices.own.get(line.name) if line.usd is None else line.usd
        tasks += n
        usd += (price or 0.0) * n
        unknown += n if price is None else 0
        is_estimate |= line.is_estimate and (price is None or line.usd is not None)
    return Bill(tasks=tasks, usd=usd, unknown=unknown, is_estimate=is_estimate)


def unpriced(lines: Counter[Line], prices: Prices) -> list[str]:
    """The classes on a bill whose price nobody knows."""
    return sorted({line.name for line in lines if line.usd is None and line.name not in prices.own})


_ALL = "(1) AND NOT (0)"


def picked(choices: Choices | None) -> tuple[str, tuple[str, ...], int | None]:
    """`is_chosen` as an SQL condition over `name`, its parameters, and how many at most."""
    include, exclude, limit = (choices.include, choices.exclude, choices.limit) if choices else ((), (), None)
    values: list[str] = []

    def term(selector: str) -> str:
        kind, _, word = selector.partition(":")
        if kind in ("status", "id"):
            return str(int(kind == "id" or word == Status.PENDING))
        values.append(selector.replace("[!", "[^"))
        return "name GLOB ?"

    some = " OR ".join(map(term, include)) or "1"
    dropped = " OR ".join(term(selector) for selector in exclude if not selector.startswith("id:")) or "0"
    return f"({some}) AND NOT ({dropped})", tuple(values), limit
