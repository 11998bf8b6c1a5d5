"""The machine of `tests/flow`, with random seeds: whole lives of one job, in virtual time."""

from __future__ import annotations

import pytest
from flow.machine import Machine
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

LIVES = settings(
    max_examples=40, stateful_step_count=14, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_forty_lives(seed):
    """Whatever happened in them, each clip is paid once and comes home."""

    class ThisMachine(Machine):
        """Hypothesis writes its seed on the class."""

    run_state_machine_as_test(seeded(seed)(ThisMachine), settings=LIVES)
