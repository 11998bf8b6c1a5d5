"""What a person pays is in a file of theirs: every verb that says or spends money goes by it."""

from __future__ import annotations

import pytest

from batcher import prices as prices_of_this_version

from .conftest import query
from .test_run import ledger

NEW = "kling-v1-6"
FILE = "as_of: 2026-11-20\nprices:\n  {0}: {1}\n"


@pytest.fixture
def unpriced(paid, monkeypatch):
    """The same clips before anybody published a price of their model; of one that is new the simulator has none."""
    monkeypatch.delitem(prices_of_this_version._PER_CLIP, (NEW, "std"))
    prices_of_this_version._price_usd.cache_clear()
    yield paid
    prices_of_this_version._price_usd.cache_clear()


@pytest.fixture
def prices(tmp_path):
    """A file with one price."""

    def write(usd, name=f"{NEW} std 5s"):
        path = tmp_path / "prices.yaml"
        path.write_text(FILE.format(name, usd))
        return "prices.yaml"

    return write


def test_a_plan_says_what_its_prices_are_and_from_when(cli, paid, prices):
    assert "prices of 2025-12 (CometAPI" in cli("plan", paid).out
    plan = cli("plan", paid, "--prices", prices(2.5, "kling-v1-6 std 5s"))
    assert "cost $10.00" in plan.out
    assert "prices of 2026-11-20 (prices.yaml), else of 2025-12" in plan.out
    document = cli("plan", paid, "--json", "--prices", "prices.yaml").out
    assert '"as_of": "2026-11-20"' in document


def test_the_environment_may_name_the_file_but_no_env_file_may(cli, paid, prices, tmp_path, monkeypatch):
    """A `.env` that lies there could make everything cheap, and budgets wide."""
    (tmp_path / ".env").write_text(f"BATCHER_PRICES={prices(2.5, 'kling-v1-6 std 5s')}\n")
    assert "$10.00" not in cli("plan", paid).out
    monkeypatch.setenv("BATCHER_PRICES", "prices.yaml")
    assert "$10.00" in cli("plan", paid).out


@pytest.mark.parametrize("verb", ["plan", "run", "check", "retry"])
def test_a_bad_file_is_told_with_its_place_before_anything_else(cli, paid, prices, provider, verb):
    result = cli(verb, *(["birds", "--failed"] if verb == "retry" else [paid]), "--prices", prices("cheap"))
    assert result.code == 2
    assert "prices.yaml:3:22" in result.err
    assert ledger(provider)["totals"]["creates"] == 0


def test_under_a_budget_the_line_to_write_is_told_and_with_it_the_run_goes(cli, unpriced, prices, provider):
    refused = cli("run", unpriced, "--max-usd", "3")
    assert refused.code == 2
    assert f"{NEW} std 5s: USD" in refused.err
    assert "--prices prices.yaml" in refused.err
    assert ledger(provider)["totals"]["creates"] == 0
    result = cli("run", unpriced, "--max-usd", "3", "--prices", prices(1.25))
    assert result.code == 3, "two of four clips fit"
    assert query("SELECT DISTINCT cost_usd, cost_is_estimate FROM tasks") == [(1.25, 0)]
    assert ledger(provider)["totals"]["creates"] == 2


def test_what_was_planned_without_a_price_gets_one_and_what_has_one_keeps_it(cli, unpriced, prices, provider):
    """Without a budget an unknown price stops nobody: with one, later, the file of prices is asked."""
    cli("run", unpriced, "-y", "--limit", "1")
    assert query("SELECT DISTINCT cost_usd FROM tasks") == [(None,)]
    assert cli("run", unpriced, "--max-usd", "3").code == 2
    assert "cost $3.75" in cli("plan", unpriced, "--prices", prices(1.25)).out
    assert cli("run", unpriced, "--max-usd", "9", "--limit", "1", "--prices", prices(1.25)).code == 0
    cli("run", unpriced, "--max-usd", "9", "--limit", "1", "--prices", prices(0.5))
    assert query("SELECT cost_usd FROM tasks WHERE status = 'pending'") == [(1.25,)], "the price is that of the plan"


def test_a_retry_asks_the_file_too(cli, unpriced, prices, provider):
    unpriced.write_text(unpriced.read_text().replace("A swift cuts", "simulate failure, a swift cuts"))
    cli("run", unpriced, "-y")
    assert query("SELECT count(*) FROM tasks WHERE status = 'failed'") == [(2,)]
    refused = cli("retry", "birds", "--failed", "--max-usd", "5")
    assert refused.code == 2
    assert f"{NEW} std 5s: USD" in refused.err
    result = cli("retry", "birds", "--failed", "--max-usd", "5", "--prices", prices(1.25))
    assert result.code == 1, "they fail again"
    assert query("SELECT cost_usd FROM attempts WHERE number = 2") == [(1.25,), (1.25,)]


def test_a_plan_tells_the_line_to_write(cli, unpriced, prices):
    assert f"warning: the price of {NEW} std 5s is not known: write what a clip costs" in cli("plan", unpriced).out
    again = cli("plan", unpriced, "--prices", prices(1, f"{NEW} pro 5s"))
    assert "under prices: in prices.yaml" in again.out


def test_check_counts_by_it(cli, paid, prices):
    assert "$10.00" in cli("check", paid, "--prices", prices(2.5, "kling-v1-6 std 5s")).out
