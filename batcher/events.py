"""What a run tells: events as they happen, a snapshot at any moment, a summary at the end. Values only; pure.

The runner emits them and never prints; the terminal, `--json`, the state's `events` table and the library all
subscribe to the same stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.tasks import Task


class EventKind(StrEnum):
    """What happened. The words of `--json` and of the log lines."""

    RUN = "run"
    """A run begins. detail: run, manifest, tasks, provider, limit, simulated."""
    PLAN = "plan"
    """What it will do. detail: to_submit, in_flight, done, failed, unclear, orphaned, cost_usd, budget_usd."""
    SUBMIT = "submit"
    """An intent is on disk and the create call goes out."""
    SUBMITTED = "submitted"
    """The provider took it."""
    ADOPTED = "adopted"
    """A generation paid for earlier was found under our id; nothing was bought. detail: how."""
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    DOWNLOAD = "download"
    """A download begins."""
    DONE = "done"
    """The clip is on disk, checked. path, and detail: bytes, duration_s, width, height."""
    BACK = "back"
    """Not created (slots full, not sent): waits and goes again under the same id. detail: reason, wait_s."""
    DOUBT = "doubt"
    """The fate of a create call is unknown; it rests, then is looked up. detail: reason, wait_s."""
    UNCLEAR = "unclear"
    """Parked: a person decides. detail: reason."""
    OVERDUE = "overdue"
    """Past its time-out, still running at the provider; nothing is resubmitted."""
    FAILED = "failed"
    """detail: code, reason, next (`retry` or not)."""
    RETRY = "retry"
    """A new attempt is bought, as `run.attempts` allows. detail: attempt, wait_s."""
    CHECKED = "checked"
    """Recorded files were held against their size and sha256. detail: files, whole, findings."""
    RENEWED = "renewed"
    """A sidecar or poster was written anew. path, and detail: what."""
    WARNING = "warning"
    """detail: message."""
    STOPPING = "stopping"
    """No new submissions from here on. detail: reason, exit_code."""
    HEARTBEAT = "heartbeat"
    """Still alive. detail: the snapshot's counts."""
    SUMMARY = "summary"
    """The last event. detail: the summary."""


class Outcome(StrEnum):
    """How a run ended, in a word. Explained in `report/errors.py`, from where it comes into docs/errors.md."""

    DONE = "done"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    BUDGET = "budget"
    DEADLINE = "deadline"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    STOPPED = "stopped"
    """By an error of the account, the state or the disk."""
    CRASHED = "crashed"
    """In the table of runs only: what was written before the end was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. Safe to print: no key, no URL query; text from outside is not yet escaped."""

    kind: EventKind
    at: str
    """ISO-8601 UTC."""
    task: Task | None = None
    path: str | None = None
    """The file it is about, relative to the working directory where possible."""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str | None:
        return self.task.status.value if self.task else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """One task that something is being done for right now."""

    name: str
    status: str
    """A `Status` word, or `downloading`, `resting` (a doubt's quiet window)."""
    since_s: float
    """Seconds in this status."""
    next_look_s: float | None = None
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment."""

    job: str
    simulated: bool
    counts: Mapping[str, int]
    """Tasks by status, this run's selection only."""
    total: int
    active: tuple[Active, ...]
    limit: int
    elapsed_s: float
    eta_s: float | None
    cost_usd: float
    """Estimated, reserved attempts included."""
    budget_usd: float | None
    state_path: str
    stopping: str | None = None
    """Why nothing new is submitted, when that is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended."""

    run: str
    job: str
    outcome: Outcome
    exit_code: int
    simulated: bool
    counts: Mapping[str, int]
    downloaded: int
    """Clips brought home by this run."""
    submitted: int
    """Create calls accepted in this run."""
    cost_usd: float
    """Estimated cost of what this run submitted."""
    cost_is_estimate: bool
    elapsed_s: float
    out: str
    files: tuple[str, ...] = ()
    reason: str | None = None
    """One sentence when the run stopped early."""
    hint: str | None = None
    next: tuple[str, ...] = ()
    """Commands to type next, most useful first."""
