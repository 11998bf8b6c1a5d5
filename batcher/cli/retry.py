"""`batcher retry`: another attempt for tasks that failed, or that a person picked."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from batcher.bill import Bill
from batcher.choices import Choices
from batcher.cli.common import Shared, callback_option, is_terminal, jobs_named, prices_option, shared_options
from batcher.cli.consent import ask
from batcher.cli.course import follow
from batcher.connect import open_batch
from batcher.errors import UsageError
from batcher.policy.retry import FailureClass
from batcher.runner.outcome import worst
from batcher.state.queries import Queries
from batcher.state.selection import Selection
from batcher.tasks import Status

if TYPE_CHECKING:
    from batcher.prices import Prices
    from batcher.tasks import Task

RETRYABLE = (Status.FAILED, Status.PENDING)
"""Failed, or marked by an earlier retry that did not come to submit it."""

PAID_TWICE = (Status.UNCLEAR, Status.SUBMITTED, Status.PROCESSING)
"""Tasks whose last attempt may still bring a clip: retried only with `--pay-again`."""


@click.command()
@click.argument("job", required=False)
@click.option("--failed", is_flag=True, help="All that failed.")
@click.option(
    "--class",
    "failure_class",
    type=click.Choice([kind.value for kind in FailureClass]),
    help="Those that failed like this.",
)
@click.option("--edition", help="Of this edition.  [the newest of each job]")
@click.option("-s", "--select", "include", multiple=True, help="These: a name glob, status:WORD or id:ID.")
@click.option("--pay-again", is_flag=True, help="Also tasks that are unclear or overdue: may pay twice for a clip.")
@click.option("--max-usd", type=click.FloatRange(0), help="Instead of budget.max_usd.")
@click.option("-y", "--yes", is_flag=True, help="Pay without asking.")
@click.option("--wait", is_flag=True, help="Wait for another run on this state to end.")
@prices_option
@callback_option
@shared_options
def retry(  # noqa: PLR0913 - one parameter an option
    shared: Shared,
    job: str | None,
    *,
    failed: bool,
    failure_class: str | None,
    edition: str | None,
    include: tuple[str, ...],
    pay_again: bool,
    max_usd: float | None,
    yes: bool,
    wait: bool,
    prices: Prices,
    callback_url: str | None,
) -> int:
    """Buy another attempt for failed or chosen tasks, and run it. The requests are those frozen in the state."""
    if not (failed or failure_class or include):
        raise UsageError("retry what?", hint="--failed, --class CLASS, or -s SELECTOR")
    state = Queries.open(shared.state)
    try:
        found = _find(state, job, edition, include)
    finally:
        state.close()
    tasks = [t for t in found if _is_chosen(t, failure_class, pay_again=pay_again)]
    if not tasks:
        click.echo("nothing to retry", err=True)
        return 0
    groups: dict[tuple[str, str, str], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.scope, task.job, task.edition), []).append(task)
    choices = Choices(max_usd=max_usd)
    retried = partial(_retry, shared, choices=choices, yes=yes, wait=wait, prices=prices, callback_url=callback_url)
    return worst([anyio.run(partial(retried, group)) for group in groups.values()])


def _find(state: Queries, name: str | None, edition: str | None, include: tuple[str, ...]) -> list[Task]:
    """What may be retried: of each job's newest edition, or of the one named; orphaned tasks only by `-s`."""
    jobs = jobs_named(state, name)
    statuses = (*RETRYABLE, *(PAID_TWICE if include else ()))
    found = []
    for job in jobs:
        editions = state.editions(job=job.job, scope=job.scope)
        newest = edition if edition is not None else editions[0][0] if editions else None
        selection = Selection(job=job.job, edition=newest, scope=job.scope, include=include, orphaned=bool(include))
        found += state.tasks(selection, statuses=statuses)
    return found


def _is_chosen(task: Task, failure_class: str | None, *, pay_again: bool) -> bool:
    if task.status in PAID_TWICE:
        if not pay_again and (task.status is Status.UNCLEAR or task.overdue):
            word = "overdue" if task.overdue else task.status
            raise UsageError(
                f"{task.name} is {word}: its last attempt may still bring a clip",
                hint="batcher resolve settles an unclear one; or add --pay-again to pay for another attempt",
            )
        return pay_again and (task.status is Status.UNCLEAR or task.overdue)
    if task.status is Status.PENDING:
        return task.attempt > 1 and failure_class is None
    return failure_class in (None, task.error_class)


async def _retry(
    shared: Shared,
    tasks: list[Task],
    *,
    choices: Choices,
    yes: bool,
    wait: bool,
    prices: Prices,
    callback_url: str | None,
) -> int:
    environment = shared.environment()
    endpoint = replace(environment.endpoint_of(tasks[0].scope), callback_url=callback_url)
    async with open_batch(shared.state, endpoint=endpoint, environment=environment, wait=wait) as batch:
        batch.store.price(Selection(ids=tuple(task.id for task in tasks), orphaned=True), prices.own)
        fresh = [batch.store.task(task.id) for task in tasks]
        same = [new for new, old in zip(fresh, tasks, strict=True) if new.status is old.status]
        if not same:
            click.echo("nothing to retry any more", err=True)
            return 0
        job = batch.store.job(same[0].job, endpoint.scope)
        has_budget = job is not None and any(job.settings.get(name) for name in ("max_usd", "max_usd_per_day"))
        ask(
            Bill(
                tasks=len(same),
                usd=sum(task.cost_usd or 0.0 for task in same),
                unknown=sum(task.cost_usd is None for task in same),
            ),
            endpoint=endpoint,
            has_consent=yes or choices.max_usd is not None or has_budget,
            may_ask=is_terminal(sys.stdin) and not shared.json,
        )
        return await follow(batch, shared, partial(batch.retry, same, choices))
