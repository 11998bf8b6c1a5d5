"""`batcher collect`: bring home what was paid for. Never spends."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import anyio
import click

from batcher.cli.common import Duration, Shared, callback_option, jobs_named, shared_options
from batcher.cli.course import follow
from batcher.connect import open_batch
from batcher.runner.outcome import worst
from batcher.state.queries import Queries


@click.command()
@click.argument("job", required=False)
@click.option("--wait", is_flag=True, help="Wait for another run on this state to end.")
@click.option("--deadline", "deadline_s", type=Duration(), help="Leave after this, resumable (exit 75).")
@callback_option
@shared_options
def collect(
    shared: Shared, job: str | None, *, wait: bool, deadline_s: float | None, callback_url: str | None
) -> int:
    """Poll and download what was already paid for; needs no manifest. Never submits anything."""
    state = Queries.open(shared.state)
    try:
        scopes = sorted({known.scope for known in jobs_named(state, job)})
    finally:
        state.close()
    return worst([anyio.run(_collect, shared, job, scope, wait, deadline_s, callback_url) for scope in scopes])


async def _collect(
    shared: Shared,
    job: str | None,
    scope: str,
    wait: bool,  # noqa: FBT001 - anyio.run passes by position
    deadline_s: float | None,
    callback_url: str | None,
) -> int:
    environment = shared.environment()
    endpoint = replace(environment.endpoint_of(scope), callback_url=callback_url)
    async with open_batch(shared.state, endpoint=endpoint, environment=environment, wait=wait) as batch:
        return await follow(batch, shared, partial(batch.collect, job, deadline_s=deadline_s))
