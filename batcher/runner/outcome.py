"""How a run ended: its word, its exit code, and what to type next."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.errors import BatcherError
from batcher.events import Outcome
from batcher.tasks import IN_FLIGHT, Status
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.runner.session import Session, Stop
    from batcher.state.selection import Selection

FINISHED, FAILED, UNFINISHED = 0, 1, 75

RANK = (130, 143, 2, 64, 77, 78, 4, 69, 3, 75, 1, 0)
"""Which exit code wins when several apply (decisions, 19)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a run."""

    outcome: Outcome
    exit_code: int
    next: tuple[str, ...]


def worst(codes: list[int]) -> int:
    """The exit code that wins."""
    return min(codes, key=lambda code: RANK.index(code) if code in RANK else -1, default=FINISHED)


@contextmanager
def outranked_by(exit_code: int) -> Iterator[None]:
    """An error at the end of a run is raised, unless the summary that follows says what is at least as bad."""
    try:
        yield
    except BatcherError as exc:
        if worst([exit_code, exc.exit_code]) != exit_code:
            raise


def conclude(s: Session) -> End:
    """Sum a run up from the state and its stop."""
    counts = s.store.counts(s.selection)
    whole_job = _whole_job(s)
    paid = s.store.counts(whole_job)
    counts |= {status: paid.get(status, 0) for status in (*IN_FLIGHT, Status.SUCCEEDED, Status.UNCLEAR)}
    counts[Status.FAILED] = max(counts.get(Status.FAILED, 0), s.tally["failed"])
    overdue = s.store.overdue_count(whole_job)
    code = exit_code(
        counts,
        overdue=overdue,
        stop=s.stop,
        pending_counts=s.options.buys and s.options.limit is None,
    )
    return End(outcome=outcome_of(s.stop, code), exit_code=code, next=tuple(_next(s, counts, code)))


def outcome_of(stop: Stop | None, code: int) -> Outcome:
    """The word for an end: that of what stopped the run, or what its exit code means."""
    by_code = {FINISHED: Outcome.DONE, FAILED: Outcome.FAILED}
    return stop.outcome if stop else by_code.get(code, Outcome.UNFINISHED)


def exit_code(counts: Mapping[str, int], *, overdue: int, stop: Stop | None, pending_counts: bool) -> int:
    """The exit code for what is true at the end.

    A run that was asked to submit only some (`--limit`) or none (`collect`) is not unfinished for what it left
    pending, and one stopped for its failures is a failed run, not one to be started again by a timer.
    """
    codes = [stop.exit_code] if stop else []
    left = sum(counts.get(status, 0) for status in (*IN_FLIGHT, Status.SUCCEEDED)) - overdue
    if pending_counts:
        left += counts.get(Status.PENDING, 0)
    if left > 0 and not (stop and stop.exit_code == FAILED):
        codes.append(UNFINISHED)
    if counts.get(Status.FAILED, 0) or counts.get(Status.UNCLEAR, 0) or overdue:
        codes.append(FAILED)
    return worst(codes)


def _next(s: Session, counts: Mapping[str, int], code: int) -> list[str]:
    """Commands that go on from here, most useful first."""
    job = s.selection.job or ""
    lines = []
    unclear = counts.get(Status.UNCLEAR, 0)
    if code in (UNFINISHED, 130, 143, 3, 69, 77, 78):
        manifest = _manifest(s)
        lines.append(command("run", manifest) if manifest else command("collect"))
    if code in (FINISHED, FAILED) and counts.get(Status.PENDING, 0) and (manifest := _manifest(s)):
        lines.append(command("run", manifest))  # --limit left some
    if unclear:
        first = s.store.tasks(_whole_job(s), statuses=(Status.UNCLEAR,), limit=1)[0]
        lines.append(f"{command('resolve', first.name)} --adopt TASK_ID | --resubmit | --drop")
    if counts.get(Status.FAILED, 0):
        lines += [command("retry", job, "--failed"), command("status", job, "--failed")]
    return lines


def _whole_job(s: Session) -> Selection:
    """What is paid for and not home counts whichever edition it is of, orphaned or not, selected or not."""
    return replace(s.selection, edition=None, orphaned=True, include=(), exclude=(), ids=None)


def _manifest(s: Session) -> str | None:
    job = s.store.job(s.selection.job, s.account.scope) if s.selection.job else None
    return job.manifest if job else None
