"""`batcher gallery`: the clips of a job on a page."""

from __future__ import annotations

import time
import webbrowser
from typing import TYPE_CHECKING

import click

from batcher.assets.folder import Folder
from batcher.cli.common import Shared, jobs_named, shared_options
from batcher.prepare import check_place, root_of
from batcher.report.document import SCHEMA
from batcher.report.gallery import INDEX, MARK, document, page
from batcher.state.cells import cells
from batcher.state.queries import Queries
from batcher.text import printable
from batcher.times import iso

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.state.rows import Job


@click.command()
@click.argument("job", required=False)
@click.option("--open", "opens", is_flag=True, help="Show it in the browser.")
@shared_options
def gallery(shared: Shared, job: str | None, *, opens: bool) -> int:
    """Write index.html beside the clips of JOB, or of every job: posters, players, parameters, failures.

    One file, that needs no server and no network. Works while a run is going on; changes nothing else.
    """
    state = Queries.open(shared.state)
    try:
        pages = [_write(state, each) for each in jobs_named(state, job)]
    finally:
        state.close()
    shown = [printable(str(path)) for path in pages]
    shared.result("\n".join(shown), {"schema": SCHEMA, "document": "galleries", "pages": shown})
    if opens:
        webbrowser.open(pages[0].absolute().as_uri())
    return 0


def _write(state: Queries, job: Job) -> Path:
    folder = Folder(root_of(job, state.path), job.folder)
    check_place(folder, job, state.path)
    content = document(
        cells(state, job=job.job, scope=job.scope),
        job=job.job,
        folder=job.folder,
        provider=job.scope,
        simulated=job.scope == "simulator",
        max_usd=job.settings.get("max_usd"),
        at=iso(time.time()),
    )
    folder.write_page(INDEX, page(content).encode(), mark=MARK)
    return folder.shown(f"{job.folder}/{INDEX}")
