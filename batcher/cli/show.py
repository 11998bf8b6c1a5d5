"""`batcher show`: one task whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batcher.cli.common import Shared, shared_options
from batcher.report.document import show_document
from batcher.report.status import show_text
from batcher.report.views import AttemptView, PastEvent, TaskView
from batcher.state.queries import Queries
from batcher.tasks import Status
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.tasks import Task


@click.command()
@click.argument("task")
@shared_options
def show(shared: Shared, task: str) -> int:
    """Show one task whole: request, attempts, events, files, cost.

    TASK is its name in the newest edition, NAME@EDITION, or its external_task_id.
    """
    state = Queries.open(shared.state)
    try:
        view = task_view(state, state.find_task(task))
    finally:
        state.close()
    shared.result(show_text(view), show_document(view))
    return 0


def task_view(state: Queries, task: Task) -> TaskView:
    """A task with everything the state has about it."""
    return TaskView(
        task=task,
        attempts=tuple(
            AttemptView(
                number=row["number"],
                external_task_id=row["external_task_id"],
                status=row["status"],
                generation_id=row["task_id"],
                submitted_at=row["submitted_at"],
                finished_at=row["finished_at"],
                polls=row["polls"],
                cost_usd=row["cost_usd"],
                error_code=row["error_code"],
                error_message=row["error_message"],
            )
            for row in state.attempts(task)
        ),
        events=tuple(
            PastEvent(at=row["at"], kind=row["what"], detail=row["detail"] or "") for row in state.events(task)
        ),
        files=tuple(state.assets(task)),
        next=tuple(_next(task)),
    )


def _next(task: Task) -> Iterator[str]:
    match task.status:
        case Status.UNCLEAR:
            yield f"{command('resolve', task.name)} --adopt TASK_ID | --resubmit | --drop"
        case Status.FAILED:
            yield command("retry", task.job, "-s", task.name)
        case Status.SUCCEEDED | Status.SUBMITTED | Status.PROCESSING | Status.SUBMITTING:
            yield command("collect", task.job)
