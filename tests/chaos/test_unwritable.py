"""Folders that cannot be written, are not there, or are none: told before the first call, with path and reason."""

from __future__ import annotations

import os
import shutil

import pytest

pytestmark = pytest.mark.timeout(60)

MORTAL = (
    ()
    if os.geteuid()
    else ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
)
"""Root ignores the modes of files; without these two rights it is bound by them as anybody is."""


def read_only(path):
    """Nobody may write there."""
    path.chmod(0o555)


def a_file(path):
    path.write_text("something else")


def a_loop(path):
    path.symlink_to(path)


@pytest.fixture
def mortal(storm):
    """A storm whose runs may do only what the modes of files allow."""
    weather = storm(2, "--time-scale", "0.001")
    yield weather
    for folder, _, _ in os.walk(weather.folder):
        os.chmod(folder, 0o755)  # noqa: PTH101 - or it could not be removed


def refused(weather, *words):
    ended = weather.run(before=MORTAL)
    assert ended.code == 78, ended.err
    for word in words:
        assert str(word) in ended.err, ended.err
    assert "hint: " in ended.err
    assert "Traceback" not in ended.err
    assert not weather.creates


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(read_only, "Permission denied"), (a_file, "file"), (a_loop, "symbolic links")],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("which", ["state", "out"])
def test_a_folder_of_no_use_is_refused_before_the_first_call(mortal, which, harm, reason):
    """The reason, the path and the way out are told; and when it is put right, the same command goes through."""
    folder = mortal.folder / "place"
    (folder.mkdir(), harm(folder)) if harm is read_only else harm(folder)
    setattr(mortal, which, folder / ("state.db" if which == "state" else "out"))
    refused(mortal, folder, reason)
    folder.chmod(0o755) if harm is read_only else folder.unlink()
    ended = mortal.run(before=MORTAL)
    assert ended.code == 0, ended.err
    mortal.assert_each_paid_once_and_whole()


def test_a_state_that_may_only_be_read_is_refused_before_the_first_call(mortal):
    """Somebody else's, or protected by hand."""
    mortal.run("--limit", "0")
    mortal.state.chmod(0o444)
    refused(mortal, "cannot use state.db: it may only be read")
    mortal.state.chmod(0o600)
    assert mortal.run(before=MORTAL).code == 0


def test_a_jobs_folder_that_may_only_be_read_is_refused_before_the_first_call(mortal):
    mortal.run("--limit", "0")
    read_only(mortal.out / "storm")
    refused(mortal, mortal.out / "storm", "Permission denied")


def test_receipts_that_may_only_be_read_are_refused_before_the_first_call(mortal):
    """They are what a lost state is found by again: without a line there nothing is ordered."""
    mortal.run("--limit", "0")
    receipts = mortal.out / "storm" / ".batcher-receipts.jsonl"
    receipts.touch(mode=0o444)
    refused(mortal, receipts, "Permission denied")
    assert mortal.statuses() == {"pending": 2}


@pytest.mark.parametrize("which", ["state", "out"])
def test_a_disk_mounted_read_only_is_refused_before_the_first_call(storm, small_disk, which):
    weather = storm(1, "--time-scale", "0.001")
    setattr(weather, which, small_disk.path / ("state.db" if which == "state" else "out"))
    small_disk.read_only()
    ended = weather.run()
    assert ended.code == 78, ended.err
    assert str(small_disk.path) in ended.err
    assert "Read-only file system" in ended.err
    assert not weather.creates


def test_a_folder_deleted_under_a_run_stops_it(storm):
    """The clips' folder is made again by the next run; what was paid for comes home once."""
    weather = storm(3, "--time-scale", "0.002")
    weather.run("--submit-only", "-j", "3")
    shutil.rmtree(weather.out)
    weather.finish()
    assert len(weather.creates) == 3
    weather.assert_each_paid_once_and_whole()
