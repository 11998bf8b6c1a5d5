"""Lives that hypothesis makes up: commands, kills, edits, faults and losses in any order. It prints the steps of any
that goes wrong; `tests/chaos/test_lives.py` leads more of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from batcher.assets.receipts import Receipts

from .machine import Machine

LIVES = settings(
    max_examples=12,
    stateful_step_count=10,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.timeout(300)  # a failure is made small before it is shown
def test_whatever_a_person_does_each_clip_is_paid_once_and_comes_home():
    run_state_machine_as_test(Machine, settings=LIVES)


def test_the_machine_sees_a_batcher_that_keeps_no_receipts(monkeypatch):
    """Its judge can say no: killed as the second clip was bought, and the state lost, that one is bought again."""

    async def append(*_, **__):
        pass

    monkeypatch.setattr(Receipts, "append", append)
    machine = Machine()
    machine.begin(gateway=("create", False, False), lag_s=0.0, prompts=[0, 1], attempts=1, max_usd=None)
    try:
        machine.run_and_die_in_good_weather(death=("killed at call", 2, "back"))
        machine.all_is_well()
        machine.delete_the_state()
        machine.run(adopts=True)
        with pytest.raises(AssertionError, match="charged more than once"):
            machine.all_is_well()
    finally:
        machine.life.close()
