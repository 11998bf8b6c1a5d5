"""Real processes, real signals, a real provider on loopback that outlives them. Its ledger is the judge."""

from __future__ import annotations

import random
import signal

import pytest
from storm import wait_for

pytestmark = pytest.mark.slow


@pytest.mark.timeout(120)
def test_killed_at_five_moments_each_clip_is_paid_once(storm):
    """SIGKILL after a random event, five times, then once to the end: 30 charges, 30 whole files."""
    weather = storm(30, "--time-scale", "0.005")
    rng = random.Random(1)
    for word in rng.choices(["submit ", "done ", "submitted ", "processing ", "succeeded "], k=5):
        process = weather.start("-v")
        wait_for(process, word, rng.randint(1, 4))
        weather.kill(process)
    weather.finish()
    weather.assert_each_paid_once_and_whole()


@pytest.mark.timeout(90)
def test_lost_replies_are_adopted_not_paid_again(storm):
    """A third of the create calls is accepted and then reset, or answered with 5xx: one charge a task."""
    faults = ("--fault", "reset-after=0.2", "--fault", "5000-created=0.2")
    weather = storm(12, "--time-scale", "0.005", *faults)
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_ctrl_c_once_finishes_and_records_what_is_under_way(storm):
    """Exit 130; no task is left in doubt; the next run goes on."""
    weather = storm(8, "--time-scale", "0.05")
    process = weather.start("-v")
    wait_for(process, "submitted ", 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "nothing is lost" in err
    assert "submitting" not in weather.statuses()
    assert weather.ledger["totals"]["charged"] < 8


def test_sigterm_ends_well(storm):
    """What systemd and cron send: exit 143, state saved, and a second run completes it."""
    weather = storm(4, "--time-scale", "0.01")
    process = weather.start("-v")
    wait_for(process, "submitted ")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_ctrl_c_twice_leaves_at_once(storm):
    """A provider that does not answer the create call cannot hold us; the next run finds out what became of it."""
    weather = storm(3, "--time-scale", "0.005", "--script", "ok", "--script", "stall-after")
    process = weather.start("-v")
    wait_for(process, "submitted ", 2)  # the third is taken by the provider, and never answered
    process.send_signal(signal.SIGINT)
    wait_for(process, "stopping")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert weather.statuses()["submitting"] == 1
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_a_second_run_is_refused_and_told_who_runs(storm):
    """Cron overlaps: exit 4, the holder's pid, and the first run is not disturbed."""
    weather = storm(4, "--time-scale", "0.005")
    first = weather.start("-v")
    wait_for(first, "submitted ")
    with weather.frozen():
        second = weather.start()
        _, err = second.communicate(timeout=20)
    assert second.returncode == 4
    assert f"pid {first.pid}" in err
    first.communicate(timeout=40)
    assert first.returncode == 0
    weather.assert_each_paid_once_and_whole()


def test_a_broken_pipe_does_not_stop_a_run(storm):
    """`batcher run ... | head -1`: the reader is gone, the clips come home."""
    weather = storm(3, "--time-scale", "0.005")
    process = weather.start("-v")
    wait_for(process, "submit ")
    process.stderr.close()
    process.wait(timeout=40)
    weather.assert_each_paid_once_and_whole()


def test_the_state_deleted_while_running_stops_the_buying(storm):
    """A write to a deleted WAL file "succeeds" into nothing: the run notices before the next create call."""
    weather = storm(12, "--time-scale", "0.02")
    process = weather.start("-v")
    wait_for(process, "submitted ", 2)
    (weather.folder / "state.db").unlink()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    assert "deleted or replaced" in err
    weather.finish()
    weather.assert_each_paid_once_and_whole()
