"""A run in words: one line for an event, a few for its end. Pure; dates and colours are the terminal's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher.events import EventKind, Summary
from batcher.report.layout import GAP, LABELS, cause, money, next_lines, picture
from batcher.tasks import IN_FLIGHT, Status
from batcher.text import command, human_bytes, human_duration, human_usd, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.events import Event, Snapshot


def line(event: Event) -> str | None:
    """Word one event; None for those that have no single line: a heartbeat and the summary."""
    tell = _TELL.get(event.kind)
    return tell(event) if tell else None


def heartbeat_line(snapshot: Snapshot) -> str:
    """Word a run that is quiet but alive."""
    counts = snapshot.counts
    parts = [
        f"alive    {settled(counts)} of {snapshot.total} finished",
        f"{in_flight(counts)} in flight",
        f"{counts.get(Status.PENDING, 0)} waiting",
        spend_of_budget(snapshot.cost_usd, snapshot.budget_usd),
    ]
    if snapshot.eta_s is not None:
        parts.append(f"eta {human_duration(snapshot.eta_s)}")
    return " · ".join(parts)


def summary_lines(summary: Summary) -> list[str]:
    """Word the end of a run so that three seconds suffice: what there is, why it stopped, what to type next."""
    counts, found = [f"{summary.downloaded} downloaded"], summary.counts.get(Status.DOWNLOADED, 0)
    if found > summary.downloaded:
        counts.append(f"{found - summary.downloaded} already there")
    counts.append(f"{summary.counts.get(Status.FAILED, 0)} failed")
    if unclear := summary.counts.get(Status.UNCLEAR, 0):
        counts.append(f"{unclear} unclear")
    counts.append(f"{sum(summary.counts.values()) - settled(summary.counts)} left")
    head = [
        f"{', '.join(counts)} in {human_duration(summary.elapsed_s)}",
        _bought(summary),
        f"files {printable(summary.out)}",
    ]
    lines = [" · ".join(head)]
    if summary.simulated:
        lines.append("SIMULATED: these clips are placeholders, and nothing was paid")
    if summary.reason:
        lines.append(f"{summary.outcome}: {printable(summary.reason)}")
    if summary.hint:
        lines.append(f"hint: {printable(summary.hint)}")
    return lines + next_lines(summary.next or (command("status", summary.job),))


def summary_of(event: Event) -> Summary:
    """Read a run's last event back: its detail is the summary, field by field (`dataclasses.asdict`)."""
    return Summary(**event.detail)


def settled(counts: Mapping[str, int]) -> int:
    """Count the tasks for which a run has nothing left to do."""
    return sum(
        counts.get(status, 0) for status in (Status.DOWNLOADED, Status.FAILED, Status.UNCLEAR, Status.CANCELLED)
    )


def in_flight(counts: Mapping[str, int]) -> int:
    """Count the tasks that are at the provider, or may be."""
    return sum(counts.get(status, 0) for status in IN_FLIGHT)


def spend_of_budget(cost_usd: float, budget_usd: float | None) -> str:
    """Word an estimated cost beside the budget that it may use up."""
    limit = "" if budget_usd is None else f" of {human_usd(budget_usd)}"
    return money(cost_usd) + limit


def _bought(summary: Summary) -> str:
    if not summary.submitted:
        return "nothing bought"
    cost = money(summary.cost_usd, estimate=summary.cost_is_estimate)
    return f"would cost {cost}" if summary.simulated else cost


def _of_task(event: Event, *parts: str) -> str:
    name = printable(event.task.name) if event.task else ""
    return GAP.join(filter(None, (f"{event.kind.value:<8} {name}", *parts)))


def _wait(detail: Mapping[str, Any], words: str) -> str:
    seconds = detail.get("wait_s")
    return words if seconds is None else f"{words} in {human_duration(seconds)}"


def _plain(event: Event) -> str:
    return _of_task(event)


def _run(event: Event) -> str:
    detail = event.detail
    provider = str(detail.get("provider", ""))
    if detail.get("simulated"):
        provider += " (SIMULATED: nothing is paid)"
    parts = [
        f"run {detail.get('run', '')}",
        str(detail.get("manifest") or ""),
        f"{detail.get('tasks', 0)} tasks",
        f"provider {provider}",
        f"≤ {detail['limit']} in flight" if detail.get("limit") else "",
    ]
    return " · ".join(printable(part) for part in parts if part)


