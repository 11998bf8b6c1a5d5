"""Power cuts at the moments of many courses, and by seed in the middle of one: the real command goes on from each."""

from __future__ import annotations

import random

import pytest
from power.courses import COURSES, play
from power.cut import cut_the_power, dying_in
from power.judge import Judge
from power.platter import LOSSES, NOTHING, STRICT, Platter
from power.recorder import Recorder, need_strace

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]


@pytest.fixture
def weather(storm, tmp_path):
    need_strace(tmp_path.parent)
    return storm(2, "--time-scale", "0.005")


@pytest.mark.parametrize("name", COURSES)
def test_no_cut_breaks_a_promise(weather, name, request):
    """At each moment what no sync has saved is gone; at some, every other loss, on one disk or two, by seed."""
    course = COURSES[name]
    judge = Judge(Platter(play(course, weather)), weather, state=course.state)
    moments = judge.platter.moments()
    assert judge.first_problem(STRICT, moments) == ""
    for seed in range(request.config.getoption("--seeds")):
        rng = random.Random(f"{seed} {name}")
        for loss in (*LOSSES, {"state": STRICT, "out": NOTHING}, {"state": NOTHING, "out": STRICT}):
            assert judge.first_problem(loss, sorted(rng.sample(moments, 10)), seed) == ""


def test_the_power_goes_twice_and_each_clip_is_paid_once(weather, seed):
    """Killed before some step is written down, and at some sync, each time robbed of what was not synced."""
    rng = random.Random(seed)
    step = dying_in(rng.choice(["claim", "accepted", "succeeded", "downloaded"]))
    assert cut_the_power(weather, rng.choice(LOSSES), plant=step, seed=seed)
    assert cut_the_power(weather, rng.choice(LOSSES), kill=f"fdatasync:{rng.randint(1, 8)}", seed=seed)
    weather.finish()
    weather.assert_each_paid_once_and_whole()


BREACHES = {
    "the state is not synced at each commit": """
import sqlite3
class Connection(sqlite3.Connection):
    def execute(self, sql, *more):
        return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *more)
connect = sqlite3.connect
sqlite3.connect = lambda *args, **more: connect(*args, factory=Connection, **more)
""",
    "a file takes its name before it is synced": """
from batcher.assets.disk import Part
Part.sync = lambda part: part.sink.flush()
""",
    "a create call leaves before its receipt": """
from batcher.assets.receipts import Receipts
from batcher.providers.cometapi import CometApi
append, create, late = Receipts.append, CometApi.create, []
async def keep(*args, **more):
    late.append((args, more))
async def send(*args, **more):
    posted = await create(*args, **more)
    args, more = late.pop()
    await append(*args, **more)
    return posted
Receipts.append, CometApi.create = keep, send
""",
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_job_that_breaks_the_order_is_noticed(weather, breach):
    """Planted in the real command: the proof can fail."""
    record = Recorder(weather)
    assert record.run("-j", "1", plant=BREACHES[breach]).returncode == 0
    judge = Judge(Platter(record), weather)
    assert judge.first_problem(STRICT, judge.platter.moments()) != ""
