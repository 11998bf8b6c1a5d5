"""A recorded job, once for all tests of this folder."""

from __future__ import annotations

import pytest

from power.courses import COURSES, play
from power.recorder import need_strace
from storm import Storm


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The record of a run that makes the state and buys two clips, and of one that finishes; where it happened,
    and what was found in its images."""
    folder = tmp_path_factory.mktemp("power")
    need_strace(folder.parent)
    storm = Storm(folder, 3, "--time-scale", "0.005")
    try:
        record = play(COURSES["plain"], storm)
    finally:
        storm.close()
    return record, storm, {}
