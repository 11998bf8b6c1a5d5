"""SIGKILL at random moments, seed after seed. The ledger of a provider that outlives every run is the judge."""

from __future__ import annotations

import random

import pytest
from storm import poll, wait_for

from batcher.simulator.clips import padded, stamped

pytestmark = pytest.mark.timeout(120)

QUICK = ("--time-scale", "0.001")
BAD_WEATHER = (
    *("--fault", "reset-after=0.1"),
    *("--fault", "5000-created=0.1"),
    *("--fault", "html-502=0.1"),
    *("--fault", "asset-cut=0.2"),
)


def test_killed_at_five_moments_each_clip_is_paid_once(storm, seed):
    """After a random event, five times, then once to the end: 16 charges, 16 whole files, each the right one."""
    weather = storm(16, *QUICK)
    rng = random.Random(1000 + seed)
    for word in rng.choices(["submit ", "done ", "submitted ", "processing ", "succeeded "], k=5):
        process = weather.start("-v")
        wait_for(process, word, rng.randint(1, 4), or_the_end=True)
        weather.kill(process)
    weather.finish()
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("used_ids", ["refuse", "create"])
def test_killed_at_any_time_in_bad_weather_each_clip_is_paid_once(storm, seed, used_ids):
    """Not at an event but by the clock, from the first import on; replies are lost, and files come cut.

    Where a used id would be sold once more (`create`), nothing but the protocol stands between a kill and a bill.
    """
    weather = storm(8, *QUICK, *BAD_WEATHER, "--used-ids", used_ids)
    rng = random.Random(f"{seed} {used_ids}")
    for _ in range(4):
        weather.kill(weather.start(), after_s=rng.uniform(0.1, 1.2))
    weather.chances()  # or three bad answers in a row may meet one task, which then has failed
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_killed_while_downloading_no_half_file_has_a_clips_name(storm, seed):
    """Whatever has a clip's name is a whole clip, after each kill; what was cut off is fetched again, unpaid."""
    weather = storm(6, *QUICK, "--fault", "asset-slow=1")
    rng = random.Random(2000 + seed)
    for _ in range(3):
        process = weather.start("-v")
        wait_for(process, "download ", rng.randint(1, 3))
        assert weather.kill(process, after_s=rng.uniform(0.0, 1.5))
        weather.assert_whole(weather.clips)
    weather.chances()
    weather.finish()
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("ranges", ["--ranges", "--no-ranges"])
def test_killed_in_the_middle_of_a_download_the_next_run_goes_on(storm, ranges):
    """Two kills, each when some MB more are here: in the provider's own count, a kill costs at most 2 MiB.

    Without ranges all of it is sent again, and the clip is whole all the same.
    """
    mib, size = 1 << 20, 8 << 20
    weather = storm(1, *QUICK, "--fault", "asset-slow=1", "--clip-bytes", str(size), ranges)
    part = weather.out / "storm"
    for here in (4 * mib, 6 * mib):
        process = weather.start("-v")
        poll(lambda here=here: sum(path.stat().st_size for path in part.glob(".*.mp4.part")) >= here)
        assert weather.kill(process)
        assert not weather.clips
    weather.chances()
    weather.finish()
    (clip,) = weather.clips
    (sold,) = (g["task_id"] for page in weather.ledger["accounts"].values() for g in page["generations"])
    assert clip.read_bytes() == padded(stamped(sold), size)
    assert [path.name for path in part.glob(".*.mp4.*")] == []
    totals = weather.ledger["totals"]
    assert (totals["charged"], totals["leaks"]) == (1, 0)
    sent = totals["asset_bytes"]
    if ranges == "--ranges":
        assert sent <= size + 2 * 2 * mib
    else:
        assert sent >= size + 10 * mib


def test_killed_while_collecting_nothing_is_bought(storm, seed):
    """`collect` sends nothing, however often it is begun again; in the end all is at home."""
    weather = storm(5, "--time-scale", "0.01", "--fault", "asset-slow=0.3")
    assert weather.run("--submit-only", "-j", "5").code == 75
    rng = random.Random(3000 + seed)
    for _ in range(3):
        weather.kill(weather.start(verb=("collect", "storm")), after_s=rng.uniform(0.2, 1.2))
    weather.chances()
    ended = weather.run(verb=("collect", "storm"))
    assert ended.code == 0, ended.err
    assert len(weather.creates) == 5
    weather.assert_each_paid_once_and_whole()


def test_killed_while_retrying_each_failure_is_bought_once_more(storm, seed):
    """A retry that died is gone on with, not begun anew: one more attempt for each failure, and no third."""
    weather = storm(5, *QUICK, "--script", "ok", "--script", "fails", "--script", "fails")
    assert weather.run().code == 1
    assert weather.statuses() == {"downloaded": 3, "failed": 2}
    weather.chances(reset_after=0.2)
    rng = random.Random(4000 + seed)
    for _ in range(3):
        weather.kill(weather.start("--failed", verb=("retry", "storm")), after_s=rng.uniform(0.2, 0.8))
    weather.chances()
    if "failed" in weather.statuses():  # the kills came too early to mark them
        weather.run("--failed", verb=("retry", "storm"))
    weather.finish()
    assert weather.statuses() == {"downloaded": 5}
    assert weather.ledger["totals"]["charged"] == 7
    assert not weather.ledger["totals"]["twice"]
    weather.assert_whole(weather.clips)
