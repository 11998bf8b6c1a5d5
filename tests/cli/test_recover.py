"""`batcher recover` as typed: from an empty folder to every clip home, with a person's word where no id tells."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from batcher.state.file import hold_lock
from cli.conftest import query

HARSH = {"used_ids": "create"}
"""Sells again under a used id."""


def charged(provider) -> int:
    """How many were bought so far; none of them twice."""
    with urllib.request.urlopen(f"{provider.base_url}/_ledger") as reply:
        totals = json.load(reply)["totals"]
    assert totals["twice"] == []
    return totals["charged"]


def lose(*, folder: bool = True) -> None:
    for file in Path().glob("state.db*"):
        file.unlink()
    if folder:
        shutil.rmtree("out")


def statuses() -> dict[str, int]:
    return dict(query("SELECT status, count(*) FROM tasks GROUP BY status"))


@pytest.fixture
def quick(cli, monkeypatch):
    monkeypatch.setenv("BATCHER_QUIET_WINDOW", "0.2s")


pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("provider", [HARSH], indirect=True)
def test_from_nothing_to_the_rest(cli, paid, provider):
    """Two of four were bought, then state and folder went: two come back, two are bought, none twice."""
    assert cli("run", paid, "-y", "--limit", "2").code == 0
    lose()
    result = cli("recover", paid)
    assert result.code == 0, result.err
    assert "2 tied to generations" in result.out
    assert "waiting" in result.err
    assert charged(provider) == 2
    assert f"next: batcher run {paid}" in result.out
    assert cli("run", paid, "-y").code == 0
    assert (charged(provider), statuses()) == (4, {"downloaded": 4})


@pytest.mark.parametrize("provider", [HARSH], indirect=True)
def test_a_person_ties_what_no_id_does(cli, paid, provider, monkeypatch):
    """Each stray is adopted by the command that was printed; then recover frees the rest, and only that is bought."""
    monkeypatch.setenv("BATCHER_NAMESPACE", "the-one-of-last-year")
    assert cli("run", paid, "-y", "--limit", "2").code == 0
    names = [name for (name,) in query("SELECT name FROM tasks WHERE status = 'downloaded' ORDER BY submitted_at")]
    monkeypatch.delenv("BATCHER_NAMESPACE")
    lose()
    result = cli("recover", paid)
    assert result.code == 1
    assert statuses() == {"unclear": 4}
    document = json.loads(cli("recover", paid, "--json").out)
    ids = [stray["generation_id"] for stray in document["strays"]]
    assert len(ids) == 2
    assert all(f"batcher resolve TASK --adopt {generation}" in result.out for generation in ids)
    assert cli("run", paid, "-y").code == 1
    assert charged(provider) == 2
    for name, generation in zip(names, ids, strict=True):
        assert cli("resolve", name, "--adopt", generation).code == 0
    again = cli("resolve", "swift-9x16-t1", "--adopt", ids[0])
    assert again.code == 2  # it has its task
    result = cli("recover", paid)
    assert result.code == 0, result.out
    assert statuses() == {"submitted": 2, "pending": 2}
    assert cli("run", paid, "-y").code == 0
    assert (charged(provider), statuses()) == (4, {"downloaded": 4})
    lose()  # once more, and nobody wrote down which were whose
    assert cli("recover", paid).code == 1
    assert statuses() == {"succeeded": 2, "unclear": 2}
    assert cli("run", paid, "-y").code == 1
    assert charged(provider) == 4


def test_another_jobs_generation_is_not_adopted(cli, paid, provider, monkeypatch):
    """An id that begins otherwise is not this job's, whoever says so."""
    monkeypatch.setenv("BATCHER_NAMESPACE", "the-one-of-last-year")
    other = paid.with_name("fish.yaml")
    other.write_text(paid.read_text().replace("job: birds", "job: fish"))
    assert cli("run", other, "-y", "--limit", "1").code == 0
    assert cli("run", paid, "-y", "--limit", "1").code == 0
    monkeypatch.delenv("BATCHER_NAMESPACE")
    generation = query("SELECT generation_id FROM tasks WHERE job = 'fish' AND generation_id IS NOT NULL")[0][0]
    lose()
    document = json.loads(cli("recover", paid, "--json").out)
    assert generation not in {stray["generation_id"] for stray in document["strays"]}
    result = cli("resolve", document["unclear"][0], "--adopt", generation)
    assert result.code == 2
    assert "belongs to another task" in result.err


def test_after_a_lost_state_the_tied_by_hand_are_remembered(cli, paid, provider, monkeypatch):
    """A receipt is written when a person ties a generation, so that nobody has to do it twice."""
    monkeypatch.setenv("BATCHER_NAMESPACE", "the-one-of-last-year")
    assert cli("run", paid, "-y", "--limit", "1").code == 0
    monkeypatch.delenv("BATCHER_NAMESPACE")
    lose()
    document = json.loads(cli("recover", paid, "--json").out)
    assert cli("resolve", "heron-16x9-t1", "--adopt", document["strays"][0]["generation_id"]).code == 0
    lose(folder=False)
    document = json.loads(cli("recover", paid, "--json").out)
    assert (document["adopted"], document["strays"], document["unclear"]) == (1, [], [])
    assert charged(provider) == 1


def test_a_simulated_job(cli, manifest):
    assert cli("run", manifest).code == 0
    for file in Path().glob("state.db*"):
        if not file.name.endswith(".simulator"):
            file.unlink()
    shutil.rmtree("out")
    assert cli("recover", manifest).code == 0
    assert statuses() == {"succeeded": 4}
    assert cli("collect").code == 0
    assert cli("verify").code == 0


def test_nothing_to_recover(cli, paid, provider):
    """An empty list proves nothing, so nothing is claimed of it."""
    result = cli("recover", paid)
    assert result.code == 2
    assert "nothing to recover" in result.err
    assert query("SELECT count(*) FROM tasks") == [(0,)]


def test_it_holds_the_lock(cli, manifest):
    assert cli("run", manifest).code == 0
    with hold_lock(Path("state.db"), started_at="now"):
        assert cli("recover", manifest).code == 4


def test_a_bad_manifest(cli, manifest):
    manifest.write_text("version: 1\njob: birds\nprompts: 5\n")
    assert cli("recover", manifest).code == 2
