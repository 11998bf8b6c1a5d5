"""`batcher status` and `batcher show` in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher.report.layout import ahead, bounded, cause, columns, money, next_lines, picture, unfetched_line
from batcher.report.lines import in_flight
from batcher.tasks import IN_FLIGHT, Status
from batcher.text import command, human_bytes, human_duration, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batcher.report.views import LastRun, StatusView, TaskTrouble, TaskView
    from batcher.tasks import Asset

MOST_ROWS = 20


def status_text(jobs: Sequence[StatusView], *, failed_only: bool = False) -> str:
    """Word every job; `failed_only` shows what went wrong, all of it, and nothing else."""
    if not jobs:
        return "nothing here yet\nnext: batcher run MANIFEST\n"
    blocks = ["\n".join(_failures_only(job) if failed_only else _job(job)) for job in jobs]
    return "\n\n".join(blocks) + "\n"


def show_text(view: TaskView) -> str:
    """Word one task: what was asked, every attempt, what happened, its files, its cost."""
    return "\n".join(_task(view)) + "\n"


def _job(job: StatusView) -> Iterator[str]:
    yield _title(job)
    yield "  " + "   ".join(_counts(job))
    yield "  " + " · ".join(_spend(job))
    if left := ahead(job.eta_s, at_once=job.eta_at_once, estimate=job.eta_is_estimate):
        yield f"  left {left}"
    if job.unfetched:
        yield f"  {unfetched_line(job.unfetched)}"
    if job.last_run:
        yield f"  last run {_last_run(job.last_run)}"
    active = [
        (task.name, task.status, human_duration(task.age_s), "overdue" if task.overdue else "") for task in job.active
    ]
    yield from _section("in flight", active, right=(2,))
    yield from _section("failed", map(_trouble, job.failures))
    yield from _section("unclear: the provider may have taken them; you decide", map(_trouble, job.unclear))
    expiring = [(clip.name, f"in {human_duration(clip.left_s)}") for clip in job.expiring]
    yield from _section("will be deleted by the provider", expiring)
    yield from next_lines(job.next or (_next(job),))


def _failures_only(job: StatusView) -> Iterator[str]:
    yield _title(job)
    yield from _section("failed", map(_trouble, job.failures), most=None)
    yield from _section("unclear", map(_trouble, job.unclear), most=None)
    if not job.failures and not job.unclear:
        yield "  nothing failed"
    yield from next_lines(job.next or (command("status", job.job),))


def _next(job: StatusView) -> str:
    if job.unclear:
        return command("resolve", job.unclear[0].name)
    if job.failures:
        return command("retry", job.job, "--failed")
    unfinished = any(job.counts.get(status) for status in (Status.PENDING, Status.SUCCEEDED, *IN_FLIGHT))
    return command("resume") if unfinished else command("plan", "MANIFEST")


def _title(job: StatusView) -> str:
    edition = f"edition {job.edition}" if job.edition else ""
    provider = f"{job.provider} (SIMULATED)" if job.simulated else job.provider
    return printable(" · ".join(filter(None, (job.job, edition, provider))))


def _counts(job: StatusView) -> Iterator[str]:
    counts = job.counts
    yield f"{counts.get(Status.DOWNLOADED, 0)} downloaded"
    yield f"{in_flight(counts)} in flight"
    yield f"{counts.get(Status.PENDING, 0)} waiting"
    yield f"{counts.get(Status.FAILED, 0)} failed"
    rare = (
        (counts.get(Status.SUCCEEDED, 0), "to download"),
        (counts.get(Status.UNCLEAR, 0), "unclear"),
        (counts.get(Status.CANCELLED, 0), "dropped"),
        (job.orphaned, "orphaned"),
    )
    yield from (f"{count} {word}" for count, word in rare if count)


def _spend(job: StatusView) -> Iterator[str]:
    spend = job.spend
    parts = (
        (spend.downloaded_usd, "downloaded"),
        (spend.in_flight_usd, "in flight"),
        (spend.failed_usd, "failed"),
        (spend.unclear_usd, "unclear"),
    )
    apart = ", ".join(f"{money(usd)} {word}" for usd, word in parts if usd)
    yield f"spend {money(spend.total_usd)}" + (f" ({apart})" if apart else "")
    if job.limit is not None:
        yield f"limit {job.limit} (learnt)"


def _last_run(run: LastRun) -> str:
    if run.finished_at is None:
        return printable(f"{run.run}, begun {run.started_at}, not finished")
    return printable(f"{run.run}, {run.outcome} (exit {run.exit_code}), finished {run.finished_at}")


def _trouble(task: TaskTrouble) -> tuple[str, str, str]:
    return task.name, cause(task.code, task.message), task.source


def _section(
    title: str, rows: Iterable[Sequence[str]], *, right: Sequence[int] = (), most: int | None = MOST_ROWS
) -> Iterator[str]:
    shown, left_out = bounded(list(rows), most=most)
    if not shown:
        return
    yield f"  {title}"
    yield from columns(shown, indent="    ", right=right)
    if left_out:
        yield f"    {left_out}"


def _task(view: TaskView) -> Iterator[str]:
    task = view.task
    facts = (
        ("task", f"{task.name}@{task.edition}" if task.edition else task.name),
        ("job", task.job),
        ("status", _status(view)),
        ("id", task.external_task_id),
        ("source", task.source),
        ("cost", money(task.cost_usd)),
        ("error", cause(task.error_code, task.error_message) if task.error_code or task.error_message else ""),
    )
    yield from columns((key, value) for key, value in facts if value)
    yield from _section("request", [(key, _word(value)) for key, value in task.request.items()], most=None)
    yield from _section("attempts", [_attempt(view, index) for index in range(len(view.attempts))], most=None)
    yield from _section("files", map(_file, view.files), right=(2,), most=None)
    yield from _section("events", [(past.at, past.kind, past.detail) for past in view.events], most=None)
    yield from next_lines(view.next or (command("status", task.job),))


def _status(view: TaskView) -> str:
    flags = [word for word, on in (("overdue", view.task.overdue), ("orphaned", view.task.orphaned)) if on]
    return ", ".join([view.task.status.value, *flags])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _attempt(view: TaskView, index: int) -> tuple[str, ...]:
    attempt = view.attempts[index]
    failed = attempt.error_code or attempt.error_message
    return (
        f"a{attempt.number}",
        attempt.status,
        attempt.generation_id or "-",
        attempt.submitted_at or "-",
        attempt.finished_at or "-",
        f"{attempt.polls} looks",
        money(attempt.cost_usd),
        cause(attempt.error_code, attempt.error_message) if failed else "",
    )


def _file(asset: Asset) -> tuple[str, ...]:
    duration = "" if asset.duration_s is None else f"{asset.duration_s:.1f} s"
    return (
        asset.kind,
        asset.path,
        human_bytes(asset.size_bytes),
        duration,
        picture(asset.width, asset.height),
        asset.sha256[:12],
    )
