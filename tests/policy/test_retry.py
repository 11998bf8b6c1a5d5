from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.generations import RefusalKind
from batcher.policy.retry import (
    BUSY_BASE_S,
    CAP_S,
    BuyAgain,
    Fail,
    FailureClass,
    StopRun,
    Wait,
    after_failure,
    after_refusal,
    backoff_s,
    failure_class,
)

RNG = Random(7)
rngs = st.randoms(use_true_random=False)
REFUSED = "Failure to pass the risk control system"


@given(st.integers(1, 10_000), rngs, st.floats(0.01, 100), st.floats(0.01, 1000))
def test_a_wait_lies_in_the_upper_half_of_its_step(failures, rng, base_s, cap_s):
    step = min(cap_s, base_s * 2 ** min(failures - 1, 16))
    assert step / 2 <= backoff_s(failures, rng=rng, base_s=base_s, cap_s=cap_s) <= step


def test_waits_double_until_the_cap():
    class Highest(Random):
        def random(self):
            return 1.0

    waits = [backoff_s(failures, rng=Highest()) for failures in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, CAP_S, CAP_S, CAP_S]


def test_tasks_that_failed_together_do_not_come_back_together():
    assert len({backoff_s(3, rng=RNG) for _ in range(50)}) == 50


@pytest.mark.parametrize("kind", [RefusalKind.BUSY, RefusalKind.UNAVAILABLE])
def test_no_room_means_wait_and_at_least_as_long_as_asked(kind):
    assert after_refusal(kind, refusals=1, retry_after_s=None, rng=RNG).seconds >= BUSY_BASE_S / 2
    assert after_refusal(kind, refusals=1, retry_after_s=45.0, rng=RNG) == Wait(seconds=45.0)
    assert after_refusal(kind, refusals=9, retry_after_s=0.5, rng=RNG).seconds >= CAP_S / 2


@pytest.mark.parametrize(
    ("kind", "decision"),
    [
        (RefusalKind.KEY, StopRun(RefusalKind.KEY)),
        (RefusalKind.FUNDS, StopRun(RefusalKind.FUNDS)),
        (RefusalKind.CONTENT, Fail(failure_class=FailureClass.CONTENT)),
        (RefusalKind.INVALID, Fail(failure_class=FailureClass.INVALID)),
    ],
)
def test_what_waiting_cannot_mend_fails_the_task_or_stops_the_run(kind, decision):
    assert after_refusal(kind, refusals=1, retry_after_s=45.0, rng=RNG) == decision


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (REFUSED, FailureClass.CONTENT),
        ("NSFW content detected", FailureClass.CONTENT),
        ("The prompt is SENSITIVE", FailureClass.CONTENT),
        ("internal error", FailureClass.PROVIDER),
        ("", FailureClass.PROVIDER),
    ],
)
def test_a_failed_generation_is_judged_by_its_words(message, expected):
    assert failure_class(message) is expected


@given(st.integers(1, 9), st.integers(1, 9), rngs)
def test_another_attempt_is_bought_only_within_the_consent(attempt, attempts, rng):
    decision = after_failure("internal error", attempt=attempt, attempts=attempts, rng=rng)
    assert isinstance(decision, BuyAgain if attempt < attempts else Fail)


@given(st.integers(1, 9), st.integers(1, 9), rngs)
def test_moderation_is_never_paid_for_again(attempt, attempts, rng):
    decision = after_failure(REFUSED, attempt=attempt, attempts=attempts, rng=rng)
    assert decision == Fail(failure_class=FailureClass.CONTENT)
