"""A recorded job, once for all tests of this folder."""

from __future__ import annotations

import pytest
from storm import Storm

from power.courses import PLAIN, play
from power.recorder import need_strace


@pytest.fixture(scope="session", autouse=True)
def _strace(tmp_path_factory):
    need_strace(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The record of a run that makes the state and buys two clips, and of one that finishes; where it happened,
    and what was found in its images."""
    folder = tmp_path_factory.mktemp("power")
    storm = Storm(folder, 3, "--time-scale", "0.005")
    try:
        record = play(PLAIN, storm)
    finally:
        storm.close()
    return record, storm, {}
