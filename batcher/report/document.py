"""What programs read: JSON documents and JSON Lines, `"schema": 1` in each. Pure.

ASCII only: whatever a provider or a manifest wrote, no escape code reaches a terminal and no locale is too small.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from batcher.text import no_orders

if TYPE_CHECKING:
    from batcher.events import Event
    from batcher.report.views import PlanView, StatusView, TaskView
    from batcher.tasks import Task

SCHEMA = 1
"""Raised when a key changes its meaning or goes away; new keys may come at any time."""

_TASK_KEYS = (
    "id",
    "job",
    "name",
    "edition",
    "take",
    "status",
    "external_task_id",
    "generation_id",
    "attempt",
    "cost_usd",
    "source",
)


def event_document(event: Event) -> dict[str, Any]:
    """Return an event as one JSON line holds it: its detail's keys stand beside `event` and `at`."""
    envelope: dict[str, Any] = {"schema": SCHEMA, "event": event.kind.value, "at": event.at}
    if event.task is not None:
        envelope["task"] = _task(event.task)
    if event.path is not None:
        envelope["path"] = event.path
    return envelope | {key: plain(value) for key, value in event.detail.items() if key not in envelope}


def plan_document(plan: Mapping[str, Any] | PlanView) -> dict[str, Any]:
    """Return the one document of `plan --json`."""
    return {"schema": SCHEMA, "document": "plan", **plain(plan)}


def status_document(jobs: Sequence[Mapping[str, Any] | StatusView]) -> dict[str, Any]:
    """Return the one document of `status --json`: an entry for each job and edition."""
    return {"schema": SCHEMA, "document": "status", "jobs": plain(jobs)}


def show_document(task: Mapping[str, Any] | TaskView) -> dict[str, Any]:
    """Return the one document of `show --json`."""
    return {"schema": SCHEMA, "document": "task", **plain(task)}


def to_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Write a document: on one line unless `indent` is given."""
    return no_orders(json.dumps(document, ensure_ascii=True, allow_nan=False, indent=indent))


def plain(value: Any) -> Any:
    """Reduce a value to what JSON has; numbers that JSON lacks become null."""
    match value:
        case Enum():
            return value.value
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case Sequence() | AbstractSet():
            return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return str(value)


def _task(task: Task) -> dict[str, Any]:
    return {key: plain(getattr(task, key)) for key in _TASK_KEYS}
