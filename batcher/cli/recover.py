"""`batcher recover`: a lost or copied state, rebuilt from the provider's list, the output folder and the manifest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from batcher.choices import Choices
from batcher.cli.common import Shared, max_file_option, out_option, shared_options
from batcher.cli.manifests import load_all
from batcher.connect import open_batch
from batcher.report.document import SCHEMA, plain
from batcher.report.recover import recover_text
from batcher.text import printable

if TYPE_CHECKING:
    from batcher.manifest import Manifest
    from batcher.report.views import RecoverView


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--provider", help="simulator or cometapi, instead of the manifest's.")
@click.option("--var", multiple=True, metavar="NAME=VALUE", help="Replace a variable of the manifest.")
@click.option("--edition", help="This edition, instead of the manifest's.")
@click.option("--allow-outside", is_flag=True, help="Let prompt files lie outside the manifest's folder.")
@max_file_option
@click.option("--wait", is_flag=True, help="Wait for another run on this state to end.")
@out_option
@shared_options
def recover(shared: Shared, manifest: Path, **flags: Any) -> int:
    """Rebuild a lost or copied state; or add what it does not know. Never spends, never sends.

    A generation is tied to its task by an id: of the list, a receipt or a sidecar. What may have been bought, and
    cannot be tied, is `unclear` and told: the next run does not buy it.
    """
    loaded = load_all((manifest,), {**flags, "strict": False})[0]
    view = anyio.run(partial(_recover, shared, loaded, flags))
    shared.result(recover_text(view), {"schema": SCHEMA, "document": "recover", **plain(view)})
    return 1 if view.unclear else 0


async def _recover(shared: Shared, manifest: Manifest, flags: dict[str, Any]) -> RecoverView:
    def tell(line: str) -> None:
        if not shared.quiet:
            click.echo(printable(line), err=True)

    environment = shared.environment()
    endpoint = environment.endpoint(flags["provider"] or manifest.provider or "simulator")
    async with open_batch(shared.state, endpoint=endpoint, environment=environment, wait=flags["wait"]) as batch:
        return await batch.recover(manifest, Choices(out=flags["out"]), edition=flags["edition"], tell=tell)
