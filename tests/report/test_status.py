from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.report.status import show_text, status_text
from batcher.report.views import (
    ActiveTask,
    AttemptView,
    ExpiringClip,
    LastRun,
    PastEvent,
    Spend,
    StatusView,
    TaskTrouble,
    TaskView,
    Unfetched,
)
from batcher.tasks import Asset, Status

from .samples import HOSTILE, make_task

JOB = StatusView(
    job="autumn",
    provider="cometapi",
    simulated=False,
    edition="2026-11-22",
    counts={"downloaded": 20, "processing": 1, "submitting": 1, "pending": 3, "failed": 1, "unclear": 1},
    active=(
        ActiveTask(name="tram", status="processing", age_s=2000, overdue=True),
        ActiveTask(name="espresso-16x9", status="submitting", age_s=3),
    ),
    failures=(TaskTrouble(name="jelly", code="1301", message="refused", source="jobs/autumn.yaml:22"),),
    unclear=(TaskTrouble(name="neon", code=None, message="no answer to the create call"),),
    spend=Spend(downloaded_usd=5.6, failed_usd=0.28, unclear_usd=0.28),
    limit=4,
    eta_s=700.0,
    eta_at_once=4,
    unfetched=Unfetched(finished=1, perhaps=0, left_s=2 * 86400, command="batcher collect autumn"),
    last_run=LastRun(
        run="r1", started_at="2026-11-22T01:00:00Z", finished_at="2026-11-22T02:00:00Z", outcome="failed", exit_code=1
    ),
    expiring=(ExpiringClip(name="harvest", left_s=2 * 86400),),
    next=("batcher resolve neon", "batcher retry autumn --failed"),
)

TEXT = """\
autumn · edition 2026-11-22 · cometapi
  20 downloaded   2 in flight   3 waiting   1 failed   1 unclear
  spend ≈ $6.16 (≈ $5.60 downloaded, ≈ $0.28 failed, ≈ $0.28 unclear) · limit 4 (learnt)
  left about 12m00s at 4 at once
  1 finished clip is not home; the provider deletes the first in 2d00h: batcher collect autumn
  last run r1, failed (exit 1), finished 2026-11-22T02:00:00Z
  in flight
    tram           processing  33m20s  overdue
    espresso-16x9  submitting    3.0s
  failed
    jelly  content policy (1301): refused  jobs/autumn.yaml:22
  unclear: the provider may have taken them; you decide
    neon  no answer to the create call
  will be deleted by the provider
    harvest  in 2d00h
next: batcher resolve neon   (or: batcher retry autumn --failed)
"""


def test_status_shows_counts_money_troubles_and_the_next_command():
    assert status_text([JOB]) == TEXT


def test_an_empty_state_says_how_to_begin():
    assert status_text([]).endswith("next: batcher run MANIFEST\n")


def test_jobs_stand_apart():
    assert status_text([JOB, JOB]) == f"{TEXT}\n{TEXT}"


def test_failed_only_lists_every_failure_and_nothing_else():
    failures = tuple(TaskTrouble(name=f"clip-{n}", code="1301", message="no") for n in range(50))
    text = status_text([replace(JOB, failures=failures)], failed_only=True)
    assert text.count("clip-") == 50
    assert "downloaded" not in text


def test_a_long_list_is_cut_with_a_count():
    active = tuple(ActiveTask(name=f"clip-{n}", status="processing", age_s=1) for n in range(50))
    text = status_text([replace(JOB, active=active)])
    assert text.count("clip-") == 20
    assert "… and 30 more" in text


def test_no_failures_is_said_plainly():
    assert "nothing failed" in status_text([replace(JOB, failures=(), unclear=())], failed_only=True)


def test_a_killed_run_is_not_called_finished():
    killed = LastRun(run="r1", started_at="2026-11-22T01:00:00Z", finished_at=None, outcome=None, exit_code=None)
    assert "begun 2026-11-22T01:00:00Z, not finished" in status_text([replace(JOB, last_run=killed)])


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "batcher resolve neon"),
        ({"unclear": ()}, "batcher retry autumn --failed"),
        ({"unclear": (), "failures": ()}, "batcher resume"),
        ({"unclear": (), "failures": (), "counts": {"downloaded": 3}}, "batcher plan MANIFEST"),
    ],
)
def test_status_finds_the_next_command_itself(changes, command):
    assert status_text([replace(JOB, next=(), **changes)]).endswith(f"next: {command}\n")


def test_show_tells_one_task_from_request_to_file():
    task = make_task(status=Status.DOWNLOADED, edition="e1", overdue=True)
    view = TaskView(
        task=task,
        attempts=(
            AttemptView(
                number=1,
                external_task_id="autumn-00ff-a1",
                status="failed",
                error_code="1301",
                error_message="no",
                cost_usd=0.28,
            ),
            AttemptView(
                number=2,
                external_task_id="autumn-00ff-a2",
                status="succeeded",
                generation_id="123",
                submitted_at="2026-11-22T01:00:00Z",
                polls=4,
                cost_usd=0.28,
            ),
        ),
        events=(PastEvent(at="2026-11-22T01:00:00Z", kind="submit"),),
        files=(
            Asset(
                task_id=7,
                kind="video",
                path="a.mp4",
                size_bytes=1000,
                sha256="ab" * 32,
                width=16,
                height=9,
                duration_s=5.04,
            ),
        ),
        next=("batcher verify autumn",),
    )
    assert (
        show_text(view)
        == """\
task    fox-16x9@e1
job     autumn
status  downloaded, overdue
id      autumn-00ff-a1
source  jobs/autumn.yaml:22
cost    ≈ $0.28
  request
    prompt    A fox
    duration  5
  attempts
    a1  failed     -    -                     -  0 looks  ≈ $0.28  content policy (1301): no
    a2  succeeded  123  2026-11-22T01:00:00Z  -  4 looks  ≈ $0.28
  files
    video  a.mp4  1.0 kB  5.0 s  16×9  abababababab
  events
    2026-11-22T01:00:00Z  submit
next: batcher verify autumn
"""  # noqa: RUF001 - the sign of dimensions
    )


def test_nothing_from_outside_steers_the_terminal():
    task = make_task(
        name=HOSTILE, request={HOSTILE: HOSTILE}, error_code=HOSTILE, error_message=HOSTILE, source=HOSTILE
    )
    trouble = TaskTrouble(name=HOSTILE, code=HOSTILE, message=HOSTILE, source=HOSTILE)
    texts = (show_text(TaskView(task=task)), status_text([replace(JOB, job=HOSTILE, failures=(trouble,), next=())]))
    assert all(line.isprintable() for text in texts for line in text.splitlines())
