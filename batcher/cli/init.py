"""`batcher init`: starter files. Never overwrites one."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from batcher.errors import DiskError
from batcher.text import printable

FILES = {
    "jobs/first.yaml": """\
# What to make: each prompt in each shape. Check it:  batcher check jobs/first.yaml
version: 1
job: first
# provider: cometapi     # makes real clips and costs money; without it the built-in simulator is used, free

defaults:
  model_name: kling-v1-6
  duration: 5

prompts:
  - A lighthouse in a storm, {{ light }} light, 35mm film grain
  - id: fox
    prompt: A red fox leaps over a stream, {{ light }} light
  - file: prompts/more.txt

matrix:
  aspect_ratio: [16:9, 9:16]

vars: {light: dawn}
budget: {max_usd: 5}
""",
    "jobs/prompts/more.txt": """\
# One prompt a line; lines that begin with # are left out.
A paper boat drifts down a rain gutter, {{ light }} light
""",
    ".env.example": """\
# Copy to .env and put your key there, or keep it in the environment. It is never written anywhere else.
# COMETAPI_KEY=
""",
    ".gitignore": """\
.env
out/
state.db*
""",
}


@click.command()
@click.argument("directory", default=".", type=click.Path(path_type=Path, file_okay=False))
def init(directory: Path) -> int:
    """Write a manifest, prompts and the files around them. Files that are there are left alone."""
    for name, text in FILES.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            click.echo(f"kept     {printable(str(path))} (it was there)")
        except OSError as error:
            raise DiskError(f"{path}: {error.strerror}", hint="name a folder that you may write to") from error
        else:
            click.echo(f"written  {printable(str(path))}")
    where = "" if directory == Path() else f"cd {shlex.quote(printable(str(directory)))} && "
    click.echo(f"Next: {where}batcher run jobs/first.yaml     (free: the simulator makes the clips)")
    return 0
