from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.policy.budget import Budget, Spent, exceeded, settled_usd

EVERY = Budget(max_usd=10.0, max_usd_per_day=4.0, max_tasks=3)


@pytest.mark.parametrize(
    ("spent", "price", "names"),
    [
        (Spent(), 0.5, None),
        (Spent(usd=9.5), 0.5, None),
        (Spent(usd=9.6), 0.5, "max_usd is $10.00, $9.60 of it is used"),
        (Spent(usd=3.5, usd_today=3.5), 0.5, None),
        (Spent(usd=3.6, usd_today=3.6), 0.5, "max_usd_per_day is $4.00, $3.60 of it is used today"),
        (Spent(tasks=2), 0.5, None),
        (Spent(tasks=3), 0.0, "max_tasks is 3"),
    ],
)
def test_each_limit_may_be_reached_and_not_passed(spent, price, names):
    why = exceeded(EVERY, spent, price_usd=price)
    assert why == (names and f"budget.{names}")


def test_without_limits_anything_fits():
    assert exceeded(Budget(), Spent(usd=1e9, usd_today=1e9, tasks=10**9), price_usd=1e9) is None


@given(st.integers(1, 300), st.sampled_from([0.1, 0.132, 0.28, 0.35, 1.05]))
def test_sums_of_binary_fractions_reach_their_limit(count, price):
    """25 clips of $0.1 fit into $2.5, and no 26th."""
    budget, spent = Budget(max_usd=round(count * price, 3)), Spent()
    for _ in range(count):
        assert exceeded(budget, spent, price_usd=price) is None
        spent = spent.plus(price)
    assert exceeded(budget, spent, price_usd=price)


def test_a_reservation_counts_for_the_job_the_day_and_the_number():
    assert Spent(usd=1.0, usd_today=0.5, tasks=1).plus(0.25) == Spent(usd=1.25, usd_today=0.75, tasks=2)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(), False),
        (Budget(max_tasks=1), False),
        (Budget(max_usd=1), True),
        (Budget(max_usd_per_day=0.0), True),
    ],
)
def test_whether_a_budget_is_about_money(budget, expected):
    assert budget.limits_money is expected


@pytest.mark.parametrize(
    ("usual", "told", "counts"),
    [
        (2.0, 2.0, 0.26),
        (2.0, 2.04, 0.26),  # a rounded price on our side
        (2.0, 4.0, 0.52),
        (2.0, 1.0, 0.26),  # a gateway may bill its own price all the same
        (2.0, None, 0.26),
        (None, 4.0, 0.26),
        (0.0, 4.0, 0.26),
        (2.0, 1e300, 26.0),
    ],
)
def test_units_told_afterwards_may_raise_what_counts_and_never_lower_it(usual, told, counts):
    assert settled_usd(0.26, usual_units=usual, told_units=told) == counts
