"""A wall clock that jumps: every wait is measured by the other clock, and the date is for the books only."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from batcher.events import EventKind
from batcher.simulator.app import create_app

from .harness import NOON, Network, VirtualClock

pytestmark = pytest.mark.anyio

HOUR, DAY = 3600.0, 86400.0


class JumpingClock(VirtualClock):
    """Ours; the provider's own clock does not move with it."""

    def __init__(self) -> None:
        super().__init__()
        self.offset_s = 0.0

    def now(self) -> float:
        return super().now() + self.offset_s


@pytest.fixture
def make_jumping(make_lab):
    def make(**settings):
        lab = make_lab(**settings)
        lab.clock = JumpingClock()
        return lab

    return make


JUMPS = pytest.mark.parametrize("jump_s", [-10 * 365 * DAY, -DAY, -HOUR, -1.0, 1.0, HOUR])


def jump_at(lab, kind, jump_s, *, times=1):
    """A watcher that sets the clock once something happened so often."""
    seen = iter(range(times))

    def watch(event):
        if event.kind is kind and next(seen, None) == times - 1:
            lab.clock.offset_s += jump_s

    return watch


@JUMPS
@pytest.mark.parametrize("kind", [EventKind.SUBMIT, EventKind.SUBMITTED, EventKind.SUCCEEDED])
async def test_a_clock_set_in_the_middle_of_a_run(make_jumping, kind, jump_s):
    """NTP, a resumed machine, the end of summer time: the run takes as long as ever, and pays once."""
    lab = make_jumping(limit=3)
    with anyio.fail_after(2 * HOUR):
        ran = await lab.run(lab.manifest(6), watch=jump_at(lab, kind, jump_s, times=2))
    assert ran.exit_code in (0, 1)
    if ran.exit_code == 1:
        assert jump_s > 1800  # it looks overdue, which is told, and nothing is bought again for it
        assert (await lab.run(lab.home / "film.yaml")).exit_code == 0
    lab.assert_all_home(6)


@JUMPS
async def test_a_clock_set_while_a_refused_task_waits(make_jumping, jump_s):
    """Refused as busy, it waits for seconds; a clock set back must not make years of them."""
    lab = make_jumping(script=("ok", "1303", "1303"))
    with anyio.fail_after(2 * HOUR):
        ran = await lab.run(lab.manifest(3), watch=jump_at(lab, EventKind.BACK, jump_s))
    assert ran.exit_code in (0, 1)
    assert lab.counts().get("pending", 0) == 0
    assert set(lab.ledger.charges.values()) == {1}


@JUMPS
async def test_a_quiet_window_is_not_shortened_by_the_clock(make_jumping, jump_s):
    """It begins when this process holds the lock, and lasts as long as the other clock says.

    A call of the dead run is still on its way all the while: judged by the stored time of its intent, the window
    would be over, and the clip be paid twice.
    """
    lab = make_jumping(script=("ok", "zombie"), late_s=60.0, used_ids="create")
    manifest = lab.manifest(3)
    lab.die_at(2, "back")
    await lab.run(manifest, concurrency=1)
    lab.clock.offset_s += jump_s
    before = lab.clock.monotonic()
    ran = await lab.run(manifest, concurrency=1)
    assert ran.exit_code == 0
    assert ran.of(EventKind.DOUBT)[0].detail["wait_s"] == 120
    assert lab.clock.monotonic() - before >= 120
    lab.assert_all_home(3)


async def test_a_laptop_that_slept_for_a_night(make_jumping):
    """Hours by the date, none by the other clock: what has finished meanwhile comes home, nothing is bought again."""
    lab = make_jumping()
    lab.app = create_app(lab.world, clock=lab.clock.now)  # the provider's night is as long
    lab.network = Network(lab.app)
    manifest = lab.manifest(4)
    with anyio.fail_after(HOUR):
        ran = await lab.run(manifest, watch=jump_at(lab, EventKind.PROCESSING, 9 * HOUR, times=2))
    assert ran.exit_code == 0
    assert len(ran.of(EventKind.OVERDUE)) <= 1  # whose answer was on its way when it fell asleep
    lab.assert_all_home(4)


async def test_a_clock_far_ahead_makes_everything_overdue_and_nothing_lost(make_jumping):
    """The provider is still at work: the run ends (exit 1), and later ones bring everything home, unpaid."""
    lab = make_jumping()
    manifest = lab.manifest(4)
    watch = jump_at(lab, EventKind.PROCESSING, 9 * HOUR, times=2)
    with anyio.fail_after(HOUR):
        assert (await lab.run(manifest, watch=watch)).exit_code == 1
        assert (await lab.run(manifest)).exit_code == 1
        await anyio.sleep(600)
        assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


@pytest.mark.parametrize(
    ("nights", "clips"),
    [
        (("2026-10-24T00:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-26T01:30"), 6),  # 02:30 comes twice
        (("2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"), 6),  # 02:30 does not come on the 29th
        (("2026-03-28T01:30", "2026-03-30T00:30"), 4),
    ],
    ids=["twice", "not at all, started late", "not at all, left out"],
)
async def test_a_nightly_run_where_the_clocks_are_changed(make_jumping, nights, clips):
    """At 02:30 in Berlin, by cron: an edition is a date there, and what it has bought it does not buy again."""
    lab = make_jumping()
    manifest = lab.manifest(2, edition="{{ today }}", schedule={"cron": "30 2 * * *", "timezone": "Europe/Berlin"})
    for night in nights:
        at = datetime.fromisoformat(night).replace(tzinfo=UTC).timestamp()
        lab.clock.offset_s = at - NOON - lab.clock.monotonic()
        assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(clips)
    assert lab.ledger.totals["creates"] == clips
