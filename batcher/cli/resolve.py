"""`batcher resolve`: a person's decision on a task that only a person can decide."""

from __future__ import annotations

import anyio
import click

from batcher.cli.common import Shared, shared_options
from batcher.connect import open_batch
from batcher.errors import UnavailableError, UsageError
from batcher.generations import Sight
from batcher.state.queries import Queries
from batcher.tasks import NEXT, Status
from batcher.text import command, printable


@click.command()
@click.argument("task")
@click.option("--adopt", metavar="TASK_ID", help="It was taken: this is the provider's id of it. Spends nothing.")
@click.option(
    "--resubmit", is_flag=True, help="It was not taken: send it again with the next run, under the same id."
)
@click.option("--drop", is_flag=True, help="Give it up for good. Spends nothing.")
@shared_options
def resolve(shared: Shared, task: str, *, adopt: str | None, resubmit: bool, drop: bool) -> int:
    """Settle a task whose submission is unclear; or, with --drop, give any task up."""
    if sum((adopt is not None, resubmit, drop)) != 1:
        raise UsageError(
            "say one of --adopt TASK_ID, --resubmit, --drop", hint=f"{command('show', task)}  tells more"
        )
    state = Queries.open(shared.state)
    try:
        scope = state.find_task(task).scope
    finally:
        state.close()
    return anyio.run(_resolve, shared, task, scope, adopt, drop)


async def _resolve(shared: Shared, name: str, scope: str, adopt: str | None, drop: bool) -> int:  # noqa: FBT001 - anyio.run passes by position
    environment = shared.environment()
    endpoint = environment.endpoint_of(scope, needs_key=adopt is not None)
    async with open_batch(shared.state, endpoint=endpoint, environment=environment) as batch:
        task = batch.store.find_task(name)
        now = batch.clock.now()
        if drop:
            if Status.CANCELLED not in NEXT[task.status]:
                raise UsageError(
                    f"{task.name} is {task.status}: it cannot be dropped while it is at the provider",
                    hint=f"{command('collect', task.job)}  brings it home first",
                )
            batch.store.dropped(task, now=now)
            click.echo(f"{printable(task.name)} is cancelled; its records stay")
            return 0
        if task.status is not Status.UNCLEAR:
            raise UsageError(f"{task.name} is {task.status}, not unclear", hint=command("show", task.name))
        if adopt is None:
            batch.store.resubmit(task, now=now)
            click.echo(
                f"{printable(task.name)} goes again with the next run, under the same id"
                f" {printable(task.external_task_id)}"
            )
            return 0
        look = await batch.provider.find(adopt)
        if look.sight is not Sight.FOUND or look.generation is None:
            raise UnavailableError(
                f"{endpoint.scope} shows no generation {adopt}: {look.detail or look.sight}",
                hint="check the id in the provider's own list",
            )
        echo = look.generation.external_task_id
        if echo not in (None, task.external_task_id):
            raise UsageError(f"generation {adopt} belongs to another task, {echo}", hint="check the id")
        owner = batch.store.owner_of(look.generation.id, scope=task.scope)
        if owner is not None:
            raise UsageError(f"generation {adopt} is that of {owner}", hint="check the id")
        batch.store.accepted(task, look.generation, request_id=None, how="adopted by hand", now=now)
        click.echo(f"{printable(task.name)} is generation {printable(adopt)}\nnext: {command('collect', task.job)}")
        return 0
