"""Lives that hypothesis makes up: commands, kills, edits, faults and losses in any order. It prints the steps of each
that goes wrong."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine

A_FEW = settings(
    max_examples=10,
    stateful_step_count=10,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_a_person_does_each_clip_is_paid_once_and_comes_home():
    run_state_machine_as_test(Machine, settings=A_FEW)
