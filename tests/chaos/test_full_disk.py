"""A disk that fills up under the state, under the clips, or under both: exit 78, nothing is lost or paid twice."""

from __future__ import annotations

import random
import re
import signal

import pytest
from storm import poll, wait_for

pytestmark = pytest.mark.timeout(60)

QUICK = ("--time-scale", "0.001")


def told(err):
    """The space that is left, in the words of either floor."""
    return re.search(r"\d+ bytes free|\d+ MiB are free there|\d+ MB free", err)


def assert_every_order_is_on_record(weather):
    """What the provider was asked for is in the state as an intent at least: it was on disk before the call."""
    asked = {create["external_task_id"] for create in weather.creates}
    recorded = {row[0] for row in weather.rows("SELECT external_task_id FROM attempts WHERE status != 'pending'")}
    assert asked <= recorded


def test_full_at_any_write_of_the_state(storm, small_disk, seed):
    """So many pages are left, and the run gets as far as they carry it: no order without its intent on the disk.

    Each time there is a little more room, so that the last page is asked for by another statement.
    """
    weather = storm(4, *QUICK)
    weather.state = small_disk.path / "state.db"
    rng = random.Random(f"pages {seed}")
    stopped = 0
    for pages in sorted(rng.sample(range(2, 60), 3)):
        small_disk.fill(pages)
        ended = weather.run()
        assert ended.code in (0, 78), ended.err
        if ended.code == 78:
            stopped += 1
            assert str(small_disk.path) in ended.err, ended.err
            assert told(ended.err), ended.err
            assert "Traceback" not in ended.err
        small_disk.free()
        if weather.state.exists():
            assert_every_order_is_on_record(weather)
    assert stopped
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_full_at_the_acceptance(storm, small_disk):
    """The answer is there and cannot be written down: its id is told, and the next run finds it by its own."""
    weather = storm(2, *QUICK)
    weather.state = small_disk.path / "state.db"
    weather.provider.send_signal(signal.SIGSTOP)
    process = weather.start("-v")
    poll(weather.has_request_waiting)
    small_disk.fill()
    weather.provider.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    assert told(err), err
    [create] = weather.creates
    assert f"accepted as generation {create['task_id']}" in err
    assert f"--adopt {create['task_id']}" in err
    small_disk.free()
    assert weather.statuses() == {"pending": 1, "submitting": 1}
    weather.finish()
    assert len(weather.creates) == 2
    weather.assert_each_paid_once_and_whole()


def test_full_for_a_moment_at_the_acceptance(storm, small_disk):
    """Somebody makes room while the answer is held in hand: the run goes on as if nothing had been."""
    weather = storm(2, *QUICK)
    weather.state = small_disk.path / "state.db"
    weather.provider.send_signal(signal.SIGSTOP)
    process = weather.start("-v")
    poll(weather.has_request_waiting)
    small_disk.fill()
    weather.provider.send_signal(signal.SIGCONT)
    wait_for(process, "trying again")
    small_disk.free()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("moment", ["submitted ", "download "])
def test_full_under_the_clips(storm, small_disk, moment):
    """No room for a file, or for the rest of one: no half file stays, the run stops, the clip comes home later."""
    weather = storm(3, *QUICK, "--fault", "asset-slow=1")
    out = weather.out = small_disk.path / "out"
    process = weather.start("-v")
    wait_for(process, moment)
    small_disk.fill()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    assert str(out / "storm") in err
    assert told(err), err
    assert not weather.clips
    assert not list(out.rglob("*.part"))
    before = weather.charged
    small_disk.free()
    weather.chances()
    ended = weather.run()
    assert ended.code == 0, ended.err
    assert before <= weather.charged == 3
    weather.assert_each_paid_once_and_whole()


def test_too_little_room_to_begin_with(storm, small_disk):
    """Where the clips will not fit, not one is ordered; both numbers are told."""
    weather = storm(2, *QUICK)
    weather.out = small_disk.path / "out"
    small_disk.fill(1000)
    ended = weather.run()
    assert ended.code == 78
    assert re.search(r"disk/out/storm: 4 MB free, 164 MB needed", ended.err), ended.err
    assert not weather.creates


def test_full_under_everything_at_any_moment(storm, small_disk, seed):
    """State and clips on one disk, which fills at a random event and is cleared again, three times."""
    weather = storm(6, *QUICK)
    weather.state, weather.out = small_disk.path / "state.db", small_disk.path / "out"
    rng = random.Random(f"moments {seed}")
    for _ in range(3):
        process = weather.start("-v")
        word = rng.choice(["submit ", "submitted ", "processing ", "succeeded ", "download "])
        if wait_for(process, word, rng.randint(1, 3), or_the_end=True):
            small_disk.fill()
        _, err = process.communicate(timeout=40)
        assert process.returncode in (0, 78), err
        assert "Traceback" not in err
        small_disk.free()
        assert_every_order_is_on_record(weather)
        weather.assert_whole(weather.clips)
    ended = weather.run()
    assert ended.code == 0, ended.err
    weather.assert_each_paid_once_and_whole()
