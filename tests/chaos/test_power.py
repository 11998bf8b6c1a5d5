"""Power cuts at every moment of many courses, by seed; the real command goes on from what they leave."""

from __future__ import annotations

import random

import pytest

from power.courses import COURSES, play
from power.judge import Judge
from power.platter import LOSSES, STRICT, Platter
from power.recorder import need_strace


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", COURSES)
def test_no_power_cut_breaks_a_promise(storm, tmp_path, name):
    need_strace(tmp_path.parent)
    weather = storm(3, "--time-scale", "0.005")
    course = COURSES[name]
    platter = Platter(play(course, weather))
    judge = Judge(platter, weather, tmp_path.parent / f"{tmp_path.name}.image", state=course.state)
    moments = platter.moments()
    assert judge.first_problem([STRICT], moments) == ""
    rng = random.Random(name)
    for loss in LOSSES:
        assert judge.first_problem([loss], sorted(rng.sample(moments, 25))) == ""
    print(len(platter.ops), len(moments), judge.images, judge.different)
