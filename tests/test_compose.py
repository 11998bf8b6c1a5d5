from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batcher.choices import Choices
from batcher.compose import (
    LOCAL_PACE,
    SIMULATOR_QUIET_WINDOW_S,
    budget_of,
    options_of,
    options_without_manifest,
    output_root,
    refuse_unknown_prices,
)
from batcher.environment import Environment
from batcher.errors import ConfigurationError, UsageError
from batcher.manifest import load
from batcher.policy.budget import Budget
from batcher.policy.polling import Pace
from batcher.prepare import prepare, settings_of
from batcher.runner.session import Options
from batcher.state.queries import Queries
from batcher.state.rows import Job

NOTHING = Environment(process={})
PAID = Environment(process={"COMETAPI_KEY": "sk-1"}).endpoint("cometapi")
SIMULATED = NOTHING.endpoint("simulator")
LOOPBACK = Environment(process={"COMETAPI_KEY": "sk-1", "COMETAPI_BASE_URL": "http://127.0.0.1:9"}).endpoint(
    "cometapi"
)

FULL = """
run: {concurrency: 6, timeout: 20m, fail_fast: false, max_failures: 3, quiet_window: 90s}
budget: {max_usd: 25, max_usd_per_day: 100, max_tasks: 200}
"""


@pytest.fixture
def manifest(tmp_path):
    """Loads a manifest of two prompts with more keys."""

    def write(more=""):
        path = tmp_path / "autumn.yaml"
        path.write_text(f"prompts: [{{id: fox, prompt: A fox}}, {{id: owl, prompt: An owl}}]\n{more}")
        return load(path)

    return write


def options(manifest, *, endpoint=PAID, environment=NOTHING, total=10, **choices):
    return options_of(manifest, Choices(**choices), endpoint=endpoint, environment=environment, total=total)


def job_of(manifest):
    settings = settings_of(manifest)
    return Job(
        job="autumn",
        scope="cometapi",
        root="out",
        folder="autumn",
        manifest=None,
        manifest_sha256=None,
        settings=settings,
    )


# ---- options ------------------------------------------------------------------------------------------------------


def test_a_manifest_that_says_nothing_gets_the_defaults(manifest):
    assert options(manifest()) == Options()


def test_a_manifest_says_how_it_runs(manifest):
    assert options(manifest(FULL)) == Options(
        concurrency=6,
        timeout_s=1200.0,
        max_failures=3,
        quiet_window_s=90.0,
        budget=Budget(max_usd=25, max_usd_per_day=100, max_tasks=200),
    )


def test_what_is_typed_goes_before_the_manifest(manifest):
    typed = {
        "concurrency": 2,
        "timeout_s": 60.0,
        "deadline_s": 300.0,
        "fail_fast": True,
        "max_failures": 1,
        "limit": 5,
        "canary": 1,
        "submit_only": True,
    }
    made = options(manifest(FULL), **typed, max_usd=3.0)
    assert {name: getattr(made, name) for name in typed} == typed
    assert made.budget == Budget(max_usd=3.0, max_usd_per_day=100, max_tasks=200)


@pytest.mark.parametrize(
    ("share", "total", "most"), [(0.2, 10, 2), (0.2, 4, 0), (0.29, 100, 29), (1.0, 7, 7), (5, 100, 5)]
)
def test_a_share_of_failures_is_of_the_tasks_of_this_run(manifest, share, total, most):
    assert options(manifest(), total=total, max_failures=share).max_failures == most
    written = f"run: {{max_failures: {f'{share:.0%}' if isinstance(share, float) else share}}}"
    assert options(manifest(written), total=total).max_failures == most


# ---- the quiet window and the pace --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "written", "endpoint", "window"),
    [
        (None, "", PAID, None),
        (None, "run: {quiet_window: 90s}", PAID, 90.0),
        ("3m", "run: {quiet_window: 90s}", PAID, 180.0),
        (None, "", SIMULATED, SIMULATOR_QUIET_WINDOW_S),
        (None, "run: {quiet_window: 90s}", SIMULATED, 90.0),
        ("1s", "", SIMULATED, 1.0),
        (None, "", LOOPBACK, None),
    ],
)
def test_the_window_comes_from_the_environment_then_the_manifest(manifest, setting, written, endpoint, window):
    """Only the built-in simulator may be short by itself: somebody else's server on this machine may be a gateway."""
    environment = Environment(process={"BATCHER_QUIET_WINDOW": setting or ""})
    assert options(manifest(written), endpoint=endpoint, environment=environment).quiet_window_s == window
    kept = options_without_manifest(
        job_of(manifest(written)), Choices(), endpoint=endpoint, environment=environment, buys=True
    )
    assert kept.quiet_window_s == window


