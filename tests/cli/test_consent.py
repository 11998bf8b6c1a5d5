"""What a command says it will buy is what it buys: selections, limits, consent."""

from __future__ import annotations

import pytest

from .conftest import KEY, query
from .test_run import ledger


@pytest.mark.parametrize(
    ("bounds", "usd"),
    [(["--limit", "1"], "0.27"), (["-s", "swift-*"], "0.53"), (["--exclude", "swift-16x9*"], "0.79")],
)
def test_consent_is_asked_for_what_is_chosen(cli, paid, bounds, usd):
    """The sum in the question is the sum of the selection, not of the manifest."""
    result = cli("run", paid, *bounds)
    assert result.code == 2
    assert f"--max-usd {usd}" in result.err


def test_the_plan_is_about_what_is_chosen(cli, paid):
    """`plan`, `run -n` and the plan event of a run all count the selection."""
    assert "1 to submit" in cli("plan", paid, "-s", "swift-16x9*").out
    assert "1 to submit" in cli("run", paid, "-n", "--limit", "1").out
    events = cli("run", paid, "--json", "-y", "--limit", "1").documents
    assert next(event for event in events if event["event"] == "plan")["to_submit"] == 1


@pytest.mark.parametrize("verb", [["run", "-y"], ["plan"]])
def test_a_selection_of_nothing_is_a_typing_mistake(cli, paid, provider, verb):
    """-s herron: exit 2, names that there are, and nothing sent."""
    result = cli(verb[0], paid, *verb[1:], "-s", "herron*")
    assert result.code == 2
    assert "herron*" in result.err
    assert "heron-16x9-t1" in result.err
    assert ledger(provider)["totals"]["creates"] == 0


def test_a_budget_in_the_manifest_is_consent_to_a_retry(cli, paid, provider):
    """The state kept the budget: a retry within it asks nobody. Without one, it does."""
    text = paid.read_text().replace("A swift cuts", "simulate failure, a swift cuts")
    paid.write_text(text)
    cli("run", paid, "-y")
    assert cli("retry", "birds", "--failed").code == 2
    paid.write_text(f"{text}budget: {{max_usd: 100}}\n")
    cli("run", paid)
    before = ledger(provider)["totals"]["creates"]
    assert cli("retry", "birds", "--failed").code == 1
    assert ledger(provider)["totals"]["creates"] == before + 2


def test_retry_by_class(cli, manifest):
    """--class content takes what moderation refused; a class that nothing failed with takes nothing."""
    manifest.write_text(manifest.read_text().replace("A swift cuts", "simulate failure, a swift cuts"))
    cli("run", manifest)
    cli("retry", "birds", "--class", "provider")
    assert attempts() == {1}
    cli("retry", "birds", "--class", "content")
    assert attempts() == {1, 2}


def attempts() -> set[int]:
    return {row[0] for row in query("SELECT attempt FROM tasks")}


def test_a_rehearsed_name_is_the_paid_one(cli, manifest, monkeypatch, provider):
    """First simulated, then bought: `show` and `resolve` of the name mean what was paid for."""
    cli("run", manifest)
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    monkeypatch.setenv("COMETAPI_BASE_URL", provider.base_url)
    assert cli("run", manifest, "--provider", "cometapi", "-y").code == 0
    shown = cli("show", "heron-16x9-t1")
    assert shown.code == 0
    assert "simulat" not in shown.out.lower()
    assert cli("resolve", "heron-16x9-t1", "--drop").code == 0
    rows = query("SELECT scope = 'simulator' FROM tasks WHERE status = 'cancelled'")
    assert rows == [(0,)]
