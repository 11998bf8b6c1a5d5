"""Manifests looked at from end to end, without buying anything: what is wrong, how many clips, what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.manifest.load import read
from batcher.manifest.manifest import LoadOptions, Manifest
from batcher.manifest.problems import ManifestError, Problem, Problems
from batcher.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is known of one manifest."""

    path: Path
    manifest: Manifest | None
    problems: Problems
    tasks: int = 0
    usd: float = 0.0
    """What one run of all tasks costs at CometAPI, as far as prices are known."""
    is_estimate: bool = False
    unpriced: int = 0
    """Tasks whose price nobody published."""


def check(paths: Iterable[Path], *, now: datetime, options: LoadOptions | None = None) -> list[Problem]:
    """Every problem of every manifest, warnings too; never raises for a bad one."""
    return [problem for each in examine(paths, now=now, options=options) for problem in each.problems]


def examine(
    paths: Iterable[Path], *, now: datetime, options: LoadOptions | None = None, prices: Prices | None = None
) -> Iterator[Checked]:
    """Load and expand each manifest. `now` says which edition it would be, `prices` what its clips cost."""
    for path in paths:
        yield _examine(path, now, options or LoadOptions(), prices or Prices())


def _examine(path: Path, now: datetime, options: LoadOptions, prices: Prices) -> Checked:
    problems = Problems()
    manifest = read(path, options, problems)
    if manifest is None:
        return Checked(path=path, manifest=None, problems=problems)
    tasks, usd, is_estimate, unpriced = 0, 0.0, False, 0
    try:
        for spec in manifest.expand(edition=manifest.render_edition(now), problems=problems):
            tasks += 1
            if price := prices.of(spec.request):
                usd += price.usd
                is_estimate |= price.is_estimate
            else:
                unpriced += 1
    except ManifestError:
        pass  # what it says is in `problems` already
    return Checked(
        path=path,
        manifest=manifest,
        problems=problems,
        tasks=tasks,
        usd=usd,
        is_estimate=is_estimate,
        unpriced=unpriced,
    )
