from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.policy.concurrency import (
    CAREFUL,
    EARNED,
    EARNED_LOWERED,
    LOWERED_FOR_S,
    LOWERED_GAP_S,
    MOST_AT_ONCE,
    PROBE_GAPS_S,
    PURSE_MOST,
    PURSE_START,
    START,
    Limit,
    after_accepted,
    after_busy,
    after_roll_call,
    after_trouble,
    at_once,
    most_missing,
    probed,
    start,
)

steps = st.lists(
    st.tuples(
        st.sampled_from(["accepted", "busy", "burst", "trouble", "roll call", "probe"]),
        st.integers(0, 60),
        st.floats(0, 300),
    ),
    min_size=1,
    max_size=80,
)


@pytest.mark.parametrize(
    ("given_", "learnt", "value", "ceiling"),
    [(None, None, START, None), (None, 9, 9, None), (6, None, 6, 6), (6, 9, 6, 6), (6, 3, 3, 6)],
)
def test_a_run_begins_with_what_was_asked_and_learnt(given_, learnt, value, ceiling):
    limit = start(given=given_, learnt=learnt)
    assert (limit.value, limit.ceiling) == (value, ceiling)


@given(st.none() | st.integers(1, 40), st.none() | st.integers(1, 40), steps)
def test_the_limit_is_at_least_one_and_never_above_the_ceiling_and_the_purse_stays_in_bounds(ceiling, learnt, story):
    limit, now = start(given=ceiling, learnt=learnt), 0.0
    for what, count, gap in story:
        now += gap
        before = limit
        match what:
            case "accepted":
                limit = after_accepted(limit, now=now)
                assert (limit.value, limit.streak) == (before.value, 0)
            case "busy":
                limit = after_busy(limit, held=count, sent_at=now, now=now)
                assert limit.value <= max(1, min(before.value, count))
            case "burst":
                limit = after_busy(limit, held=count, sent_at=now - 301.0, now=now)
                assert limit.value <= max(1, min(before.value, count))
            case "trouble":
                limit = after_trouble(limit, held=count)
                assert limit.value <= max(1, min(before.value, count))
                assert (limit.wall, limit.purse, limit.learnt) == (before.wall, before.purse, before.learnt)
            case "roll call":
                limit = after_roll_call(limit, running=count, now=now)
                assert limit.value >= before.value
            case "probe":
                limit = probed(limit, now=now)
                assert limit.value in (before.value, before.wall)
        assert limit.value >= 1
        assert ceiling is None or limit.value <= ceiling
        assert limit.wall is None or limit.value <= limit.wall
        assert 0.0 <= limit.purse <= PURSE_MOST
        assert limit.learnt is None or limit.learnt >= 1
        assert 1 <= at_once(limit, held=count) <= MOST_AT_ONCE


@given(steps)
def test_a_wall_is_tried_only_with_a_token_so_refusals_stay_few(story):
    """Whatever happens: tries of a wall that stands <= the first tokens and what accepted calls earned."""
    limit, now, tries, accepted = Limit(value=20, wall=21), 0.0, 0, 0
    for what, _, gap in story:
        now += gap
        if what == "accepted":
            limit, accepted = after_accepted(limit, now=now), accepted + 1
        elif probed(limit, now=now) != limit:
            limit = after_busy(probed(limit, now=now), held=20, sent_at=now, now=now)
            tries += 1
    assert tries <= PURSE_START + EARNED * accepted


def test_a_refusal_shows_the_wall():
    limit = after_busy(Limit(value=9), held=5, sent_at=100.0, now=100.2)
    assert (limit.value, limit.wall, limit.learnt) == (5, 6, 5)


def test_a_burst_of_refusals_is_one_cut_and_its_last_one_knows_best():
    """Calls that were on their way together are refused one by one, while the number held still counts the others."""
    limit = after_busy(Limit(value=20), held=19, sent_at=100.0, now=100.2)
    for others in (18, 17, 16):
        limit = after_busy(limit, held=others, sent_at=100.0, now=100.3)
    assert (limit.value, limit.wall, limit.streak, limit.probes) == (16, 17, 1, 1)
    assert limit.best == 16


def test_a_wall_that_comes_down_is_followed_by_quarters():
    limit, now, values = Limit(value=50), 0.0, []
    for _ in range(4):
        now += 10.0
        limit = after_busy(limit, held=limit.value, sent_at=now - 0.1, now=now)
        values.append(limit.value)
    assert values == [50, 47, 35, 26]


