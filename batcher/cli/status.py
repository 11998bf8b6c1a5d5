"""`batcher status`: where things stand, from the state alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from batcher.cli.common import Shared, shared_options
from batcher.cli.outlook import EXPIRING_S, eta, unfetched
from batcher.errors import UsageError
from batcher.report.document import status_document
from batcher.report.status import status_text
from batcher.report.views import ActiveTask, ExpiringClip, LastRun, Spend, StatusView, TaskTrouble
from batcher.state.queries import Queries
from batcher.state.selection import Selection
from batcher.tasks import IN_FLIGHT, Status
from batcher.text import command
from batcher.times import unix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.state.rows import Job
    from batcher.tasks import Task

MOST = 20
"""Failures and active tasks that are named; the counts are the truth."""

WATCH_S = 2.0


@click.command()
@click.argument("job", required=False)
@click.option("--failed", is_flag=True, help="Only what failed, and why.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@shared_options
def status(shared: Shared, job: str | None, *, failed: bool, watch: bool) -> int:
    """Show counts, what is in flight, failures and the next step. Works while a run is going on."""
    while True:
        state = Queries.open(shared.state)
        try:
            views = status_views(state, job)
        finally:
            state.close()
        if watch:
            click.clear()
        shared.result(status_text(views, failed_only=failed), status_document(views))
        if not watch:
            return 0
        time.sleep(WATCH_S)


def status_views(state: Queries, name: str | None) -> list[StatusView]:
    """A view for each job's newest edition; of all its editions where one job is named.

    Raises `UsageError` for a job that the state does not know.
    """
    jobs = [job for job in state.jobs() if name in (None, job.job)]
    if name is not None and not jobs:
        known = ", ".join(sorted({job.job for job in state.jobs()})) or "none yet"
        raise UsageError(f"the state knows no job {name!r}", hint=f"jobs: {known}")
    views = []
    for job in jobs:
        editions = state.editions(job=job.job, scope=job.scope)
        views += [_view(state, job, edition) for edition, _ in (editions if name else editions[:1])]
    return views


def _view(state: Queries, job: Job, edition: str) -> StatusView:
    selection = Selection(job=job.job, edition=edition, scope=job.scope)
    counts = state.counts(selection)
    failures = state.tasks(selection, statuses=(Status.FAILED,), limit=MOST)
    unclear = state.tasks(selection, statuses=(Status.UNCLEAR,), limit=MOST)
    active = state.tasks(selection, statuses=(*IN_FLIGHT, Status.SUCCEEDED), limit=MOST)
    ahead = eta(
        state,
        job.scope,
        waiting=state.by_class(selection, running=False),
        running=state.by_class(selection, running=True),
        given=job.settings.get("concurrency"),
    )
    return StatusView(
        job=job.job,
        provider=job.scope,
        simulated=job.scope == "simulator",
        edition=edition,
        counts=counts,
        orphaned=state.orphans(job=job.job, edition=edition, scope=job.scope),
        active=tuple(map(_active, active)),
        failures=tuple(map(_trouble, failures)),
        unclear=tuple(map(_trouble, unclear)),
        spend=_spend(state.spend(job=job.job, edition=edition, scope=job.scope)),
        limit=state.learnt(job.scope)[0],
        last_run=_last_run(state, job.job),
        eta_s=ahead.seconds if ahead else None,
        eta_at_once=ahead.at_once if ahead else None,
        eta_is_estimate=ahead is not None and ahead.is_estimate,
        unfetched=unfetched(state, job.job, job.scope),
        expiring=tuple(_expiring(state, job)),
        next=tuple(_next(job, counts, unclear)),
    )


def _active(task: Task) -> ActiveTask:
    age = time.time() - unix(task.submitted_at or task.created_at)
    return ActiveTask(name=task.name, status=task.status, age_s=max(0.0, age), overdue=task.overdue)


def _trouble(task: Task) -> TaskTrouble:
    return TaskTrouble(name=task.name, code=task.error_code, message=task.error_message, source=task.source)


def _spend(sums: Mapping[str, float]) -> Spend:
    open_words = (*IN_FLIGHT, Status.SUCCEEDED)
    return Spend(
        downloaded_usd=sums.get(Status.DOWNLOADED, 0.0),
        failed_usd=sums.get(Status.FAILED, 0.0),
        unclear_usd=sums.get(Status.UNCLEAR, 0.0),
        in_flight_usd=sum(sums.get(status, 0.0) for status in open_words),
    )


def _last_run(state: Queries, job: str) -> LastRun | None:
    row = state.last_run(job)
    if row is None:
        return None
    return LastRun(
        run=row["id"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        outcome=row["outcome"],
        exit_code=row["exit_code"],
    )


def _expiring(state: Queries, job: Job) -> Iterator[ExpiringClip]:
    for clip in state.expiring(job=job.job, scope=job.scope)[:MOST]:
        left = clip.dies_at - time.time()
        if left < EXPIRING_S:
            yield ExpiringClip(name=clip.name, left_s=left)


def _next(job: Job, counts: Mapping[str, int], unclear: list[Task]) -> Iterator[str]:
    unfinished = sum(counts.get(status, 0) for status in (*IN_FLIGHT, Status.PENDING, Status.SUCCEEDED))
    if unfinished:
        yield command("run", job.manifest) if job.manifest else command("collect", job.job)
    if unclear:
        yield f"{command('resolve', unclear[0].name)} --adopt TASK_ID | --resubmit | --drop"
    if counts.get(Status.FAILED, 0):
        yield command("retry", job.job, "--failed")
    if not unfinished and not unclear and job.manifest:
        yield command("plan", job.manifest)
