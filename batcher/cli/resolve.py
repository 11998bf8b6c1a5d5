"""`batcher resolve`: a person's decision on a task that only a person can decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import click

from batcher.cli.common import Shared, shared_options
from batcher.connect import open_batch
from batcher.errors import UnavailableError, UsageError
from batcher.generations import Sight
from batcher.identity import is_like
from batcher.rebuild import used_by
from batcher.state.queries import Queries
from batcher.tasks import NEXT, Status
from batcher.text import command, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.assets import Folder
    from batcher.batch import Batch
    from batcher.generations import Generation
    from batcher.tasks import Task


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
        owner = batch.store.owner_of(look.generation.id, scope=task.scope)
        if owner is not None:
            raise UsageError(f"generation {adopt} is that of {owner}", hint="check the id")
        if echo is not None and echo != task.external_task_id:
            folder = batch.folder(task)
            if not _may_be(task, echo, {**batch.store.known_ids(task.scope), **await _sent(folder)}):
                raise UsageError(f"generation {adopt} belongs to another task, {echo}", hint="check the id")
            task = await _under_its_own_id(batch, task, look.generation)
        batch.store.accepted(task, look.generation, request_id=None, how="adopted by hand", now=now)
        click.echo(f"{printable(task.name)} is generation {printable(adopt)}\nnext: {command('collect', task.job)}")
        return 0


async def _under_its_own_id(batch: Batch, task: Task, generation: Generation) -> Task:
    """Bought under another namespace: the task goes on under that id, also should the state be lost once more."""
    now, before = batch.clock.now(), used_by(generation, account=batch.endpoint.fingerprint)
    await batch.folder(task).receipts.append(
        before.external_task_id, task.content_hash, account=before.account, now=now
    )
    with batch.store.transaction():
        return batch.store.inherit(task, before, instead=True, now=now)


async def _sent(folder: Folder) -> dict[str, str]:
    return {external_id: receipt.content_hash for external_id, receipt in (await folder.sent()).items()}


def _may_be(task: Task, echo: str, known: Mapping[str, str]) -> bool:
    """Whether a generation with another id may be this task's: an id of its job's, and nobody else's."""
    return is_like(echo, job=task.job) and known.get(echo, task.content_hash) == task.content_hash
