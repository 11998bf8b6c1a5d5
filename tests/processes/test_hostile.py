"""The real command against a hostile provider and CDN: a sample of tests/chaos, quick enough for every day."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_one_of_each_sort_of_lie(siege):
    """Lost, cut and lying answers to creates, looks and downloads: each clip is paid once, comes home, nothing leaks."""
    creates = ("taken reset", "lost reset", "taken 307 to elsewhere", "taken portal", "lost 504", "taken nested gzip")
    looks = ("another's", "302 to elsewhere", "depth", "strange word", "cookie", "big head", "portal")
    clips = ("cut body", "svg as video", "302 to elsewhere", "nested gzip", "500")
    besieged = siege(len(creates) + len(looks) + 1)
    besieged.enemy.faults = {
        "create": iter(("honest", *creates)),
        "look": iter(("honest", "honest", *looks)),
        "clip": iter(clips),
    }
    ended = besieged.run("-v", "-j", "30")
    assert ended.code == 0, ended.err
    besieged.assert_safe(ended)
    besieged.assert_all_home()
    assert besieged.enemy.books.met.total() == len(creates) + len(looks) + len(clips)
    assert ended.peak_mb < 300
