from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.policy.polling import FIRST_LOOK_S, Pace, next_look_s, typical_s

PACE = Pace()


class Middle(Random):
    """No jitter."""

    def random(self):
        return 0.5


def gap(age_s, typical):
    return next_look_s(age_s=age_s, typical_s=typical, pace=PACE, rng=Middle())


@given(
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e5),
    st.floats(0.01, 10),
    st.floats(10, 300),
    st.randoms(use_true_random=False),
)
def test_a_gap_stays_between_floor_and_cap_give_or_take_the_jitter(age_s, typical, floor_s, cap_s, rng):
    """Only the first look may be further off: where it is known that nothing can be done before."""
    wait = next_look_s(age_s=age_s, typical_s=typical, pace=Pace(floor_s=floor_s, cap_s=cap_s), rng=rng)
    is_early = typical is not None and age_s < 0.5 * typical
    most = max(floor_s, cap_s, 0.6 * typical) if is_early else max(floor_s, cap_s)
    assert 0.9 * floor_s <= wait <= 1.1 * most


def test_a_provider_whose_clock_says_years_is_looked_at_within_ten_minutes():
    assert gap(0.0, 1.8e9) == FIRST_LOOK_S


@given(st.floats(10, 1e3))
def test_the_first_look_comes_at_three_fifths_of_the_typical_time(typical):
    assert gap(0.0, typical) == pytest.approx(0.6 * typical)


def test_looks_are_dense_where_the_end_is_likely_and_thin_out_after():
    gaps = [gap(age, 60.0) for age in (0, 36, 60, 120, 180, 3600)]
    assert gaps == pytest.approx([36.0, 6.0, 6.0, 12.0, 18.0, PACE.cap_s])


def test_without_experience_looks_begin_at_once_and_grow_with_the_age():
    """A class of unknown speed may be done in seconds."""
    gaps = [gap(age, None) for age in (0, 8, 40, 400)]
    assert gaps == pytest.approx([PACE.floor_s, 2.0, 10.0, PACE.cap_s])


def test_tasks_submitted_together_do_not_ask_together():
    rng = Random(7)
    waits = {next_look_s(age_s=0.0, typical_s=60.0, pace=PACE, rng=rng) for _ in range(50)}
    assert len(waits) == 50


@pytest.mark.parametrize(
    ("durations", "expected"), [((), None), ((30.0,), 30.0), ((30.0, 50.0), 40.0), ((30.0, 900.0, 40.0), 40.0)]
)
def test_the_typical_time_is_the_median(durations, expected):
    assert typical_s(durations) == expected
