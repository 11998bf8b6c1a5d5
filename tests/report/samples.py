"""Values for the tests of the reports: each factory takes only what the test is about."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from batcher.events import Active, Event, EventKind, Snapshot, Summary
from batcher.tasks import Status, Task

AT = "2026-11-22T13:06:33.123456+00:00"

HOSTILE = "\x1b[2J\u202e<b>[red]%\n::error::x"


def make_task(**changes: Any) -> Task:
    plain = dict.fromkeys(field.name for field in fields(Task))
    known = {
        "id": 7,
        "job": "autumn",
        "name": "fox-16x9",
        "edition": "",
        "take": "1",
        "status": Status.PROCESSING,
        "external_task_id": "autumn-00ff-a1",
        "request": {"prompt": "A fox", "duration": "5"},
        "source": "jobs/autumn.yaml:22",
        "attempt": 1,
        "cost_usd": 0.28,
        "cost_is_estimate": True,
        "overdue": False,
        "orphaned": False,
    }
    return Task(**(plain | known | changes))


def make_event(kind: EventKind, *, task: Task | None = None, path: str | None = None, **detail: Any) -> Event:
    return Event(kind=kind, at=AT, task=task, path=path, detail=detail)


def make_summary(**changes: Any) -> Summary:
    known: dict[str, Any] = {
        "run": "20261122T130633Z-7f3a",
        "job": "autumn",
        "outcome": "done",
        "exit_code": 0,
        "simulated": False,
        "counts": {"downloaded": 24},
        "downloaded": 24,
        "submitted": 24,
        "cost_usd": 6.72,
        "cost_is_estimate": True,
        "elapsed_s": 75.0,
        "out": "out/autumn",
    }
    return Summary(**(known | changes))


def make_snapshot(*, active: int = 2, **changes: Any) -> Snapshot:
    known: dict[str, Any] = {
        "job": "autumn",
        "simulated": False,
        "counts": {"downloaded": 4, "failed": 1, "processing": 3, "pending": 16},
        "total": 24,
        "active": tuple(
            Active(name=f"clip-{number}", status="processing", since_s=75.0, next_look_s=10.0)
            for number in range(active)
        ),
        "limit": 4,
        "elapsed_s": 12.0,
        "eta_s": 89.0,
        "cost_usd": 2.24,
        "budget_usd": 25.0,
        "state_path": "state.db",
    }
    return Snapshot(**(known | changes))
