from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.policy.concurrency import PROBE_GAPS_S, START, Limit, after_busy, after_full, start

steps = st.lists(
    st.tuples(st.sampled_from(["busy", "full"]), st.integers(0, 60), st.floats(0, 120)), min_size=1, max_size=60
)


@pytest.mark.parametrize(
    ("given_", "learnt", "value", "ceiling"),
    [(None, None, START, None), (None, 9, 9, None), (6, None, 6, 6), (6, 9, 6, 6), (6, 3, 3, 6)],
)
def test_a_run_begins_with_what_was_asked_and_learnt(given_, learnt, value, ceiling):
    limit = start(given=given_, learnt=learnt)
    assert (limit.value, limit.ceiling) == (value, ceiling)


@given(st.none() | st.integers(1, 40), st.none() | st.integers(1, 40), steps)
def test_the_limit_is_at_least_one_and_never_above_the_ceiling(ceiling, learnt, story):
    limit, now = start(given=ceiling, learnt=learnt), 0.0
    for what, count, gap in story:
        now += gap
        before = limit
        if what == "busy":
            limit = after_busy(limit, held=count, now=now)
            assert limit.value <= max(1, min(before.value, count))
        else:
            limit = after_full(limit, running=count, now=now)
            assert limit.value >= before.value
        assert limit.value >= 1
        assert ceiling is None or limit.value <= ceiling
        assert limit.wall is None or limit.value < limit.wall


def test_a_refusal_shows_the_wall():
    limit = after_busy(Limit(value=9), held=5, now=100.0)
    assert (limit.value, limit.wall) == (5, 6)


def test_a_burst_of_refusals_counts_once():
    limit = after_busy(Limit(value=9), held=5, now=100.0)
    assert after_busy(limit, held=5, now=101.0) == limit


def test_a_lower_wall_is_believed_at_once():
    """Somebody else uses the account too."""
    limit = after_busy(Limit(value=9), held=7, now=100.0)
    assert after_busy(limit, held=2, now=101.0).value == 2


def test_room_is_taken_only_where_it_was_seen():
    limit = Limit(value=8)
    assert after_full(limit, running=7, now=0.0) == limit
    assert after_full(limit, running=8, now=0.0).value == 9
    assert after_full(Limit(value=40), running=40, now=0.0).value == 45


def test_the_wall_is_tried_again_after_a_while_and_ever_more_rarely():
    limit, now, gaps = Limit(value=9), 0.0, []
    for _ in range(4):
        limit = after_busy(limit, held=5, now=now)
        gaps.append(limit.probe_at - now)
        assert after_full(limit, running=5, now=limit.probe_at - 0.1).value == 5
        now = limit.probe_at
        assert after_full(limit, running=5, now=now).value == 6
    assert gaps == [*PROBE_GAPS_S, PROBE_GAPS_S[-1]]


def test_a_wall_that_gave_way_is_forgotten_once_as_many_are_running():
    limit = after_busy(Limit(value=9), held=5, now=0.0)
    limit = after_full(limit, running=5, now=limit.probe_at)
    assert (limit.value, limit.wall, limit.refusals) == (6, None, 1)
    assert after_full(limit, running=6, now=limit.probe_at).refusals == 0