def test_after_a_refusal_one_call_goes_at_a_time_until_one_is_accepted():
    limit = after_busy(Limit(value=50), held=40, sent_at=0.0, now=0.1)
    assert at_once(limit, held=40) == 1
    assert at_once(after_accepted(limit, now=1.0), held=40) == CAREFUL


def test_few_calls_go_at_once_where_nobody_was_yet():
    assert at_once(Limit(value=200), held=8) == CAREFUL
    assert at_once(Limit(value=200, proved=150), held=100) == MOST_AT_ONCE
    assert at_once(Limit(value=200), held=190) == MOST_AT_ONCE


def test_room_is_taken_only_where_it_was_seen():
    limit = Limit(value=8)
    assert after_roll_call(limit, running=7, now=0.0) == limit
    assert after_roll_call(limit, running=8, now=0.0).value == 9


def test_growth_begins_gently_and_stays_a_share_of_the_limit():
    limit, values = Limit(value=40), []
    for _ in range(6):
        limit = after_roll_call(limit, running=limit.value, now=0.0)
        values.append(limit.value)
    assert values == [41, 43, 47, 55, 68, 85]


def test_generations_from_before_a_refusal_prove_nothing():
    """The account shrank from 20 to 5: that 18 still run is no room."""
    limit = after_busy(Limit(value=20), held=18, sent_at=0.0, now=0.1)
    assert after_roll_call(limit, running=18, now=5.0) == limit


def test_below_a_wall_it_grows_up_to_it_and_no_further():
    limit = after_accepted(Limit(value=7, wall=9), now=0.0)
    limit = after_roll_call(limit, running=7, now=0.0)
    assert (limit.value, limit.may_grow) == (8, False)
    assert after_roll_call(limit, running=8, now=0.0).value == 8


def test_the_wall_is_tried_again_after_a_while_and_ever_more_rarely():
    limit, now, gaps = Limit(value=9), 0.0, []
    for _ in range(4):
        limit = after_busy(limit, held=5, sent_at=now, now=now)
        gaps.append(limit.probe_at - now)
        assert probed(limit, now=limit.probe_at - 0.1).value == 5
        now = limit.probe_at
        limit = after_accepted(replace(limit, purse=3.0), now=now)
        assert probed(limit, now=now).value == 6
    assert gaps == [*PROBE_GAPS_S, PROBE_GAPS_S[-1]]


def test_without_a_token_the_wall_is_not_tried():
    limit = Limit(value=5, wall=6, purse=0.99)
    assert probed(limit, now=1e6) == limit
    assert probed(after_accepted(limit, now=1e6), now=1e6).value == 6


def test_a_wall_that_gave_way_is_forgotten_once_as_many_are_running():
    limit = probed(Limit(value=5, wall=6, probes=2), now=1e6)
    assert limit.tries_the_wall
    assert after_roll_call(limit, running=5, now=1e6) == limit
    moved = after_roll_call(limit, running=6, now=1e6)
    assert (moved.value, moved.wall, moved.probes) == (7, None, 0)


def test_an_account_that_took_more_is_tried_every_minute_for_two_hours():
    limit, now = Limit(value=20), 0.0
    for held in (19, 15, 11, 8, 5):
        now += 10.0
        limit = after_busy(limit, held=held, sent_at=now, now=now)
    assert limit.is_lowered(now)
    assert limit.probe_at - now == LOWERED_GAP_S
    assert after_accepted(limit, now=now).purse == limit.purse + EARNED_LOWERED
    later = now + LOWERED_FOR_S
    assert after_accepted(limit, now=later).purse == limit.purse + EARNED


def test_too_many_a_second_is_no_wall():
    limit = after_trouble(Limit(value=20, proved=20), held=12)
    assert (limit.value, limit.wall) == (12, None)
    assert after_roll_call(after_accepted(limit, now=0.0), running=12, now=0.0).value == 13


def test_a_ceiling_that_was_given_does_not_shrink_what_is_known():
    limit = start(given=4, learnt=50)
    assert after_roll_call(limit, running=4, now=0.0).learnt == 50


@pytest.mark.parametrize(("called", "of", "missing"), [(20, 20, 0), (24, 500, 0), (64, 64, 1), (500, 500, 7)])
def test_a_roll_call_bears_few_that_are_missing_and_a_sample_none(called, of, missing):
    assert most_missing(called, of=of) == missing
