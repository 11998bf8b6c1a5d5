"""`batcher schema`: the manifest's JSON Schema, for editors."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> int:
    """Print the JSON Schema of manifests."""
    from batcher.manifest import json_schema  # noqa: PLC0415 - start-up time

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
