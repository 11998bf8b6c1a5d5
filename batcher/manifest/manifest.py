"""A manifest as a value: what a run needs to know, and the way to its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from batcher.manifest.expand import Expansion, Settled
from batcher.manifest.files import MAX_BYTES, Sources
from batcher.manifest.problems import ManifestError, Problem, Problems
from batcher.manifest.templates import parse as parse_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date, datetime
    from pathlib import Path

    from batcher.manifest.schema import ManifestFile
    from batcher.manifest.yaml import Document
    from batcher.tasks import TaskSpec

PROMPT_LIMIT = 500
NEGATIVE_PROMPT_LIMIT = 200
"""CometAPI's text-to-video page; Kling's own allows 2,500 for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The manifest's `run`; a flag of the same name wins over it."""

    concurrency: int | None = None
    timeout_s: float = 1800.0
    attempts: int = 1
    fail_fast: bool = False
    max_failures: int | float | None = None
    """An int counts tasks, a float is a share of them."""
    quiet_window_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The manifest's `budget`; None is no limit."""

    max_usd: float | None = None
    max_usd_per_day: float | None = None
    max_tasks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """A message to a web address."""

    on: tuple[str, ...]
    url: str
    """An address, or `${NAME}` for one in the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When the job is meant to run."""

    cron: str | None = None
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a manifest is read; from the command line."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Replace those of `vars`."""
    allow_outside: bool = False
    """Whether its files may lie outside its folder."""
    max_bytes: int = MAX_BYTES
    """For each file."""
    prompt_limit: int | None = None
    """Replaces `run.prompt_limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run needs to know of a manifest."""

    path: Path
    """As typed on the command line."""
    sha256: str
    job: str
    provider: str | None
    """None where the manifest names none."""
    edition: str | None
    """A template; see `render_edition`."""
    output_dir: str
    settings: RunSettings
    budget: Budget
    notify: tuple[Notify, ...]
    schedule: Schedule
    warnings: tuple[Problem, ...] = ()
    """Those that need no expansion; `expand` finds more."""
    options: LoadOptions
    model: ManifestFile = field(repr=False)
    document: Document = field(repr=False)

    def expand(self, *, edition: str, problems: Problems | None = None) -> Iterator[TaskSpec]:
        """Every task, in a stream. Raises ManifestError at its end if anything is wrong: buy nothing before.

        Warnings go to `problems` where it is given.
        """
        found = Problems() if problems is None else problems
        yield from self.expansion(found, edition=edition).tasks()
        if found.errors:
            raise ManifestError(str(self.path), found)

    def expansion(self, problems: Problems, *, edition: str) -> Expansion:
        """The expansion behind `expand`, which collects problems and raises nothing."""
        limit = self.options.prompt_limit or self.model.run.prompt_limit or PROMPT_LIMIT
        settled = Settled(
            job=self.job,
            edition=edition,
            variables={**self.model.vars, **self.options.variables},
            prompt_limit=limit,
            negative_prompt_limit=limit if limit > PROMPT_LIMIT else NEGATIVE_PROMPT_LIMIT,
        )
        sources = Sources(
            self.path,
            allow_outside=self.options.allow_outside,
            max_bytes=self.options.max_bytes,
            problems=problems,
        )
        return Expansion(self.model, self.document, sources, settled=settled, problems=problems)

    def render_edition(self, now: datetime) -> str:
        """The edition as of `now` (with a time zone): `today` is a date in `schedule.timezone`. '' without one."""
        if self.edition is None:
            return ""
        return self.edition_of(now.astimezone(ZoneInfo(self.schedule.timezone)).date())

    def edition_of(self, today: date) -> str:
        """The edition of a day. Raises TemplateError where its template has other names than these."""
        year, week, _ = today.isocalendar()
        names = {
            "today": today.isoformat(),
            "week": f"{year}-W{week:02d}",
            "month": f"{today:%Y-%m}",
            "job": self.job,
        }
        return parse_template(self.edition or "").render(names).strip()
