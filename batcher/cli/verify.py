"""`batcher verify`: every recorded file against its size and sha256. Never spends."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from batcher.assets import Folder
from batcher.audit import audit
from batcher.cli.common import Shared, is_terminal, jobs_named, shared_options
from batcher.cli.course import follow
from batcher.connect import open_batch
from batcher.prepare import root_of
from batcher.report.document import SCHEMA, plain
from batcher.report.verify import verify_text
from batcher.report.views import FileTrouble, VerifyView
from batcher.runner.outcome import worst
from batcher.state.queries import Queries
from batcher.state.selection import Selection
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.audit import Finding
    from batcher.state.rows import Job
    from batcher.tasks import Task


@click.command()
@click.argument("job", required=False)
@click.option("--repair", is_flag=True, help="Fetch clips again that are not whole; write sidecars and posters anew.")
@click.option("--wait", is_flag=True, help="With --repair: wait for another run on this state to end.")
@shared_options
def verify(shared: Shared, job: str | None, *, repair: bool, wait: bool) -> int:
    """Check every recorded file against its size and sha256. Never spends; works while a run is going on.

    With --repair, what is missing or damaged is brought back: clips by downloading them again, never by buying. What
    was edited by hand is never overwritten.
    """
    state = Queries.open(shared.state, thorough=True)
    try:
        jobs = jobs_named(state, job)
        if not repair:
            return _verify(shared, state, job, jobs)
    finally:
        state.close()
    scopes = sorted({known.scope for known in jobs})
    return worst([anyio.run(_repair, shared, job, scope, wait) for scope in scopes])


def _verify(shared: Shared, state: Queries, job: str | None, jobs: list[Job]) -> int:
    folders = {(known.job, known.scope): Folder(root_of(known, state.path), known.folder) for known in jobs}

    def folder(task: Task) -> Folder:
        return folders[task.job, task.scope]

    def trouble(finding: Finding) -> FileTrouble:
        path = str(folder(finding.task).shown(finding.asset.path)) if finding.asset else ""
        return FileTrouble(name=finding.about, what=finding.what, ailment=finding.ailment, path=path)

    with _bar(shared) as on_file:
        found = anyio.run(partial(audit, state, Selection(job=job, orphaned=True), folder=folder, on_file=on_file))
    view = VerifyView(
        files=found.files,
        whole=found.whole,
        troubles=tuple(map(trouble, found.findings)),
        next=tuple(_next(found.findings, folder_of=jobs, job=job)),
    )
    shared.result(verify_text(view), {"schema": SCHEMA, "document": "verify", **plain(view)})
    miscounted = state.miscounted()
    if miscounted:
        line = f"{miscounted} counters of {state.path} do not agree with its tasks:  {command('verify', '--repair')}"
        click.echo(f"{line}  counts anew", err=True)
    return 1 if found.findings or miscounted else 0


def _next(findings: tuple[Finding, ...], *, folder_of: list[Job], job: str | None) -> Iterator[str]:
    if any(finding.is_mendable for finding in findings):
        yield command("verify", job or "", "--repair")
    damaged = {(finding.task.job, finding.task.scope) for finding in findings if finding.what == "row"}
    for known in folder_of:
        if (known.job, known.scope) in damaged:
            yield command("recover", known.manifest or "MANIFEST")


async def _repair(shared: Shared, job: str | None, scope: str, wait: bool) -> int:  # noqa: FBT001 - anyio.run passes by position
    environment = shared.environment()
    endpoint = environment.endpoint_of(scope)
    with _bar(shared) as on_file:
        async with open_batch(shared.state, endpoint=endpoint, environment=environment, wait=wait) as batch:
            batch.store.recount()
            return await follow(batch, shared, partial(batch.repair, job, on_file=on_file))


@contextmanager
def _bar(shared: Shared) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal's stderr while files are read; it goes when they are."""
    if shared.quiet or not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - start-up time
    from rich.progress import Progress  # noqa: PLC0415 - start-up time

    bar = Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    row = bar.add_task("reading")

    def on_file(done: int, total: int) -> None:
        if done == 1:
            bar.start()
        bar.update(row, completed=done, total=total)
        if done == total:
            bar.stop()  # before anything else is drawn

    try:
        yield on_file
    finally:
        bar.stop()
