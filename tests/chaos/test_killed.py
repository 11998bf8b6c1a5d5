"""SIGKILL at random moments, seed after seed. The ledger of a provider that outlives every run is the judge."""

from __future__ import annotations

import random

import pytest
from storm import wait_for


@pytest.mark.timeout(120)
def test_killed_at_five_moments_each_clip_is_paid_once(storm, seed):
    weather = storm(30, "--time-scale", "0.005")
    rng = random.Random(1000 + seed)
    for word in rng.choices(["submit ", "done ", "submitted ", "processing ", "succeeded "], k=5):
        process = weather.start("-v")
        wait_for(process, word, rng.randint(1, 4))
        process.kill()
        process.communicate()
    weather.finish()
    weather.assert_each_paid_once_and_whole()
