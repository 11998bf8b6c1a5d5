"""Values for the tests of the views, and a clock that moves when told to."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta

from batcher.cli.progress import Sink
from batcher.cli.screen import LiveProgress, make_console
from batcher.events import Active, Event, EventKind, Snapshot, Summary
from batcher.tasks import Status, Task

AT = "2026-11-22T13:06:33.123456+00:00"
SNAPSHOT = Snapshot(
    job="autumn",
    simulated=False,
    counts={"downloaded": 4, "failed": 1, "processing": 3, "pending": 16},
    total=24,
    active=(
        Active(name="tram", status="downloading", since_s=1, bytes_per_s=2_100_000),
        Active(name="[bold]fox[/bold]", status="processing", since_s=75, next_look_s=10),
    ),
    limit=4,
    elapsed_s=12,
    eta_s=89,
    cost_usd=2.24,
    budget_usd=25,
    state_path="state.db",
)
SUMMARY = Summary(
    run="r1",
    job="autumn",
    outcome="done",
    exit_code=0,
    simulated=False,
    counts={"downloaded": 1},
    downloaded=1,
    submitted=1,
    cost_usd=0.28,
    cost_is_estimate=True,
    elapsed_s=75,
    out="out/autumn",
)


def make_event(kind, *, name="fox", source="jobs/a.yaml:22", **detail):
    task = Task(
        **(dict.fromkeys(f.name for f in fields(Task)) | {"name": name, "source": source, "status": Status.FAILED})
    )
    return Event(kind=kind, at=AT, task=task, detail=detail)


def summary_event():
    return Event(kind=EventKind.SUMMARY, at=AT, detail=asdict(SUMMARY))


def every_event():
    return [summary_event() if kind is EventKind.SUMMARY else make_event(kind) for kind in EventKind]


def make_live(stream, **options):
    return LiveProgress(make_console(Sink(stream), color=False, width=80, height=24), **options)


class Clock:
    """A clock that moves when told to."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def now(self):
        return datetime(2026, 11, 22, 13, tzinfo=UTC) + timedelta(seconds=self.seconds)
