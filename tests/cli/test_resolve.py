"""`batcher resolve`: a person settles what no rule can, on a gateway that cannot look our ids up."""

from __future__ import annotations

import json
import urllib.request

import pytest

from batcher.simulator import Settings
from batcher.simulator.serving import start
from cli.conftest import KEY, MANIFEST, query


@pytest.fixture
def unclear(tmp_path, monkeypatch, cli):
    """Two clips; the reply to the second create call was lost, and this gateway finds no external id."""
    settings = Settings(
        time_scale=0.002,
        clips="sample",
        keys=frozenset({KEY}),
        finds_external_ids=False,
        lists=False,
        script=("ok", "reset-after"),
    )
    with start(settings) as running:
        monkeypatch.setenv("COMETAPI_KEY", KEY)
        monkeypatch.setenv("COMETAPI_BASE_URL", running.base_url)
        monkeypatch.setenv("BATCHER_QUIET_WINDOW", "0.2s")
        path = tmp_path / "birds.yaml"
        path.write_text(MANIFEST.format(provider="cometapi").replace("[16:9, 9:16]", "[16:9]"))
        monkeypatch.setattr("batcher.runner.look.PROOF_WAITS_S", (0.0, 0.05))
        result = cli("run", path, "-y")
        assert result.code == 1, result.err
        assert "batcher resolve swift-t1 --adopt TASK_ID | --resubmit | --drop" in result.err
        yield running


def statuses() -> dict[str, str]:
    return dict(query("SELECT name, status FROM tasks"))


def generations(running) -> dict[str, str]:
    """External id -> the provider's id, as its own list would show a person."""
    with urllib.request.urlopen(f"{running.base_url}/_ledger") as reply:
        books = json.load(reply)["accounts"].values()
    return {g["external_task_id"]: g["task_id"] for account in books for g in account["generations"]}


def id_of(name: str) -> str:
    return dict(query("SELECT name, external_task_id FROM tasks"))[name]


def test_it_is_never_resent_by_itself(cli, unclear):
    """Run it again: unclear stays unclear, and the provider sees no create call."""
    before = len(generations(unclear))
    assert cli("resume", "-y").code == 1
    assert statuses()["swift-t1"] == "unclear"
    assert len(generations(unclear)) == before


def test_adopted_by_hand_it_comes_home(cli, unclear):
    """It was taken: the person names the provider's id, and nothing is bought."""
    generation = generations(unclear)[id_of("swift-t1")]
    result = cli("resolve", "swift-t1", "--adopt", generation)
    assert result.code == 0, result.err
    assert cli("collect").code == 0
    assert set(statuses().values()) == {"downloaded"}


def test_a_wrong_id_is_refused(cli, unclear):
    """Another task's generation, and one that does not exist."""
    other = generations(unclear)[id_of("heron-t1")]
    assert cli("resolve", "swift-t1", "--adopt", other).code == 2
    assert cli("resolve", "swift-t1", "--adopt", "123456789012345678").code == 69
    assert statuses()["swift-t1"] == "unclear"


def test_resubmitted_it_goes_under_its_own_id(cli, unclear):
    """The person was wrong, it had been taken: the used id is refused, and nobody pays twice."""
    assert cli("resolve", "swift-t1", "--resubmit").code == 0
    assert statuses()["swift-t1"] == "pending"
    cli("resume", "-y")
    with urllib.request.urlopen(f"{unclear.base_url}/_ledger") as reply:
        assert not json.load(reply)["totals"]["twice"]


def test_dropped_it_is_over(cli, unclear):
    assert cli("resolve", "swift-t1", "--drop").code == 0
    assert statuses()["swift-t1"] == "cancelled"
    assert cli("resume", "-y").code == 0


@pytest.mark.parametrize("options", [(), ("--drop", "--resubmit")])
def test_one_decision_at_a_time(cli, unclear, options):
    assert cli("resolve", "swift-t1", *options).code == 2


def test_what_is_clear_is_not_resolved(cli, unclear):
    assert cli("resolve", "heron-t1", "--resubmit").code == 2
