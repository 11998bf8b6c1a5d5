from __future__ import annotations

import pytest

from batcher.report.layout import ahead, unfetched_line
from batcher.report.views import Unfetched


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1.0s"), (42.4, "about 42s"), (131, "about 2m10s"), (725, "about 12m00s"), (19_999, "about 5h30m")],
)
def test_a_time_to_come_is_no_more_exact_than_it_can_be(seconds, words):
    assert ahead(seconds, at_once=None, estimate=False) == words


def test_no_time_is_no_words():
    assert ahead(None, at_once=4, estimate=True) == ""


@pytest.mark.parametrize(
    ("finished", "perhaps", "left_s", "words"),
    [
        (1, 0, 3600, "1 finished clip is not home; the provider deletes the first in 1h00m"),
        (2, 0, 3600, "2 finished clips are not home; the provider deletes the first in 1h00m"),
        (0, 1, 3600, "1 submitted is not home; the provider deletes the first in 1h00m"),
        (1, 1, 3600, "1 finished clip and 1 that may be are not home; the provider deletes the first in 1h00m"),
        (2, 0, -5, "2 finished clips are not home; the provider may have deleted the first"),
    ],
)
def test_what_is_not_home_is_told_with_its_end(finished, perhaps, left_s, words):
    clips = Unfetched(finished=finished, perhaps=perhaps, left_s=left_s, command="batcher collect")
    assert unfetched_line(clips) == f"{words}: batcher collect"
