"""From what a person chose, a manifest says and the environment sets to the options of one run. Reads nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.bill import unpriced
from batcher.errors import ConfigurationError, UsageError
from batcher.policy.budget import Budget
from batcher.policy.polling import Pace
from batcher.prices import how_to_price
from batcher.runner.session import Options
from batcher.times import seconds

if TYPE_CHECKING:
    from batcher.choices import Choices
    from batcher.environment import Endpoint, Environment
    from batcher.manifest import Manifest
    from batcher.prepare import Prepared
    from batcher.state.rows import Job

SIMULATOR_QUIET_WINDOW_S = 2.0
"""The built-in simulator lives in this process: a request of a dead run died with it."""

LOCAL_PACE = Pace(floor_s=0.25, cap_s=5.0, worth_s=0.03, list_worth_s=0.05, prior_s=1.0)
"""Towards loopback a look costs next to nothing, and a clip may take seconds."""


def options_of(
    manifest: Manifest, choices: Choices, *, endpoint: Endpoint, environment: Environment, total: int
) -> Options:
    """The options of a run of this manifest; `total` is how many tasks it is about."""
    settings = manifest.settings
    most = settings.max_failures if choices.max_failures is None else choices.max_failures
    return replace(
        _defaults(endpoint, environment, settings.quiet_window_s),
        concurrency=choices.concurrency or settings.concurrency,
        timeout_s=choices.timeout_s or settings.timeout_s,
        deadline_s=choices.deadline_s,
        fail_fast=choices.fail_fast or settings.fail_fast,
        max_failures=int(round(most * total, 6)) if isinstance(most, float) else most,  # 0.29 * 100 is 28.999...
        limit=choices.limit,
        canary=choices.canary,
        submit_only=choices.submit_only,
        budget=budget_of(manifest, choices),
    )


def options_without_manifest(
    job: Job, choices: Choices, *, endpoint: Endpoint, environment: Environment, buys: bool
) -> Options:
    """The options of a run that has only what the state kept of the manifest."""
    kept: dict[str, Any] = dict(job.settings)
    return replace(
        _defaults(endpoint, environment, kept.get("quiet_window_s")),
        concurrency=choices.concurrency or kept.get("concurrency"),
        timeout_s=choices.timeout_s or kept.get("timeout_s") or Options().timeout_s,
        deadline_s=choices.deadline_s,
        limit=choices.limit,
        buys=buys,
        budget=Budget(
            max_usd=kept.get("max_usd") if choices.max_usd is None else choices.max_usd,
            max_usd_per_day=kept.get("max_usd_per_day"),
            max_tasks=kept.get("max_tasks"),
        ),
    )


def _defaults(endpoint: Endpoint, environment: Environment, quiet_window_s: float | None) -> Options:
    setting = environment.get("BATCHER_QUIET_WINDOW")
    try:
        window = seconds(setting) if setting else quiet_window_s
    except ValueError as exc:
        raise ConfigurationError(f"BATCHER_QUIET_WINDOW: {exc}", hint="write it like 120s") from exc
    if window is None and endpoint.base_url is None:
        window = SIMULATOR_QUIET_WINDOW_S
    loopback = endpoint.is_loopback
    return Options(quiet_window_s=window, is_loopback=loopback, pace=LOCAL_PACE if loopback else Pace())


def output_root(manifest: Manifest, choices: Choices) -> Path:
    """The folder that holds the jobs' folders."""
    if choices.out is not None:
        return choices.out
    if "://" in manifest.output_dir:
        raise UsageError(
            f"{manifest.path}: output.dir: {manifest.output_dir}: object stores are not supported yet",
            hint="use a folder, or -o DIR",
        )
    return Path(manifest.output_dir)


def budget_of(manifest: Manifest, choices: Choices) -> Budget:
    """The manifest's budget, with `--max-usd` in the place of `max_usd`."""
    kept = manifest.budget
    return Budget(
        max_usd=kept.max_usd if choices.max_usd is None else choices.max_usd,
        max_usd_per_day=kept.max_usd_per_day,
        max_tasks=kept.max_tasks,
    )


def refuse_unknown_prices(prepared: Prepared, budget: Budget, choices: Choices | None = None) -> None:
    """A budget cannot hold what nobody knows the price of."""
    unknown = prepared.bill(choices).unknown
    if unknown and budget.limits_money:
        own = prepared.prices.own_source
        how = how_to_price(unpriced(prepared.lines(choices), prepared.prices), own.source if own else None)
        raise UsageError(
            f"{unknown} tasks of {prepared.job} use a model whose price is not known, so no budget can hold them;"
            " nothing was sent",
            hint=f"{how}; or remove the budget and bound the number: budget.max_tasks",
        )
