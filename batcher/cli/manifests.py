"""What the verbs that take manifests do first: load them all, and read the flags as a run takes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from batcher.choices import Choices
from batcher.cli.common import variables_of
from batcher.manifest import LoadOptions, ManifestError, examine, load, render_text

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.manifest import Manifest


def load_all(paths: tuple[Path, ...], flags: dict[str, Any]) -> list[Manifest]:
    """Check every manifest before anything is sent.

    Raises `ManifestError` for the last bad one; the problems of the others are printed.
    """
    options = LoadOptions(
        variables=variables_of(flags["var"]), allow_outside=flags["allow_outside"], max_bytes=flags["max_bytes"]
    )
    if len(paths) == 1 and not flags["strict"]:  # expanded, and so checked whole, when it is prepared
        return [
            load(
                paths[0],
                variables=options.variables,
                allow_outside=options.allow_outside,
                max_bytes=options.max_bytes,
            )
        ]
    manifests, bad = [], []
    for checked in examine(paths, now=datetime.now(UTC), options=options):
        warnings = [p for p in checked.problems if p.severity == "warning"] if flags["strict"] else []
        if checked.manifest is None or checked.problems.errors or warnings:
            bad.append(ManifestError(str(checked.path), checked.problems))
        else:
            manifests.append(checked.manifest)
    for error in bad[:-1]:
        click.echo(render_text(error.problems), err=True)
    if bad:
        raise bad[-1]
    return manifests


def choices_of(flags: dict[str, Any]) -> Choices:
    """The flags as a run takes them."""
    names = Choices.__dataclass_fields__
    return Choices(**{name: value for name, value in flags.items() if name in names})
