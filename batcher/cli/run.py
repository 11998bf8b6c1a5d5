"""`batcher run`: the verb that may spend."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from batcher.cli.common import (
    Duration,
    Failures,
    Shared,
    callback_option,
    is_terminal,
    max_file_option,
    out_option,
    prices_option,
    shared_options,
)
from batcher.cli.consent import ask
from batcher.cli.course import follow
from batcher.cli.manifests import choices_of, load_all
from batcher.compose import budget_of
from batcher.connect import open_batch
from batcher.prepare import prepare
from batcher.runner.outcome import worst

if TYPE_CHECKING:
    from batcher.batch import Batch
    from batcher.choices import Choices
    from batcher.manifest import Manifest
    from batcher.prepare import Prepared


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-j",
    "--concurrency",
    envvar="BATCHER_CONCURRENCY",
    type=click.IntRange(1, 1000),
    help="Most generations at once.  [automatic]",
)
@click.option("--provider", help="simulator or cometapi, instead of the manifest's.")
@click.option("-s", "--select", "include", multiple=True, help="Only these: a name glob, status:WORD or id:ID.")
@click.option("--exclude", multiple=True, help="Not these; as --select.")
@click.option("--limit", type=click.IntRange(0), help="Submit at most so many.")
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan; send nothing.")
@click.option("--var", multiple=True, metavar="NAME=VALUE", help="Replace a variable of the manifest.")
@click.option("--edition", help="This edition, instead of the manifest's.")
@click.option("--max-usd", type=click.FloatRange(0), help="Instead of budget.max_usd.")
@click.option("-y", "--yes", is_flag=True, help="Pay without asking.")
@click.option("--deadline", "deadline_s", type=Duration(), help="Leave after this, resumable (exit 75).")
@click.option("--timeout", "timeout_s", type=Duration(), help="A task still running after this is overdue.")
@click.option("--fail-fast", is_flag=True, help="Submit nothing more after the first failure.")
@click.option("--max-failures", type=Failures(), help="Submit nothing more after so many: 5 or 20%.")
@click.option("--canary", type=click.IntRange(0), default=0, help="The first N go to the end before others start.")
@click.option("--submit-only", is_flag=True, help="Do not wait for the clips; collect them later.")
@click.option("--wait", is_flag=True, help="Wait for another run on this state to end.")
@click.option("--strict", is_flag=True, help="Take the manifest's warnings for errors.")
@click.option("--allow-outside", is_flag=True, help="Let prompt files lie outside the manifest's folder.")
@max_file_option
@click.option("--adopt-orphans", is_flag=True, help="A renamed job takes its old tasks over.")
@click.option("--buy-again", is_flag=True, help="A renamed job pays for them once more.")
@prices_option
@callback_option
@out_option
@shared_options
def run(shared: Shared, manifests: tuple[Path, ...], **flags: Any) -> int:
    """Check, expand, submit, wait and download. The same command again continues.

    First what is already in flight is finished, then what is new is submitted, as many at once as the account takes.
    """
    if flags.pop("dry_run"):
        from batcher.cli.plan import show_plans  # noqa: PLC0415 - the two verbs need each other

        return show_plans(shared, manifests, flags)
    return run_manifests(shared, manifests, flags)


def run_manifests(shared: Shared, paths: tuple[Path, ...], flags: dict[str, Any]) -> int:
    """Run manifests one after the other; the exit code that matters most."""
    manifests = load_all(paths, flags)
    return worst([anyio.run(_run_one, shared, manifest, flags) for manifest in manifests])


async def _run_one(shared: Shared, manifest: Manifest, flags: dict[str, Any]) -> int:
    """Run one manifest: its unfinished edition first, then, when that is finished, today's."""
    environment = shared.environment()
    endpoint = environment.endpoint(flags["provider"] or manifest.provider or "simulator")
    endpoint = replace(endpoint, callback_url=flags["callback_url"])
    choices = choices_of(flags)
    codes: list[int] = []
    seen: set[str] = set()
    async with open_batch(shared.state, endpoint=endpoint, environment=environment, wait=flags["wait"]) as batch:
        while True:
            prepared = _prepare(batch, manifest, flags)
            if prepared.edition in seen:
                return worst(codes)
            seen.add(prepared.edition)
            if not codes:
                prepared.refuse_empty_choice(choices)
            ask(
                prepared.bill(choices),
                endpoint=endpoint,
                has_consent=flags["yes"] or budget_of(manifest, choices).limits_money,
                may_ask=is_terminal(sys.stdin) and not shared.json,
                where=f", or to {manifest.path} a line like  budget: {{max_usd: 25}}",
            )
            codes.append(await follow(batch, shared, partial(batch.run, prepared, choices)))
            if not prepared.unfinished_edition or not _may_go_on(batch, choices, codes[-1]):
                return worst(codes)


def _may_go_on(batch: Batch, choices: Choices, code: int) -> bool:
    """Whether today's edition follows: only when an earlier one is over and done, and nothing bounds this command."""
    bounded = choices.limit is not None or choices.include or choices.exclude or choices.submit_only or choices.canary
    stopped = batch.session is None or batch.session.stop is not None
    return code in (0, 1) and not bounded and not stopped


def _prepare(batch: Batch, manifest: Manifest, flags: dict[str, Any]) -> Prepared:
    return prepare(
        manifest,
        endpoint=batch.endpoint,
        state=batch.store,
        now=datetime.now(UTC),
        edition=flags["edition"],
        prices=flags["prices"],
    )
