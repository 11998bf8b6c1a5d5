"""Signals of every kind to a run under way: what is at the provider is recorded, what is not sent is not sent."""

from __future__ import annotations

import random
import signal

import pytest
from storm import poll, wait_for

pytestmark = pytest.mark.timeout(60)


def test_stopped_while_a_create_call_is_in_flight_it_takes_its_own_answer(storm):
    """A laptop that sleeps: the answer that came meanwhile is taken, and nothing is sent a second time.

    The lock is held all the while: a second run, as cron starts it, is refused.
    """
    weather = storm(3, "--time-scale", "0.001")
    weather.provider.send_signal(signal.SIGSTOP)
    process = weather.start("-v")
    poll(weather.has_request_waiting)
    process.send_signal(signal.SIGSTOP)
    weather.provider.send_signal(signal.SIGCONT)
    poll(lambda: weather.charged == 1)
    refused = weather.run()
    assert refused.code == 4
    assert f"pid {process.pid}, since" in refused.err
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert [create["outcome"] for create in weather.creates] == ["accepted"] * 3
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_create_call_in_flight_is_finished_and_recorded(storm, number):
    """A closed terminal, a timer's end, Ctrl-C: nothing new is sent, the answer under way is taken."""
    weather = storm(4, "--time-scale", "0.001")
    weather.provider.send_signal(signal.SIGSTOP)
    process = weather.start("-v")
    poll(weather.has_request_waiting)
    process.send_signal(number)
    wait_for(process, "stopping")
    weather.provider.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else 143), err
    assert weather.charged == 1
    assert weather.statuses() == {"pending": 3, "submitted": 1}
    weather.finish()
    assert len(weather.creates) == 4
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_of_any_kind_leaves_at_once(storm, second):
    """A provider that never answers holds nobody; the row stays in doubt, and the next run finds out."""
    weather = storm(2, "--time-scale", "0.001", "--script", "stall-after")
    process = weather.start("-v")
    poll(lambda: weather.charged == 1)
    process.send_signal(signal.SIGTERM)
    wait_for(process, "stopping")
    process.send_signal(second)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    assert weather.statuses()["submitting"] == 1
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_ctrl_c_during_a_download_brings_that_clip_home(storm):
    """Downloads under way finish; what still waits for one is the next run's, and all is paid once."""
    weather = storm(2, "--time-scale", "0.001", "--fault", "asset-slow=1")
    process = weather.start("-v")
    wait_for(process, "download ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert weather.statuses()["downloaded"] >= 1
    assert len(weather.clips) == weather.statuses()["downloaded"]
    assert "Traceback" not in err
    weather.chances()
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_ctrl_c_twice_during_a_download_leaves_no_half_file(storm):
    weather = storm(2, "--time-scale", "0.001", "--fault", "asset-slow=1")
    process = weather.start("-v")
    wait_for(process, "download ")
    process.send_signal(signal.SIGINT)
    wait_for(process, "stopping")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert not weather.clips
    assert not list(weather.out.rglob("*.part"))
    weather.chances()
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_whatever_signals_come_each_clip_is_paid_once(storm, seed):
    """Stops, continues, hang-ups, Ctrl-Cs and kills at random times, over several runs."""
    weather = storm(6, "--time-scale", "0.001", "--fault", "reset-after=0.1")
    rng = random.Random(f"signals {seed}")
    for _ in range(4):
        process = weather.start()
        for number in rng.choices(
            [signal.SIGSTOP, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL], k=2
        ):
            weather.send(process, number, after_s=rng.uniform(0.1, 0.6))
        weather.kill(process, after_s=0.3)
    weather.finish()
    weather.assert_each_paid_once_and_whole()
