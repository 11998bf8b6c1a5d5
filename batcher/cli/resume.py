"""`batcher resume`: the last run's manifest again."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli.run import run
from batcher.errors import UsageError
from batcher.state.queries import Queries


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def resume(ctx: click.Context, options: tuple[str, ...]) -> int:
    """Run the last run's manifest again. Takes the options of run."""
    parser = run.make_context("run", ["-", *options], parent=ctx)
    state_path = Path(parser.params["state"])
    state = Queries.open(state_path)
    try:
        last = state.last_manifest()
    finally:
        state.close()
    if last is None:
        raise UsageError("no run is recorded in this state", hint="batcher run MANIFEST")
    result = run.main(args=[last, *options], prog_name="batcher run", standalone_mode=False)
    return int(result or 0)
