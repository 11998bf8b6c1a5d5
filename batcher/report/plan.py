"""`batcher plan` in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.report.layout import ahead, bounded, columns, money, next_lines, unfetched_line
from batcher.text import human_usd, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.report.views import PlanView

MOST_LINES = 40

_SIGNS = {"submit": "+", "resume": "~", "done": "=", "failed": "!", "unclear": "?", "orphaned": "-"}


def plan_text(plan: PlanView, *, most: int | None = MOST_LINES) -> str:
    """Word what a run would do, at most `most` tasks of it by name (None: all it was given)."""
    return "\n".join([*_head(plan), *_tasks(plan, most=most), "", *_totals(plan), *next_lines(plan.next)]) + "\n"


def _head(plan: PlanView) -> Iterator[str]:
    provider = f"{plan.provider} (SIMULATED: nothing is paid)" if plan.simulated else plan.provider
    edition = f"edition {plan.edition}" if plan.edition else ""
    yield printable(" · ".join(filter(None, (plan.job, plan.manifest, edition, f"provider {provider}"))))
    for warning in plan.warnings:
        yield f"warning: {printable(warning)}"
    if plan.unfetched:
        yield f"warning: {unfetched_line(plan.unfetched)}"


def _tasks(plan: PlanView, *, most: int | None) -> Iterator[str]:
    rows = [
        (
            _SIGNS.get(line.kind, " "),
            line.kind,
            line.name,
            money(line.cost_usd) if line.kind == "submit" else "",
            line.source,
        )
        for line in plan.lines
    ]
    shown, _ = bounded(rows, most=most)
    yield from columns(shown, indent="  ", right=(3,))
    total = plan.to_submit + plan.in_flight + plan.done + plan.failed + plan.unclear + plan.orphaned
    if shown and total > len(shown):
        yield f"  … {total - len(shown)} more"


def _totals(plan: PlanView) -> Iterator[str]:
    counts = [f"{plan.to_submit} to submit", f"{plan.in_flight} to resume", f"{plan.done} already done"]
    for count, word in ((plan.failed, "failed"), (plan.unclear, "unclear"), (plan.orphaned, "orphaned")):
        if count:
            counts.append(f"{count} {word}")
    yield f"plan: {', '.join(counts)}"
    if plan.to_submit:
        yield " · ".join(filter(None, (_cost(plan), _budget(plan), _eta(plan))))
        if plan.prices:
            yield printable("prices " + ", else ".join(f"of {each.as_of} ({each.source})" for each in plan.prices))
    else:
        yield " · ".join(filter(None, ("nothing to buy", _eta(plan))))


def _cost(plan: PlanView) -> str:
    if plan.cost_usd is None:
        return "cost unknown"
    known = money(plan.cost_usd, estimate=plan.cost_is_estimate)
    missing = f" and {plan.unknown_prices} of unknown price" if plan.unknown_prices else ""
    return f"cost {known}{missing}"


def _budget(plan: PlanView) -> str:
    if plan.budget_usd is None:
        return "no budget"
    return f"budget {human_usd(plan.budget_usd)}, {money(plan.spent_usd)} of it spent"


def _eta(plan: PlanView) -> str:
    return ahead(plan.eta_s, at_once=plan.eta_at_once, estimate=plan.eta_is_estimate)
