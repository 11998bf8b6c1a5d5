"""What the reports show, as values: the caller reads the state and the manifest, these carry it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.prices import PriceSource
    from batcher.tasks import Asset, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One task of a plan."""

    kind: str
    """`submit`, `resume`, `done`, `failed`, `unclear` or `orphaned`."""
    name: str
    cost_usd: float | None = None
    """What submitting it would cost; None where nothing is bought or no price is known."""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """What a run would do now."""

    job: str
    manifest: str
    provider: str
    simulated: bool
    edition: str = ""
    to_submit: int = 0
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    unclear: int = 0
    orphaned: int = 0
    cost_usd: float | None = None
    """Of what is to be submitted."""
    cost_is_estimate: bool = True
    unknown_prices: int = 0
    """Tasks to submit whose model has no known price; the cost leaves them out."""
    budget_usd: float | None = None
    spent_usd: float = 0.0
    """Spent before, of this budget."""
    prices: tuple[PriceSource, ...] = ()
    """Where the prices are from, what is asked first before the others."""
    eta_s: float | None = None
    eta_at_once: int | None = None
    """So many at the provider at once is what the time rests on."""
    eta_is_estimate: bool = False
    """It rests on usual times also: nothing of some class ended here yet."""
    unfetched: Unfetched | None = None
    lines: tuple[PlanLine, ...] = ()
    """A sample of each kind; the counts are the truth."""
    warnings: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    """Commands to type next, most useful first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfetched:
    """Clips of a job that are paid for and not home; the provider keeps them for 30 days."""

    finished: int
    perhaps: int
    """Submitted, and not seen finished yet."""
    left_s: float
    """Until the first of them is deleted."""
    command: str
    """What brings them home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveTask:
    """One task at the provider, or between two steps."""

    name: str
    status: str
    age_s: float
    """Since it was submitted, or since its intent was written."""
    overdue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTrouble:
    """One task that failed, or whose fate a person has to settle."""

    name: str
    code: str | None
    message: str | None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiringClip:
    """A finished clip that the provider will delete, not yet downloaded."""

    name: str
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Estimated cost in US dollars, by what came of it."""

    downloaded_usd: float = 0.0
    failed_usd: float = 0.0
    """Counts until a refund is known."""
    unclear_usd: float = 0.0
    in_flight_usd: float = 0.0

    @property
    def total_usd(self) -> float:
        return self.downloaded_usd + self.failed_usd + self.unclear_usd + self.in_flight_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest run of a job."""

    run: str
    started_at: str
    finished_at: str | None
    """None while it runs, or when it was killed."""
    outcome: str | None
    exit_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """One job and edition as the state has it."""

    job: str
    provider: str
    simulated: bool
    edition: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Tasks by status, orphaned ones left out."""
    orphaned: int = 0
    active: tuple[ActiveTask, ...] = ()
    failures: tuple[TaskTrouble, ...] = ()
    unclear: tuple[TaskTrouble, ...] = ()
    spend: Spend = field(default_factory=Spend)
    limit: int | None = None
    """The learnt number of slots."""
    last_run: LastRun | None = None
    eta_s: float | None = None
    eta_at_once: int | None = None
    eta_is_estimate: bool = False
    """As in a plan."""
    unfetched: Unfetched | None = None
    expiring: tuple[ExpiringClip, ...] = ()
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One generation asked for a task."""

    number: int
    external_task_id: str
    status: str
    generation_id: str | None = None
    submitted_at: str | None = None
    finished_at: str | None = None
    polls: int = 0
    cost_usd: float | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEvent:
    """One row of a task's history."""

    at: str
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One task, whole."""

    task: Task
    attempts: tuple[AttemptView, ...] = ()
    events: tuple[PastEvent, ...] = ()
    files: tuple[Asset, ...] = ()
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTrouble:
    """One thing that is not as the state recorded it."""

    name: str
    """Of the task."""
    what: str
    ailment: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyView:
    """What `verify` found."""

    files: int
    whole: int
    troubles: tuple[FileTrouble, ...] = ()
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayGeneration:
    """A generation at the provider that may be this job's, and that nothing ties to one of its tasks."""

    generation_id: str
    status: str
    created_at: str | None = None
    external_task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverView:
    """What `recover` rebuilt, and of what."""

    job: str
    provider: str
    simulated: bool
    edition: str
    listed: int | None
    """Generations in the provider's list; None where it has no list."""
    known: int
    """Tasks that the state had before."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Tasks of the job by status, now."""
    adopted: int = 0
    """Generations tied to their tasks now."""
    on_disk: int = 0
    """Clips found whole in the output folder now."""
    freed: int = 0
    """Tasks of which nothing is doubtful any more."""
    mended: int = 0
    """Damaged rows written anew."""
    editions: tuple[str, ...] = ()
    """Earlier editions of which something was found."""
    unclear: tuple[str, ...] = ()
    """Names of tasks that may have been bought."""
    reason: str | None = None
    """Why they are unclear."""
    strays: tuple[StrayGeneration, ...] = ()
    notes: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
