"""A task and what becomes of it, as values. Which status may follow which stands here and nowhere else. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Status(StrEnum):
    """What is true of a task now."""

    PENDING = "pending"
    """Wanted; nothing is at the provider."""
    SUBMITTING = "submitting"
    """The intent to submit is on disk; the create call may or may not have been made."""
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    """Finished at the provider, not yet downloaded. The slot is free."""
    DOWNLOADED = "downloaded"
    FAILED = "failed"
    UNCLEAR = "unclear"
    """The provider may have taken it; never resent by itself. `batcher resolve` settles it."""
    CANCELLED = "cancelled"

    @property
    def is_in_flight(self) -> bool:
        """Whether it occupies one of the account's slots, or may."""
        return self in IN_FLIGHT


IN_FLIGHT = frozenset({Status.SUBMITTING, Status.SUBMITTED, Status.PROCESSING})

NEXT: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.SUBMITTING, Status.CANCELLED}),
    Status.SUBMITTING: frozenset(
        # downloaded: the state was lost, and the whole clip of this very id lies in the output folder
        {Status.PENDING, Status.SUBMITTED, Status.FAILED, Status.UNCLEAR, Status.DOWNLOADED}
    ),
    # pending, from here on: a person pays again by name (`retry --pay-again`), under a new id
    Status.SUBMITTED: frozenset({Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.PENDING}),
    Status.PROCESSING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.PENDING}),
    Status.SUCCEEDED: frozenset({Status.DOWNLOADED, Status.FAILED, Status.CANCELLED}),
    Status.DOWNLOADED: frozenset({Status.SUCCEEDED, Status.CANCELLED}),  # its file was deleted: fetch it again
    Status.FAILED: frozenset({Status.PENDING, Status.CANCELLED}),
    Status.UNCLEAR: frozenset({Status.SUBMITTED, Status.PENDING, Status.CANCELLED}),
    Status.CANCELLED: frozenset(),
}


class ErrorCode(StrEnum):
    """What hinders a task, in our words. Beside these a task's `error_code` may be the provider's own code.

    Each is explained in `report/errors.py`, from where it comes into docs/errors.md.
    """

    MODERATION = "moderation"
    """It was made, and the provider's moderation withholds it."""
    FAILED = "failed"
    """The provider could not make it."""
    UNANSWERED = "unanswered"
    """Create calls were made, none was answered, and each was proved to have created nothing."""
    UNCLEAR = "unclear"
    """A create call may have been taken."""
    UNMATCHED = "unmatched"
    """Unclear since `recover`: nothing says that it was sent, and nothing that it was not."""
    ASSET = "asset"
    """It is finished, and its clip could not be fetched yet."""
    EXPIRED = "expired"
    """It was finished, and its clip was cleared before it was fetched."""
    GONE = "gone"
    """Its clip was home, is gone from disk, and the provider has cleared it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One video wanted, as the manifest says it: what expansion yields and the state stores once."""

    job: str
    name: str
    """Unique among the job's tasks of one edition: `fox-16x9-dawn-t1`."""
    edition: str = ""
    take: str = "1"
    """`1`, `2` ... from the manifest; `r1`, `r2` ... for rerolls."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """The API's own field names, `prompt` and `model_name` among them; never `callback_url` or
    `external_task_id`."""
    source: str = ""
    """`jobs/x.yaml:14`, or the CSV or JSONL line it came from."""
    priority: int = 0
    """Higher goes first."""
    output: str = ""
    """Where its files go: a POSIX path without extension, relative to the output root."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What filled its templates, for reports and exports. Not part of its identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of `tasks`, with the newest attempt's facts."""

    id: int
    job: str
    name: str
    edition: str
    take: str
    scope: str
    content_hash: str
    status: Status
    external_task_id: str
    request: Mapping[str, Any]
    source: str
    priority: int
    output: str
    attempt: int
    attempts_allowed: int
    """`run.attempts` as it stood when the task was planned, raised by `retry`."""
    generation_id: str | None
    cost_usd: float | None
    """Estimated price of the newest attempt, US dollars; None where no price is known."""
    cost_is_estimate: bool
    error_class: str | None
    error_code: str | None
    error_message: str | None
    not_before: str | None
    created_at: str
    submitted_at: str | None
    finished_at: str | None
    overdue: bool
    orphaned: bool

    @property
    def prompt(self) -> str:
        return str(self.request.get("prompt", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file we downloaded or made, with what proves that it is whole."""

    task_id: int
    kind: str
    """`video`, `poster` or `sidecar`."""
    path: str
    """POSIX path relative to the output root."""
    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    downloaded_at: str = ""
