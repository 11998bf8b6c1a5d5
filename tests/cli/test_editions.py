"""Editions on the command line: an earlier one that is unfinished goes first, and one command ends."""

from __future__ import annotations

import pytest

from cli.conftest import query

EARLIER = "2026-01-01"


@pytest.fixture
def daily(paid):
    """Four clips a day, with consent, of which an earlier day has begun."""
    text = paid.read_text().replace("prompts:", 'edition: "{{ today }}"\nprompts:')
    paid.write_text(f"{text}budget: {{max_usd: 100}}\n")
    return paid


def editions() -> dict[str, dict[str, int]]:
    """Edition -> status -> how many, with `today` for whatever day it is."""
    rows = query("SELECT edition, status, count(*) FROM tasks GROUP BY 1, 2")
    found: dict[str, dict[str, int]] = {}
    for edition, status, count in rows:
        found.setdefault(edition if edition == EARLIER else "today", {})[status] = count
    return found


def test_the_earlier_one_then_todays(cli, daily):
    """Unbounded, one command finishes what was begun, then makes today's."""
    cli("run", daily, "--edition", EARLIER, "--limit", "1")
    assert cli("run", daily).code == 0
    assert editions() == {EARLIER: {"downloaded": 4}, "today": {"downloaded": 4}}


@pytest.mark.parametrize(("bounds", "home"), [(["--limit", "1"], 2), (["--limit", "3"], 4), (["-s", "swift-*"], 3)])
def test_a_bound_is_about_the_whole_command(cli, daily, bounds, home):
    """--limit 1 buys one clip, not one an edition; the others likewise: today's edition is another command's."""
    cli("run", daily, "--edition", EARLIER, "--limit", "1")
    cli("run", daily, *bounds)
    assert editions()[EARLIER]["downloaded"] == home
    assert "today" not in editions()


def test_fail_fast_does_not_go_on_to_today(cli, daily):
    """The first failure is the last submission, in whichever edition."""
    daily.write_text(daily.read_text().replace("A swift cuts", "simulate refusal, a swift cuts"))
    cli("run", daily, "--edition", EARLIER, "--limit", "1")
    assert cli("run", daily, "--fail-fast", "-j", "1").code == 1
    assert "today" not in editions()
    assert editions()[EARLIER]["failed"] == 1


@pytest.mark.parametrize("provider", [{"script": ("never-ends",)}], indirect=True)
def test_an_overdue_one_holds_up_no_day_and_no_command(cli, daily):
    """Nobody waits for a generation that never ends: the command does end (1), and today's clips are made."""
    cli("run", daily, "--edition", EARLIER, "--timeout", "0.5s", "-s", "heron-16x9*")
    assert editions() == {EARLIER: {"processing": 1, "pending": 3}}
    assert cli("run", daily, "--timeout", "0.5s").code == 1
    assert editions() == {EARLIER: {"processing": 1, "downloaded": 3}, "today": {"downloaded": 4}}


def test_an_edited_prompt_is_todays_not_an_earlier_days(cli, daily):
    """What was begun is finished as it was frozen: an edit since makes nothing new there, and orphans nothing."""
    cli("run", daily, "--edition", EARLIER, "--limit", "1")
    daily.write_text(daily.read_text().replace("in the mist", "in the rain"))
    assert cli("run", daily).code == 0
    assert editions() == {EARLIER: {"downloaded": 4}, "today": {"downloaded": 4}}
    assert query("SELECT sum(orphaned) FROM tasks")[0] == (0,)


def test_retry_is_about_the_newest_edition(cli, daily, provider):
    """`retry --failed` buys nothing of an earlier day, nor what its manifest dropped; --edition names another."""
    text = daily.read_text()
    daily.write_text(text.replace("A swift cuts", "simulate failure, a swift cuts"))
    cli("run", daily, "--edition", EARLIER)
    cli("run", daily)
    before = editions()
    assert before == {EARLIER: {"downloaded": 2, "failed": 2}, "today": {"downloaded": 2, "failed": 2}}
    cli("run", daily, "--edition", EARLIER, "--limit", "0")
    cli("retry", "birds", "--failed")
    attempts = dict(query("SELECT edition, max(attempt) FROM tasks GROUP BY edition"))
    assert attempts.pop(EARLIER) == 1
    assert list(attempts.values()) == [2]
    daily.write_text(text)
    cli("run", daily, "--limit", "0")  # the failed ones are orphans now
    assert "nothing to retry" in (told := cli("retry", "birds", "--failed")).err + told.out
