"""`batcher check`: every problem of every manifest, with its place. Sends nothing, needs no key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher.cli.common import Shared, max_file_option, prices_option, shared_options

if TYPE_CHECKING:
    from batcher.manifest import Checked, Problem
    from batcher.prices import Prices


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output-format", type=click.Choice(["text", "json", "github"]), default="text", help="How to report.")
@click.option("--allow-outside", is_flag=True, help="Let prompt files lie outside the manifest's folder.")
@max_file_option
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="Replace a variable of the manifest.")
@prices_option
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@shared_options
def check(
    shared: Shared,
    manifests: tuple[Path, ...],
    *,
    output_format: str,
    allow_outside: bool,
    max_bytes: int,
    variables: tuple[str, ...],
    prices: Prices,
    strict: bool,
) -> int:
    """Validate manifests and all their prompts; report every problem with file, line and column."""
    from batcher.manifest import LoadOptions, examine, render_github, render_json  # noqa: PLC0415 - start-up time

    options = LoadOptions(variables=_pairs(variables), allow_outside=allow_outside, max_bytes=max_bytes)
    results = list(examine(manifests, now=datetime.now(UTC), options=options, prices=prices))
    problems = [problem for result in results for problem in result.problems]
    if shared.json or output_format == "json":
        click.echo(render_json(problems))
    elif output_format == "github":
        if problems:
            click.echo(render_github(problems))
    else:
        for result in results:
            _tell(result, strict=strict, quiet=shared.quiet)
    return 2 if any(_is_error(problem, strict=strict) for problem in problems) else 0


def _tell(result: Checked, *, strict: bool, quiet: bool) -> None:
    from batcher.manifest import ManifestError, render_text  # noqa: PLC0415 - start-up time
    from batcher.text import printable  # noqa: PLC0415 - start-up time

    if problems := list(result.problems):
        click.echo(render_text(problems), err=True)
    if any(_is_error(problem, strict=strict) for problem in problems):
        click.echo(ManifestError(str(result.path), result.problems).message, err=True)
    elif not quiet:
        click.echo(f"{printable(str(result.path))}: {_counted(result.tasks)}, {_cost(result)}")


def _cost(result: Checked) -> str:
    from batcher.text import human_usd  # noqa: PLC0415 - start-up time

    cost = ("≈ " if result.is_estimate else "") + human_usd(result.usd)
    if result.unpriced:
        cost += f" and {result.unpriced} without a known price"
    if result.manifest is None or result.manifest.provider in (None, "simulator"):
        return f"free on the simulator ({cost} at CometAPI)"
    return cost


def _counted(tasks: int) -> str:
    return f"{tasks} task{'' if tasks == 1 else 's'}"


def _is_error(problem: Problem, *, strict: bool) -> bool:
    return strict or problem.severity == "error"


def _pairs(variables: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in variables]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} has no value; write --var name=value", param_hint="--var")
    return {name: value for name, _, value in pairs}
