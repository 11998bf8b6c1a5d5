"""`batcher simulate`: the built-in provider as an HTTP server, for anybody's tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from batcher.cli.common import stop_on_signals
from batcher.simulator.settings import DEMO_TIME_SCALE, Clips, Settings, Shape, UsedId

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = click.Path(dir_okay=False, path_type=Path)


def _chances(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, float]:
    chances = {}
    for text in given:
        name, _sign, chance = text.partition("=")
        try:
            chances[name] = float(chance)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not NAME=CHANCE, as in reset-after=0.1") from error
    return chances


def _list_faults(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click passes it so
    if not wanted:
        return
    from batcher.simulator.faults import FAULTS  # noqa: PLC0415 - only here

    for fault in FAULTS.values():
        click.echo(f"{fault.name:18} {fault.door:7} {fault.about}")
    context.exit()


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default="a free one", help="Port to listen on.")
@click.option("--limit", default=5, show_default=True, help="Generations an account may have in flight.")
@click.option(
    "--time-scale",
    default=DEMO_TIME_SCALE,
    show_default=True,
    help="Real seconds a simulated second takes; 1 is the true pace, minutes a clip.",
)
@click.option(
    "--generation-s",
    type=float,
    metavar="SECONDS",
    help="Real seconds every generation takes, exactly; without it they are drawn for the model.",
)
@click.option(
    "--shape", type=click.Choice(get_args(Shape)), default="native", show_default=True, help="Who wraps the replies."
)
@click.option(
    "--used-ids",
    type=click.Choice(get_args(UsedId)),
    default="refuse",
    show_default=True,
    help="What a used id meets.",
)
@click.option(
    "--clips",
    type=click.Choice(get_args(Clips)),
    default="rendered",
    show_default=True,
    help="A film of each prompt, one small file, or that with the generation's id in it.",
)
@click.option(
    "--clip-bytes", default=0, show_default=True, help="At least so many bytes a clip; real ones have 5-20 MB."
)
@click.option("--ranges/--no-ranges", default=True, show_default=True, help="Whether clips can be had in parts.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same times and the same faults.")
@click.option("--key", "keys", multiple=True, help="A key to accept; without one, any is.  [repeatable]")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    callback=_chances,
    metavar="NAME=CHANCE",
    help="As reset-after=0.1.  [repeatable]",
)
@click.option("--script", multiple=True, metavar="NAME", help="A fault for the next call at its door.  [repeatable]")
@click.option(
    "--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_list_faults, help="Name the faults."
)
@click.option("--world", type=_FILE, help="Keep the world in this file, and go on from it.")
@click.option("--certfile", type=_FILE, help="Serve https with this certificate ...")
@click.option("--keyfile", type=_FILE, help="... and its key.")
def simulate(
    *,
    host: str,
    port: int,
    world: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
    **options: Any,
) -> None:
    """Serve the built-in provider over HTTP, for anybody's tests. Nothing here costs money.

    GET /_ledger tells what it was asked and what it would have charged; POST /_faults scripts faults while it runs.
    """
    from batcher.simulator.serving import start  # noqa: PLC0415 - a server takes 150 ms to load

    if (certfile is None) != (keyfile is None):
        raise click.UsageError("--certfile and --keyfile go together")
    try:
        settings = Settings(keys=frozenset(options.pop("keys")) or None, **options)
        stop = stop_on_signals()
        tls = (certfile, keyfile) if certfile and keyfile else None
        running = start(settings, world, host=host, port=port, tls=tls)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error
    with running:
        url = running.base_url
        click.echo(f"simulator listening on {url}  ledger: {url}/_ledger  (nothing here costs money)")
        stop.wait()
