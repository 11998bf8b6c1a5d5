"""What lies ahead is told by plan and status: how long it takes, and until when a paid clip can be fetched."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import pytest

from batcher.times import iso

DAY = 86400.0


def alter(sql, *values):
    with closing(sqlite3.connect("state.db")) as state, state:
        state.execute(sql, values)


@pytest.fixture
def submitted(cli, paid):
    """Four clips at the provider, two of them seen finished."""
    assert cli("run", paid, "-y", "--submit-only").code == 75
    alter("UPDATE tasks SET status = 'succeeded' WHERE name LIKE 'heron%'")
    alter("UPDATE attempts SET status = 'succeeded' WHERE task IN (SELECT id FROM tasks WHERE status = 'succeeded')")
    return paid


def test_before_anything_was_learnt_the_time_is_an_estimate_of_usual_times(cli, paid):
    """kling-v1-6 std 5 s: 150 s each by the catalog, four at once to begin with, or as -j says."""
    assert "≈ 2m30s at 4 at once" in cli("plan", paid).out
    assert "≈ 5m00s at 2 at once" in cli("run", "-n", paid, "-j", "2").out
    document = json.loads(cli("plan", paid, "--json").out)
    assert (document["eta_s"], document["eta_at_once"], document["eta_is_estimate"]) == (150.0, 4, True)


def test_the_simulators_time_is_not_guessed_from_the_providers(cli, manifest):
    document = json.loads(cli("plan", manifest, "--json").out)
    assert document["eta_s"] is None


def test_what_was_learnt_is_told_without_the_mark(cli, paid):
    cli("run", paid, "-y", "--limit", "2")
    document = json.loads(cli("status", "--json").out)["jobs"][0]
    assert document["counts"] == {"downloaded": 2, "pending": 2}
    assert document["eta_is_estimate"] is False
    assert document["eta_s"] < 10
    assert "left about" in cli("status").out
    assert "about" in cli("plan", paid).out


def test_when_all_is_home_nothing_lies_ahead(cli, paid):
    cli("run", paid, "-y")
    document = json.loads(cli("status", "--json").out)["jobs"][0]
    assert (document["eta_s"], document["unfetched"], document["expiring"]) == (None, None, [])


def test_finished_clips_that_are_not_home_are_told_with_their_end_and_the_command(cli, submitted):
    """The provider told no end here: it is 30 days after they were submitted."""
    alter("UPDATE attempts SET submitted_at = ?", iso(time.time() - 9.98 * DAY))
    for said in (cli("status").out, cli("plan", submitted).out):
        assert "2 finished clips and 2 that may be are not home; the provider deletes the first in 20d00h" in said
        assert said.count("batcher collect birds") == 1
    assert json.loads(cli("status", "--json").out)["jobs"][0]["expiring"] == [], "not so soon"


def test_what_was_submitted_long_ago_and_never_looked_at_is_told_by_name(cli, submitted):
    alter("UPDATE tasks SET status = 'processing' WHERE status = 'succeeded'")
    assert "not home" not in cli("status").out, "it may be running still"
    alter("UPDATE attempts SET submitted_at = ?", iso(time.time() - 26.98 * DAY))
    said = cli("status").out
    assert "4 submitted are not home; the provider deletes the first in 3d00h: batcher collect birds" in said
    assert "will be deleted by the provider" in said
    assert cli("doctor", "--provider", "simulator").out.count("paid clips die soon") == 1
