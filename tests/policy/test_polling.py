from __future__ import annotations

import json
from math import log
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.catalog import USUAL_OF_ALL_S
from batcher.policy.polling import (
    BINS,
    Durations,
    Pace,
    expected_s,
    list_worth_s,
    mean_s,
    next_look_s,
    sweep_s,
)

PACE = Pace()


class Middle(Random):
    """No jitter."""

    def random(self):
        return 0.5


def gap(age_s, learnt, prior_s=150.0, pace=PACE):
    return next_look_s(learnt, age_s=age_s, prior_s=prior_s, pace=pace, rng=Middle())


@given(
    st.floats(0, 1e7),
    st.lists(st.floats(0, 1e5), max_size=20),
    st.floats(1, 1000),
    st.floats(0.01, 10),
    st.floats(10, 300),
    st.randoms(use_true_random=False),
)
def test_a_gap_stays_between_floor_and_cap_give_or_take_the_jitter(age_s, seconds, prior_s, floor_s, cap_s, rng):
    pace = Pace(floor_s=floor_s, cap_s=cap_s)
    wait = next_look_s(learnt_from(*seconds), age_s=age_s, prior_s=prior_s, pace=pace, rng=rng)
    assert 0.9 * floor_s <= wait <= 1.1 * max(floor_s, cap_s)


def test_a_gap_is_the_square_root_of_twice_the_worth_over_the_hazard():
    """Keller's rule, where the hazard is the same for a while."""
    learnt = Durations(finished=(10.0,) * BINS, at_risk=(500.0,) * BINS)
    assert gap(60.0, learnt) == pytest.approx((2 * PACE.worth_s * 50) ** 0.5, rel=0.1)


def test_looks_gather_where_the_end_is_likely():
    """Two hundred took 80 to 120 s: none is looked at for most of a minute, each every few seconds from then on."""
    learnt = learnt_from(*(80 + n / 5 for n in range(200)))
    assert gap(0.0, learnt) > 25
    assert gap(40.0, learnt) > 20
    assert gap(95.0, learnt) < 4


def test_a_look_falls_after_a_hazard_has_risen_not_half_a_minute_late():
    """What it is now is not what it is in ten seconds."""
    learnt = learnt_from(*(80 + n / 5 for n in range(200)))
    assert 70.0 + gap(70.0, learnt) < 85


def test_of_a_class_that_nobody_knows_looks_thin_out_with_the_age():
    gaps = [gap(age, Durations(), prior_s=1.0) for age in (0, 10, 100, 10_000)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 2
    assert gaps[-1] == PACE.cap_s


def test_tasks_submitted_together_do_not_ask_together():
    rng = Random(7)
    waits = {next_look_s(Durations(), age_s=0.0, prior_s=60.0, pace=PACE, rng=rng) for _ in range(50)}
    assert len(waits) == 50


def test_a_list_that_shows_many_is_worth_more():
    assert list_worth_s(PACE, 3) == PACE.list_worth_s
    assert list_worth_s(PACE, 200) == pytest.approx(10 * PACE.list_worth_s)


def test_with_callbacks_a_look_comes_when_most_have_ended_and_told():
    assert sweep_s(90.0, pace=PACE, rng=Middle()) == 135.0
    assert sweep_s(2.0, pace=PACE, rng=Middle()) == PACE.cap_s


def learnt_from(*seconds):
    learnt = Durations()
    for each in seconds:
        learnt = learnt.with_finished(each)
    return learnt


@given(st.floats(2, 2000), st.floats(0.02, 0.8), st.integers(0, 1000))
def test_the_expected_time_of_finished_ones_is_about_their_mean(median, sigma, seed):
    """About, as ages fall in bins 25 % wide."""
    rng = Random(seed)
    seconds = [rng.lognormvariate(log(median), sigma) for _ in range(60)]
    assert learnt_from(*seconds).expected_s == pytest.approx(mean(seconds), rel=0.15)


def test_nothing_is_expected_of_a_class_of_which_none_ended():
    assert Durations().expected_s is None
    assert Durations().with_survived(500.0).expected_s is None


def test_those_still_running_keep_the_first_ends_from_passing_for_all():
    few = learnt_from(30.0, 31.0)
    watched = few
    for _ in range(18):
        watched = watched.with_survived(60.0)
    assert few.hazard(31.0, prior_s=90.0) > 4 * watched.hazard(31.0, prior_s=90.0)
    assert watched.expected_s > 1.5 * few.expected_s


@given(st.floats(0, 1e5), st.floats(0, 1), st.floats(0, 1))
def test_watching_in_pieces_counts_as_watching_at_once(seconds, first, second):
    one, other = sorted((first * seconds, second * seconds))
    whole = Durations().with_finished(seconds)
    pieces = Durations().with_survived(one).with_survived(other, since_s=one).with_finished(seconds, since_s=other)
    assert pieces.finished == whole.finished
    assert pieces.at_risk == pytest.approx(whole.at_risk)


def test_a_hazard_is_ends_a_second_watched():
    """Forty generations of 80 to 120 s: about one in forty ends a second in the middle, none before."""
    learnt = learnt_from(*range(80, 120))
    assert learnt.hazard(100.0, prior_s=150.0) == pytest.approx(1 / 20, rel=0.5)
    assert learnt.hazard(40.0, prior_s=150.0) < 1 / 1000


def test_what_is_kept_stays_small_and_follows_a_provider_that_changes():
    learnt = learnt_from(*[60.0] * 2000, *[300.0] * 2000)
    assert len(json.dumps(learnt.to_json())) < 2000
    assert learnt.expected_s > 200


@given(st.lists(st.floats(0, 1e9), max_size=20), st.floats(0, 1e6))
def test_durations_survive_the_state(seconds, running_s):
    learnt = learnt_from(*seconds).with_survived(running_s)
    again = Durations.from_json(json.loads(json.dumps(learnt.to_json())))
    assert again.finished == pytest.approx(learnt.finished, abs=1e-3)
    assert again.at_risk == pytest.approx(learnt.at_risk, abs=1e-3)


def test_the_list_of_times_that_older_states_hold_is_read():
    assert Durations.from_json([80.0, 90, 100.0]) == learnt_from(80.0, 90.0, 100.0)


@pytest.mark.parametrize(
    "kept", [None, 7, "x", ["x"], [None], {"finished": [-1]}, {"finished": "x"}, {"at_risk": [1e999]},
             {"at_risk": [0] * 65}, {"finished": [[]]}, {"finished": 1}],
)  # fmt: skip
def test_what_no_version_wrote_is_an_error(kept):
    with pytest.raises((TypeError, ValueError)):
        Durations.from_json(kept)


def test_what_is_expected_of_a_class_is_learnt_or_the_catalog_s():
    learnt = {"kling-v1-6 std 5s": learnt_from(60.0, 60.0), "kling-v1-6 pro 5s": Durations().with_survived(9.0)}
    assert expected_s("kling-v1-6 std 5s", learnt) == pytest.approx(60.0, rel=0.1)
    assert expected_s("kling-v1-6 pro 5s", learnt) == 300.0
    assert expected_s("kling-v1-6 std 10s", {}) == pytest.approx(240.0)
    assert expected_s("kling-v9 std 5s", {}) == USUAL_OF_ALL_S


def test_the_mean_over_classes_goes_by_how_many_ended():
    assert mean_s([]) is None
    assert mean_s([Durations()]) is None
    fast, slow = learnt_from(*[40.0] * 30), learnt_from(*[160.0] * 10)
    assert mean_s([fast, slow, Durations()]) == pytest.approx(70.0, rel=0.1)
