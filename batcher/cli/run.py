"""`batcher run`: the verb that may spend."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.common import Duration, Failures, Shared, shared_options, variables_of

if TYPE_CHECKING:
    from batcher.compose import Choices
    from batcher.connect import Batch
    from batcher.manifest import Manifest
    from batcher.prepare import Prepared

ASK_ABOVE_USD = 1.0


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-j", "--concurrency", type=click.IntRange(1, 1000), help="Most generations at once.  [automatic]")
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
@click.option("--adopt-orphans", is_flag=True, help="A renamed job takes its old tasks over.")
@click.option("--buy-again", is_flag=True, help="A renamed job pays for them once more.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Output folder.  [output.dir]")
@shared_options
def run(shared: Shared, manifests: tuple[Path, ...], **flags: Any) -> int:
    """Check, expand, submit, wait and download. The same command again continues.

    First what is already in flight is finished, then what is new is submitted, as many at once as the account takes.
    """
    if flags.pop("dry_run"):
        from batcher.cli.plan import show_plans  # noqa: PLC0415 - start-up time

        return show_plans(shared, manifests, flags)
    return run_manifests(shared, manifests, flags)


def run_manifests(shared: Shared, paths: tuple[Path, ...], flags: dict[str, Any]) -> int:
    """Run manifests one after the other; the exit code that matters most."""
    import anyio  # noqa: PLC0415 - start-up time

    from batcher.runner.outcome import worst  # noqa: PLC0415 - start-up time

    manifests = load_all(paths, flags)
    return worst([anyio.run(_run_one, shared, manifest, flags) for manifest in manifests])


def load_all(paths: tuple[Path, ...], flags: dict[str, Any]) -> list[Manifest]:
    """Load every manifest before anything is sent; the problems of all of them at once on stderr."""
    from batcher.manifest import ManifestError, load, render_text  # noqa: PLC0415 - start-up time

    manifests, errors = [], []
    for path in paths:
        try:
            manifest = load(path, variables=variables_of(flags["var"]), allow_outside=flags["allow_outside"])
            if flags["strict"] and manifest.warnings:
                raise ManifestError(str(path), manifest.warnings)
            manifests.append(manifest)
        except ManifestError as exc:
            click.echo(render_text(exc.problems), err=True)
            errors.append(exc)
    if errors:
        raise errors[0]
    return manifests


async def _run_one(shared: Shared, manifest: Manifest, flags: dict[str, Any]) -> int:
    from batcher.cli.course import follow  # noqa: PLC0415 - start-up time
    from batcher.connect import open_batch  # noqa: PLC0415
    from batcher.runner.outcome import worst  # noqa: PLC0415

    environment = shared.environment()
    endpoint = environment.endpoint(flags["provider"] or manifest.provider or "simulator")
    codes = []
    async with open_batch(shared.state, endpoint=endpoint, environment=environment, wait=flags["wait"]) as batch:
        while True:
            prepared = _prepare(batch, manifest, flags)
            confirm(prepared, shared, flags)
            choices = choices_of(flags)
            code = await follow(batch, shared, lambda emit, p=prepared, c=choices: batch.run(p, c, emit))
            codes.append(code)
            if not prepared.unfinished_edition or code not in (0, 1):
                return worst(codes)


def _prepare(batch: Batch, manifest: Manifest, flags: dict[str, Any]) -> Prepared:
    from datetime import UTC, datetime  # noqa: PLC0415 - start-up time

    from batcher.prepare import prepare  # noqa: PLC0415

    return prepare(
        manifest, endpoint=batch.endpoint, state=batch.store, now=datetime.now(UTC), edition=flags["edition"]
    )


def choices_of(flags: dict[str, Any]) -> Choices:
    """The flags as a run takes them."""
    from batcher.compose import Choices  # noqa: PLC0415 - start-up time

    names = Choices.__dataclass_fields__
    return Choices(**{name: value for name, value in flags.items() if name in names})


def confirm(prepared: Prepared, shared: Shared, flags: dict[str, Any]) -> None:
    """Say that a run will cost money, and get consent: a budget, `-y`, or a person's word.

    Raises `UsageError` where nobody can be asked, and click's Abort for a "no".
    """
    from batcher.compose import budget_of  # noqa: PLC0415 - start-up time
    from batcher.errors import UsageError  # noqa: PLC0415
    from batcher.text import human_usd  # noqa: PLC0415

    prices = prepared.to_buy()
    if prepared.endpoint.is_simulated or not prices:
        return
    cost = sum(price or 0.0 for price in prices)
    unknown = sum(price is None for price in prices)
    words = f"up to {len(prices)} clips, estimated {human_usd(cost)}" + (
        f" and {unknown} of unknown price" if unknown else ""
    )
    click.echo(f"This run is PAID: {words} on {prepared.scope}.", err=True)
    has_budget = budget_of(prepared.manifest, choices_of(flags)).limits_money
    if flags["yes"] or has_budget:
        return
    if not sys.stdin.isatty() or shared.json:
        raise UsageError(
            f"this run would spend {words}, and there is nobody to ask; nothing was sent",
            hint=f"add  -y  or  --max-usd {cost + 0.01:.2f}  or to {prepared.manifest.path}:  budget: {{max_usd: ...}}",
        )
    if cost > ASK_ABOVE_USD or unknown:
        click.confirm("Go on?", abort=True, err=True)