def test_a_window_that_is_no_duration_is_refused(manifest):
    with pytest.raises(ConfigurationError, match="BATCHER_QUIET_WINDOW: 'soon' is no duration"):
        options(manifest(), environment=Environment(process={"BATCHER_QUIET_WINDOW": "soon"}))


@pytest.mark.parametrize(
    ("endpoint", "pace", "loopback"),
    [(PAID, Pace(), False), (SIMULATED, LOCAL_PACE, True), (LOOPBACK, LOCAL_PACE, True)],
)
def test_looks_are_frequent_on_this_machine_only(manifest, endpoint, pace, loopback):
    made = options(manifest(), endpoint=endpoint)
    assert (made.pace, made.is_loopback) == (pace, loopback)


# ---- without the manifest -----------------------------------------------------------------------------------------


def test_the_state_keeps_what_a_run_needs_of_its_manifest(manifest):
    """Budgets hold for `retry` too."""
    made = options_without_manifest(
        job_of(manifest(FULL)), Choices(deadline_s=60.0, limit=2), endpoint=PAID, environment=NOTHING, buys=True
    )
    assert (made.concurrency, made.timeout_s, made.quiet_window_s) == (6, 1200.0, 90.0)
    assert made.budget == Budget(max_usd=25, max_usd_per_day=100, max_tasks=200)
    assert (made.deadline_s, made.limit, made.buys) == (60.0, 2, True)


def test_what_is_typed_goes_before_what_was_kept(manifest):
    choices = Choices(concurrency=1, timeout_s=5.0, max_usd=0.0)
    made = options_without_manifest(job_of(manifest(FULL)), choices, endpoint=PAID, environment=NOTHING, buys=False)
    assert (made.concurrency, made.timeout_s, made.budget.max_usd, made.buys) == (1, 5.0, 0.0, False)


def test_a_job_from_before_a_setting_was_kept_gets_the_defaults(manifest):
    job = Job(job="autumn", scope="cometapi", root="out", folder="autumn", manifest=None, manifest_sha256=None)
    assert options_without_manifest(job, Choices(), endpoint=PAID, environment=NOTHING, buys=True) == Options()


# ---- money and places ---------------------------------------------------------------------------------------------


def test_a_typed_budget_replaces_one_limit_only(manifest):
    assert budget_of(manifest(FULL), Choices()) == Budget(max_usd=25, max_usd_per_day=100, max_tasks=200)
    assert budget_of(manifest(FULL), Choices(max_usd=0.0)) == Budget(max_usd=0.0, max_usd_per_day=100, max_tasks=200)
    assert budget_of(manifest(), Choices(max_usd=5.0)) == Budget(max_usd=5.0)


@pytest.fixture
def empty():
    with closing(Queries.empty()) as state:
        yield state


@pytest.mark.parametrize(
    ("budget", "is_refused"),
    [
        (Budget(max_usd=100), True),
        (Budget(max_usd_per_day=100), True),
        (Budget(max_tasks=5), False),
        (Budget(), False),
    ],
)
def test_no_budget_holds_what_nobody_knows_the_price_of(manifest, empty, budget, is_refused):
    unknown = manifest("defaults: {model_name: kling-v9}\n")
    prepared = prepare(unknown, endpoint=PAID, state=empty, now=datetime(2026, 11, 22, tzinfo=UTC))
    if not is_refused:
        refuse_unknown_prices(prepared, budget)
        return
    with pytest.raises(UsageError, match=r"2 tasks of autumn .* price is not known") as refused:
        refuse_unknown_prices(prepared, budget)
    assert "budget.max_tasks" in refused.value.hint


def test_known_prices_fit_any_budget(manifest, empty):
    prepared = prepare(manifest(), endpoint=PAID, state=empty, now=datetime(2026, 11, 22, tzinfo=UTC))
    assert refuse_unknown_prices(prepared, Budget(max_usd=1)) is None


def test_clips_go_where_they_are_told(manifest):
    written = manifest("output: {dir: clips}")
    assert output_root(manifest(), Choices()) == Path("out")
    assert output_root(written, Choices()) == Path("clips")
    assert output_root(written, Choices(out=Path("/elsewhere"))) == Path("/elsewhere")


def test_a_bucket_is_refused_for_now(manifest):
    written = manifest("output: {dir: 's3://bucket/prefix'}")
    with pytest.raises(UsageError, match="object stores are not supported yet"):
        output_root(written, Choices())
    assert output_root(written, Choices(out=Path("here"))) == Path("here")