def _plan(event: Event) -> str:
    detail = event.detail
    words = {
        "to_submit": "to submit",
        "in_flight": "to resume",
        "done": "already done",
        "failed": "failed before",
        "unclear": "unclear",
        "orphaned": "orphaned",
    }
    always = ("to_submit", "in_flight", "done")
    counts = [f"{detail.get(key, 0)} {word}" for key, word in words.items() if key in always or detail.get(key)]
    limit = detail.get("budget_usd")
    cost = detail.get("cost_usd")
    price = "price unknown" if cost is None else f"estimated {human_usd(cost)}"
    of = "" if limit is None else f" of {human_usd(limit)}"
    return f"plan: {', '.join(counts)} · {price}{of}"


def _adopted(event: Event) -> str:
    how = event.detail.get("how")
    how = "under its id" if how == "found" else how
    return _of_task(event, f"already paid for, found {printable(str(how))}" if how else "already paid for")


def _done(event: Event) -> str:
    detail = event.detail
    duration, size = detail.get("duration_s"), detail.get("bytes")
    return _of_task(
        event,
        printable(event.path or ""),
        "" if duration is None else f"{duration:.1f} s",
        picture(detail.get("width"), detail.get("height")),
        "" if size is None else human_bytes(size),
    )


def _back(event: Event) -> str:
    reason = printable(str(event.detail.get("reason", "not created")))
    reason = f"{LABELS[reason]} ({reason})" if reason in LABELS else reason
    return _of_task(event, f"{reason}; {_wait(event.detail, 'goes again under the same id')}")


def _doubt(event: Event) -> str:
    reason = printable(str(event.detail.get("reason", "no answer")))
    return _of_task(event, f"{reason}; {_wait(event.detail, 'rests, then is looked up')}; nothing is bought twice")


def _unclear(event: Event) -> str:
    reason = printable(str(event.detail.get("reason", "the provider may have taken it")))
    settle = command("resolve", event.task.name if event.task else "TASK")
    return _of_task(event, f"{reason} — you decide: {settle} --adopt TASK_ID | --resubmit | --drop")


def _overdue(event: Event) -> str:
    return _of_task(event, "still running at the provider; it is waited for, never bought again")


def _failed(event: Event) -> str:
    source = f" — {printable(event.task.source)}" if event.task and event.task.source else ""
    code, reason = event.detail.get("code"), event.detail.get("reason")
    return _of_task(event, cause(None if code is None else str(code), reason and str(reason)) + source)


def _retry(event: Event) -> str:
    attempt = event.detail.get("attempt", "another")
    return _of_task(event, f"{_wait(event.detail, f'attempt {attempt}')} (a new purchase, as run.attempts allows)")


def _checked(event: Event) -> str:
    files, whole, wrong = (event.detail.get(key, 0) for key in ("files", "whole", "findings"))
    return f"checked  {files} files: {whole} whole" + (f", {wrong} not as recorded" if wrong else "")


def _renewed(event: Event) -> str:
    return _of_task(
        event, f"{printable(str(event.detail.get('what', '')))} written anew", printable(event.path or "")
    )


def _warning(event: Event) -> str:
    return f"warning: {printable(str(event.detail.get('message', '')))}"


def _stopping(event: Event) -> str:
    reason = printable(str(event.detail.get("reason", "")))
    return ": ".join(filter(None, ("stopping: no new submissions", reason)))


_TELL: dict[EventKind, Callable[[Event], str]] = {
    EventKind.RUN: _run,
    EventKind.PLAN: _plan,
    EventKind.SUBMIT: _plain,
    EventKind.SUBMITTED: _plain,
    EventKind.ADOPTED: _adopted,
    EventKind.PROCESSING: _plain,
    EventKind.SUCCEEDED: _plain,
    EventKind.DOWNLOAD: _plain,
    EventKind.DONE: _done,
    EventKind.BACK: _back,
    EventKind.DOUBT: _doubt,
    EventKind.UNCLEAR: _unclear,
    EventKind.OVERDUE: _overdue,
    EventKind.FAILED: _failed,
    EventKind.RETRY: _retry,
    EventKind.CHECKED: _checked,
    EventKind.RENEWED: _renewed,
    EventKind.WARNING: _warning,
    EventKind.STOPPING: _stopping,
}
