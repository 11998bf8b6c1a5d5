from __future__ import annotations

import unicodedata
from dataclasses import asdict

import pytest

from batcher.events import EventKind
from batcher.report.lines import heartbeat_line, line, summary_lines, summary_of

from .samples import HOSTILE, make_event, make_snapshot, make_summary, make_task


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (make_event(EventKind.SUBMIT, task=make_task()), "submit   fox-16x9"),
        (make_event(EventKind.CHECKED, files=24, whole=24, findings=0), "checked  24 files: 24 whole"),
        (
            make_event(EventKind.CHECKED, files=24, whole=23, findings=1),
            "checked  24 files: 23 whole, 1 not as recorded",
        ),
        (
            make_event(EventKind.RENEWED, task=make_task(), path="out/fox.json", what="sidecar"),
            "renewed  fox-16x9  sidecar written anew  out/fox.json",
        ),
        (
            make_event(
                EventKind.DONE,
                task=make_task(),
                path="out/autumn/fox-16x9.mp4",
                bytes=4_200_000,
                duration_s=5.041,
                width=1920,
                height=1080,
            ),
            "done     fox-16x9  out/autumn/fox-16x9.mp4  5.0 s  1920×1080  4.2 MB",  # noqa: RUF001 - the sign of dimensions
        ),
        (make_event(EventKind.DONE, task=make_task(), path="a.mp4", width=None), "done     fox-16x9  a.mp4"),
        (
            make_event(EventKind.FAILED, task=make_task(), code="1301", reason="the prompt was refused"),
            "failed   fox-16x9  content policy (1301): the prompt was refused — jobs/autumn.yaml:22",
        ),
        (
            make_event(EventKind.FAILED, task=make_task(source=""), code="no-file", reason=None),
            "failed   fox-16x9  no-file",
        ),
        (
            make_event(EventKind.BACK, task=make_task(), reason="1303", wait_s=42),
            "back     fox-16x9  slots full (1303); goes again under the same id in 42s",
        ),
        (
            make_event(EventKind.DOUBT, task=make_task(), reason="no answer for 60 s", wait_s=120),
            "doubt    fox-16x9  no answer for 60 s; rests, then is looked up in 2m00s; nothing is bought twice",
        ),
        (
            make_event(EventKind.UNCLEAR, task=make_task(name="a fox"), reason="no path"),
            "unclear  a fox  no path — you decide: batcher resolve 'a fox' --adopt TASK_ID | --resubmit | --drop",
        ),
        (
            make_event(EventKind.ADOPTED, task=make_task(), how="found"),
            "adopted  fox-16x9  already paid for, found under its id",
        ),
        (
            make_event(EventKind.OVERDUE, task=make_task()),
            "overdue  fox-16x9  still running at the provider; it is waited for, never bought again",
        ),
        (
            make_event(EventKind.RETRY, task=make_task(), attempt=2, wait_s=30),
            "retry    fox-16x9  attempt 2 in 30s (a new purchase, as run.attempts allows)",
        ),
        (make_event(EventKind.WARNING, message="the clock is off"), "warning: the clock is off"),
        (make_event(EventKind.STOPPING, reason="Ctrl-C"), "stopping: no new submissions: Ctrl-C"),
        (
            make_event(EventKind.PLAN, to_submit=24, in_flight=0, done=0, unclear=1, cost_usd=7.98, budget_usd=25),
            "plan: 24 to submit, 0 to resume, 0 already done, 1 unclear · estimated $7.98 of $25.00",
        ),
        (
            make_event(EventKind.PLAN, to_submit=1, cost_usd=None),
            "plan: 1 to submit, 0 to resume, 0 already done · price unknown",
        ),
        (
            make_event(
                EventKind.RUN,
                run="r1",
                manifest="jobs/a.yaml",
                tasks=24,
                provider="simulator",
                limit=4,
                simulated=True,
            ),
            "run r1 · jobs/a.yaml · 24 tasks · provider simulator (SIMULATED: nothing is paid) · ≤ 4 in flight",
        ),
    ],
    ids=lambda value: value.kind.value if hasattr(value, "kind") else "",
)
def test_an_event_is_one_line(event, words):
    assert line(event) == words


@pytest.mark.parametrize("kind", sorted(set(EventKind) - {EventKind.HEARTBEAT, EventKind.SUMMARY}))
def test_no_event_carries_control_characters_to_a_terminal(kind):
    """Whatever a provider, a manifest or a file name says, the line is one line and steers nothing."""
    words = ("reason", "message", "how", "code", "run", "manifest", "provider")
    task = make_task(name=HOSTILE, source=HOSTILE)
    shown = line(make_event(kind, task=task, path=HOSTILE, **dict.fromkeys(words, HOSTILE)))
    assert shown
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Zl", "Zp", "Cs"}


@pytest.mark.parametrize("kind", sorted(set(EventKind) - {EventKind.SUMMARY}))
def test_an_event_without_detail_can_be_told(kind):
    """A view never stops a run because a detail is missing."""
    line(make_event(kind))


def test_a_finished_run_says_what_there_is_and_what_it_cost():
    lines = summary_lines(make_summary(next=("batcher gallery autumn",)))
    assert lines == [
        "24 downloaded, 0 failed, 0 left in 1m15s · ≈ $6.72 · files out/autumn",
        "next: batcher gallery autumn",
    ]


def test_a_settled_price_is_not_marked_as_an_estimate():
    assert "· $6.72 ·" in summary_lines(make_summary(cost_is_estimate=False))[0]


def test_a_second_run_says_that_nothing_was_bought():
    head = summary_lines(make_summary(downloaded=0, submitted=0, cost_usd=0.0))[0]
    assert head.startswith("0 downloaded, 24 already there, 0 failed, 0 left")
    assert "nothing bought" in head


def test_a_simulated_run_says_so_and_names_no_bill():
    lines = summary_lines(make_summary(simulated=True))
    assert "would cost ≈ $6.72" in lines[0]
    assert lines[1].startswith("SIMULATED")


def test_a_stopped_run_ends_with_why_and_the_next_command():
    lines = summary_lines(
        make_summary(
            outcome="budget",
            counts={"downloaded": 20, "pending": 3, "unclear": 1, "failed": 2},
            downloaded=20,
            reason="the next clip would pass $25.00",
            hint="raise it with --max-usd",
            next=("batcher run jobs/autumn.yaml --max-usd 30", "batcher status autumn"),
        )
    )
    assert lines[0].startswith("20 downloaded, 2 failed, 1 unclear, 3 left")
    assert lines[1:] == [
        "budget: the next clip would pass $25.00",
        "hint: raise it with --max-usd",
        "next: batcher run jobs/autumn.yaml --max-usd 30   (or: batcher status autumn)",
    ]


def test_a_summary_without_advice_still_ends_with_a_command():
    assert summary_lines(make_summary(job="my job"))[-1] == "next: batcher status 'my job'"


def test_the_summary_survives_the_event_stream():
    summary = make_summary(files=("a.mp4",), next=("x", "y"))
    assert summary_of(make_event(EventKind.SUMMARY, **asdict(summary))) == summary


def test_a_heartbeat_counts_what_is_done_running_and_waiting():
    assert heartbeat_line(make_snapshot()) == (
        "alive    5 of 24 finished · 3 in flight · 16 waiting · ≈ $2.24 of $25.00 · eta 1m29s"
    )
