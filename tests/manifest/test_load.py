from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from batcher.manifest import Budget, Notify, RunSettings, Schedule, examine, load
from batcher.manifest.load import job_name


def test_a_manifest_says_what_a_run_needs(write):
    text = (
        "job: autumn\nprovider: cometapi\nprompts: [A fox]\noutput: {dir: clips}\n"
        "run: {concurrency: 4, timeout: 30m, attempts: 2, fail_fast: true, max_failures: 20%, quiet_window: 90s}\n"
        "budget: {max_usd: 25, max_usd_per_day: 100.5, max_tasks: 200}\n"
        "notify: [{on: [failed, finished], url: '${SLACK_WEBHOOK}'}]\n"
        "schedule: {cron: '0 2 * * *', timezone: Europe/Berlin}\n"
    )
    write(job_yaml=text)
    manifest = load(Path("job.yaml"))
    assert (manifest.job, manifest.provider, manifest.output_dir, manifest.edition) == (
        "autumn", "cometapi", "clips", None,
    )  # fmt: skip
    assert manifest.settings == RunSettings(
        concurrency=4, timeout_s=1800, attempts=2, fail_fast=True, max_failures=0.2, quiet_window_s=90
    )
    assert manifest.budget == Budget(max_usd=25, max_usd_per_day=100.5, max_tasks=200)
    assert manifest.notify == (Notify(on=("failed", "finished"), url="${SLACK_WEBHOOK}"),)
    assert manifest.schedule == Schedule(cron="0 2 * * *", timezone="Europe/Berlin")
    assert manifest.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert manifest.path == Path("job.yaml")


def test_what_a_manifest_leaves_out_has_safe_defaults(write):
    """Nothing is paid for, and nothing is bought twice, unless it is asked for."""
    write(My_Job_yaml="prompts: [A fox]\n")
    manifest = load(Path("My.Job.yaml"))
    assert (manifest.job, manifest.provider, manifest.output_dir) == ("my-job", None, "out")
    assert (manifest.settings.attempts, manifest.settings.max_failures) == (1, None)
    assert manifest.budget == Budget()


@pytest.mark.parametrize(
    ("stem", "job"), [("demo", "demo"), ("Über 9", "uber-9"), ("v1.2", "v1-2"), ("x" * 99, "x" * 63)]
)
def test_a_job_is_called_like_its_file(stem, job):
    assert job_name(stem) == job


@pytest.mark.parametrize(
    ("timezone_", "edition"),
    [("UTC", "2026-12-31"), ("Asia/Tokyo", "2027-01-01"), ("America/New_York", "2026-12-31")],
)
def test_today_is_a_date_of_the_schedules_time_zone(write, timezone_, edition):
    write(job_yaml=f"prompts: [A fox]\nedition: '{{{{ today }}}}'\nschedule: {{timezone: {timezone_}}}\n")
    now = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    manifest = load(Path("job.yaml"))
    assert manifest.render_edition(now) == edition
    assert manifest.render_edition(now.astimezone(timezone(timedelta(hours=-9)))) == edition


def test_an_edition_can_be_a_week_a_month_or_fixed(write):
    write(
        a_yaml="prompts: [A fox]\nedition: '{{ week }}'\n",
        b_yaml="prompts: [A fox]\nedition: 'm{{ month }}'\n",
        c_yaml="prompts: [A fox]\nedition: two\n",
        d_yaml="prompts: [A fox]\n",
    )
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert [load(Path(f"{x}.yaml")).render_edition(now) for x in "abcd"] == ["2026-W53", "m2027-01", "two", ""]


def test_a_look_counts_tasks_and_money(write):
    write(
        a_yaml="prompts: [A fox, A hare]\ndefaults: {model_name: kling-v1-6}\ntakes: 2\n",
        b_yaml="prompts: [A fox]\ndefaults: {model_name: kling-v3}\n",
        c_yaml="prompts: [A fox]\ndefaults: {model_name: kling-v9}\n",
        d_yaml="prompts: []\n",
    )
    a, b, c, d = examine([Path(f"{x}.yaml") for x in "abcd"], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert (a.tasks, round(a.usd, 2), a.is_estimate, a.unpriced) == (4, 1.04, False, 0)
    assert (b.tasks, b.is_estimate) == (1, True)
    assert (c.tasks, c.usd, c.unpriced) == (1, 0, 1)
    assert (d.tasks, d.manifest) == (0, None)
