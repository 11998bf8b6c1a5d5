"""Rows to values and back: the one place that knows column names and our types at once. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.errors import StateError
from batcher.policy.polling import Durations
from batcher.tasks import Asset, Status, Task
from batcher.times import unix

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a job needs without its manifest: where its files go and how it runs."""

    job: str
    scope: str
    root: str
    """The output root, absolute, or relative to the state file's folder."""
    folder: str
    """The job's folder below the root: `<job>`, or `<job>-simulated`."""
    manifest: str | None
    manifest_sha256: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known about one account at one provider. The key itself is not."""

    scope: str
    key_fingerprint: str
    base_url: str
    namespace: str
    finds_ids: bool | None = None
    refuses_ids: bool = False
    has_list: bool | None = None
    lag_s: float = 0.0
    """The longest time from an accepted call until a look showed it."""
    used: bool = False
    """A create call was accepted and looked up here: the canary's job is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One row of `attempts`."""

    external_task_id: str
    number: int
    status: Status
    generation_id: str | None
    posts: int
    refusals: int
    inherited: bool
    """The id was in use before this row: from a receipt, or a person's resubmission."""
    submitted_at: str | None
    key_fingerprint: str
    """The key of its last create call; empty where that is not known."""
    asset_url: str | None = field(repr=False)
    asset_expires_at: str | None


class Expiring(NamedTuple):
    """A clip that the provider will delete."""

    name: str
    status: Status
    dies_at: float
    """Unix seconds; where the provider did not say it yet, 30 days after the task was submitted."""


class Line(NamedTuple):
    """What tasks on a bill have in common."""

    name: str
    """Their class."""
    usd: float | None
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of `runs`, as it begins."""

    id: str
    command: str
    job: str
    provider: str
    started_at: str
    manifest: str | None = None
    manifest_sha256: str | None = None


_UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)


def unreadable(what: str, error: BaseException) -> StateError:
    """What to raise for a row that no version of ours wrote: somebody edited it, or made the file."""
    return StateError(
        f"{what} in the state cannot be read: {error}", hint="undo what was edited by hand, or restore a backup"
    )


def parameters_of(number: int, text: str | None) -> dict[str, Any]:
    """What a row of `parameters` says of a request, beside its prompt."""
    try:
        return _mapping(text or "")
    except _UNREADABLE as exc:
        raise unreadable(f"row {number} of parameters", exc) from exc


def bytes_of(content: str) -> bytes | None:
    """A content hash as the state keeps it; None for a text that is none."""
    try:
        return bytes.fromhex(content)
    except ValueError:
        return None


def task_of(row: Mapping[str, Any], parameters: Mapping[str, Any]) -> Task:
    """One `tasks` row as a value. A status outside the known ones stops the run: somebody edited by hand."""
    prompt = row["prompt"]
    try:
        for moment in ("not_before", "created_at", "submitted_at", "finished_at"):
            if row[moment] is not None:
                unix(row[moment])
        return Task(
            id=row["id"],
            job=row["job"],
            name=row["name"],
            edition=row["edition"],
            take=row["take"],
            scope=row["scope"],
            content_hash=row["content_hash"].hex(),
            status=Status(row["status"]),
            external_task_id=row["external_task_id"],
            request={"prompt": prompt, **parameters} if prompt else parameters,
            source=row["source"],
            priority=row["priority"],
            output=row["output"],
            attempt=row["attempt"],
            attempts_allowed=row["attempts_allowed"],
            generation_id=row["generation_id"],
            cost_usd=row["cost_usd"],
            cost_is_estimate=bool(row["cost_is_estimate"]),
            error_class=row["error_class"],
            error_code=row["error_code"],
            error_message=row["error_message"],
            not_before=row["not_before"],
            created_at=row["created_at"],
            submitted_at=row["submitted_at"],
            finished_at=row["finished_at"],
            overdue=bool(row["overdue"]),
            orphaned=bool(row["orphaned"]),
        )
    except _UNREADABLE as exc:
        raise unreadable(f"task {row['id']} ({row['name']})", exc) from exc


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    return Attempt(
        external_task_id=row["external_task_id"],
        number=row["number"],
        status=Status(row["status"]),
        generation_id=row["task_id"],
        posts=row["posts"],
        refusals=row["refusals"],
        inherited=bool(row["inherited"]),
        submitted_at=row["submitted_at"],
        key_fingerprint=row["key_fingerprint"],
        asset_url=row["asset_url"],
        asset_expires_at=row["asset_expires_at"],
    )


def asset_of(row: Mapping[str, Any]) -> Asset:
    return Asset(
        task_id=row["task"],
        kind=row["kind"],
        path=row["path"],
        size_bytes=row["bytes"],
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        duration_s=row["seconds"],
        downloaded_at=row["downloaded_at"],
    )


def account_of(row: Mapping[str, Any]) -> Account:
    return Account(
        scope=row["scope"],
        key_fingerprint=row["key_fingerprint"],
        base_url=row["base_url"],
        namespace=row["namespace"],
        finds_ids=None if row["finds_ids"] is None else bool(row["finds_ids"]),
        refuses_ids=bool(row["refuses_ids"]),
        has_list=None if row["has_list"] is None else bool(row["has_list"]),
        lag_s=row["lag_s"],
        used=bool(row["used"]),
    )


def job_of(row: Mapping[str, Any]) -> Job:
    try:
        settings = _mapping(row["settings"])
        for name, value in settings.items():
            if value is not None and not isinstance(value, int | float):
                raise TypeError(f"{name} is no number")
    except _UNREADABLE as exc:
        raise unreadable(f"the settings of job {row['job']}", exc) from exc
    return Job(
        job=row["job"],
        scope=row["scope"],
        root=row["root"],
        folder=row["folder"],
        manifest=row["manifest"],
        manifest_sha256=row["manifest_sha256"],
        settings=settings,
    )


def durations_of(row: Mapping[str, Any]) -> Durations:
    """How long the generations of one class take."""
    try:
        return Durations.from_json(json.loads(row["durations"]))
    except _UNREADABLE as exc:
        raise unreadable(f"what was learnt of {row['class']!r}", exc) from exc


def moment_of(text: str, what: str) -> float:
    """A time of the state as Unix seconds."""
    try:
        return unix(text)
    except _UNREADABLE as exc:
        raise unreadable(what, exc) from exc


def _mapping(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    return value
