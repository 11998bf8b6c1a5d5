from __future__ import annotations

import pytest

from batcher.catalog import usual_s
from batcher.policy.forecast import Forecast, forecast
from batcher.policy.polling import Durations

FAST, SLOW, NEW = "kling-v2-5-turbo std 5s", "kling-v1 pro 10s", "kling-v3 std 5s"


def always(seconds):
    learnt = Durations()
    for _ in range(200):
        learnt = learnt.with_finished(seconds)
    return learnt


LEARNT = {FAST: always(10.0), SLOW: always(100.0)}


def test_the_work_is_shared_by_as_many_as_go_at_once():
    ahead = forecast({FAST: 40, SLOW: 4}, {}, learnt=LEARNT, at_once=4)
    assert ahead.seconds == pytest.approx((40 * 10 + 4 * 100) / 4, rel=0.15)
    assert (ahead.at_once, ahead.is_estimate) == (4, False)


def test_nothing_ends_before_the_longest():
    assert forecast({FAST: 3, SLOW: 1}, {}, learnt=LEARNT, at_once=100).seconds == pytest.approx(100, rel=0.15)


def test_what_runs_has_half_of_it_behind_it():
    whole = forecast({SLOW: 8}, {}, learnt=LEARNT, at_once=2).seconds
    assert forecast({}, {SLOW: 8}, learnt=LEARNT, at_once=2).seconds == pytest.approx(whole / 2)


def test_a_class_that_never_ended_takes_its_usual_time_and_marks_the_whole():
    assert forecast({NEW: 8}, {}, learnt={}, at_once=4) == Forecast(
        seconds=usual_s(NEW) * 2, at_once=4, is_estimate=True
    )
    assert forecast({FAST: 8, NEW: 1}, {}, learnt=LEARNT, at_once=4).is_estimate
    assert forecast({FAST: 8, NEW: 0}, {}, learnt=LEARNT, at_once=4).is_estimate is False


def test_one_that_was_only_watched_is_as_unknown_as_one_that_was_not():
    assert forecast({NEW: 1}, {}, learnt={NEW: Durations().with_survived(30)}, at_once=4).is_estimate


@pytest.mark.parametrize("none", [{}, {FAST: 0}])
def test_of_nothing_there_is_no_forecast(none):
    assert forecast(none, none, learnt=LEARNT, at_once=4) is None


def test_no_more_go_at_once_than_there_are():
    assert forecast({FAST: 1}, {SLOW: 1}, learnt=LEARNT, at_once=50).at_once == 2
