"""`batcher doctor --probe`: what a gateway makes of a used id, asked once and remembered."""

from __future__ import annotations

import json
import urllib.request

import pytest

from cli.conftest import query


@pytest.fixture
def ran(cli, paid):
    assert cli("run", paid, "-y").code == 0
    return cli


def totals(provider) -> dict:
    with urllib.request.urlopen(f"{provider.base_url}/_ledger") as reply:
        return json.load(reply)["totals"]


@pytest.mark.parametrize("provider", [{"used_ids": "refuse"}, {"used_ids": "return"}], indirect=True)
def test_a_used_id_that_buys_nothing_is_remembered_and_not_asked_about_again(ran, provider):
    before = totals(provider)
    assert "used ids are refused" in ran("doctor", "--probe").out
    after = totals(provider)
    assert (after["creates"] - before["creates"], after["charged"]) == (1, before["charged"])
    assert query("SELECT refuses_ids FROM accounts WHERE scope LIKE 'cometapi%'") == [(1,)]
    assert "used ids are refused" in ran("doctor", "--probe").out
    assert totals(provider)["creates"] == after["creates"]


@pytest.mark.parametrize("provider", [{"used_ids": "create"}], indirect=True)
def test_a_gateway_that_sells_it_again_is_told_with_what_that_means(ran, provider):
    told = ran("doctor", "--probe")
    assert told.code == 78
    assert "sold again" in told.out
    assert "only looks protect" in told.out
    assert query("SELECT refuses_ids FROM accounts WHERE scope LIKE 'cometapi%'") == [(0,)]


@pytest.mark.parametrize("provider", [{"used_ids": "reword"}], indirect=True)
def test_other_words_prove_nothing(ran, provider):
    assert "proves nothing" in ran("doctor", "--probe").out
    assert query("SELECT refuses_ids FROM accounts WHERE scope LIKE 'cometapi%'") == [(0,)]


def test_without_the_flag_nothing_is_sent(ran, provider):
    before = totals(provider)["creates"]
    ran("doctor")
    assert totals(provider)["creates"] == before


def test_with_nothing_accepted_yet_there_is_nothing_to_ask(cli, paid, provider):
    assert cli("run", paid, "-y", "--limit", "0").code in (0, 2, 75)
    assert totals(provider)["creates"] == 0
    told = cli("doctor", "--probe")
    assert "no used id to ask about" in told.out or "makes it" in told.out
    assert totals(provider)["creates"] == 0
