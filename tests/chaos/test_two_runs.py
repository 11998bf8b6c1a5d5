"""More than one run: on one state, on a copy of it, with the lock taken away or kept by a child."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from storm import poll, wait_for

pytestmark = pytest.mark.timeout(60)

QUICK = ("--time-scale", "0.001")


def test_four_runs_at_once_are_one_run(storm):
    """A timer that fires while the last run goes on: one works, the others are told by whom (exit 4)."""
    weather = storm(4, *QUICK)
    weather.provider.send_signal(signal.SIGSTOP)  # nobody is done before the last one has begun
    runs = [weather.start() for _ in range(4)]
    poll(lambda: sum(process.poll() == 4 for process in runs) == 3)
    weather.provider.send_signal(signal.SIGCONT)
    ends = [(process.communicate(timeout=40)[1], process.returncode) for process in runs]
    assert sorted(code for _, code in ends) == [0, 4, 4, 4], ends
    worker = next(process.pid for process in runs if process.returncode == 0)
    assert all(f"pid {worker}, since" in err for err, code in ends if code == 4)
    assert len(weather.creates) == 4
    weather.assert_each_paid_once_and_whole()


def test_a_run_that_waits_finds_everything_done(storm):
    """`--wait`: the second begins when the first has ended, and has nothing left to buy."""
    weather = storm(3, "--time-scale", "0.004")
    first = weather.start("-v")
    wait_for(first, "submitted ")
    second = weather.start("--wait")
    first.communicate(timeout=40)
    assert first.returncode == 0
    _, err = second.communicate(timeout=40)
    assert second.returncode == 0, err
    assert "0 to submit" in err
    [(ended, _), (_, begun)] = weather.rows("SELECT finished_at, started_at FROM runs ORDER BY started_at")
    assert ended <= begun
    assert len(weather.creates) == 3
    weather.assert_each_paid_once_and_whole()


def test_a_run_that_waits_goes_on_after_a_kill(storm):
    """The kernel hands the lock on, whatever became of its holder."""
    weather = storm(4, *QUICK)
    first = weather.start("-v")
    wait_for(first, "submitted ")
    with weather.frozen():
        second = weather.start("--wait")
        weather.kill(first)
    _, err = second.communicate(timeout=40)
    assert second.returncode == 0, err
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("used_ids", ["refuse", "create"])
def test_without_its_lock_two_runs_do_not_buy_the_same(storm, used_ids):
    """Somebody deleted the lock file of a run, and a second one begins: each clip is still paid once.

    The first notices before its next create call and stops (78); the second rests before it looks at what the first
    has under way.
    """
    weather = storm(10, "--time-scale", "0.002", "--used-ids", used_ids)
    first = weather.start("-v")
    wait_for(first, "submitted ", 2)
    weather.state.with_name("state.db.lock").unlink()
    second = weather.run()
    _, err = first.communicate(timeout=40)
    assert first.returncode == 78, err
    assert second.code in (0, 78), second.err
    weather.finish()
    weather.assert_each_paid_once_and_whole()


HOOK = """
import os, subprocess, sys, time
from batcher.state.file import hold_lock
from pathlib import Path
with hold_lock(Path("state.db"), started_at="2026-11-25T02:00:00Z"):
    if sys.argv[1] == "exec":
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], close_fds=False).pid
    else:
        child = os.fork()
        if child == 0:
            sys.stdin.read()
            os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["exec", "fork"])
def test_a_child_of_a_run_does_not_keep_its_lock(storm, how):
    """A program that a run started, or its fork, lives on after the run was killed: it is in nobody's way."""
    weather = storm(1, *QUICK)
    parent = weather.launch([sys.executable, "-c", HOOK, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    refused = weather.run()
    assert refused.code == 4
    assert f"pid {parent.pid}" in refused.err
    parent.kill()
    parent.wait()
    os.kill(child, 0)  # it lives, and ends when its standard input does
    weather.finish()
    os.kill(child, 0)
    weather.assert_each_paid_once_and_whole()


def test_two_manifests_share_a_state(storm):
    """One after the other, and the first one killed on the way: each has its folder, each clip is paid once."""
    weather = storm(3, "--time-scale", "0.005")
    other = weather.folder / "other.yaml"
    other.write_text((weather.folder / "storm.yaml").read_text().replace("job: storm", "job: other"))
    process = weather.start("-v")
    wait_for(process, "submitted ", 2)
    with weather.frozen():
        busy = weather.run(verb=("run", "other.yaml"))
        assert busy.code == 4
        weather.kill(process)
    ended = weather.run(verb=("run", "other.yaml"))
    assert ended.code == 0, ended.err
    weather.finish()
    assert weather.rows("SELECT job, status, count(*) FROM tasks GROUP BY job, status ORDER BY job") == [
        ("other", "downloaded", 3),
        ("storm", "downloaded", 3),
    ]
    assert weather.charged == 6
    assert not weather.ledger["totals"]["twice"]
    assert len(weather.clips) == len(list((weather.out / "other").glob("*.mp4"))) == 3


def test_two_manifests_of_one_job_do_not_buy_the_same_twice(storm):
    """Its name is the job's, not the file's: what both ask for is one task."""
    weather = storm(3, *QUICK)
    shutil.copy(weather.folder / "storm.yaml", weather.folder / "copy.yaml")
    weather.finish()
    ended = weather.run(verb=("run", "copy.yaml"))
    assert ended.code == 0, ended.err
    assert len(weather.creates) == 3
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("begun", [False, True], ids=["fresh", "half-way"])
def test_a_copy_of_the_folder_runs_on_two_machines_at_once(storm, begun):
    """Same content and same key make the same ids: the provider takes each once, and both copies get every clip."""
    weather = storm(6, *QUICK, limit=12)
    if begun:
        process = weather.start("-v")
        wait_for(process, "submitted ", 2)
        weather.kill(process)
    copy = weather.folder.with_name(f"{weather.folder.name}-elsewhere")
    shutil.copytree(weather.folder, copy)
    runs = [weather.start(), weather.start(cwd=copy)]
    for process in runs:
        _, err = process.communicate(timeout=50)
        assert process.returncode == 0, err
    weather.assert_each_paid_once_and_whole()
    clips = sorted((copy / "out" / "storm").glob("*.mp4"))
    assert [clip.name for clip in clips] == [clip.name for clip in weather.clips]
    weather.assert_whole(clips)
