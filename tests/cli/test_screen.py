from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from batcher.cli.progress import ALWAYS
from batcher.cli.screen import frame
from batcher.events import Active, EventKind

from .views import SNAPSHOT, Clock, make_event, make_live, summary_event


@pytest.fixture
def clock():
    return Clock()


def drawn(snapshot, *, width=80, height=24):
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as captured:
        console.print(frame(snapshot, height=height))
    return captured.get().splitlines()


def test_a_frame_shows_the_bar_what_runs_the_totals_and_how_to_stop():
    bar, *active, totals, hint = drawn(SNAPSHOT)
    assert bar.startswith("autumn ━━━━━")
    assert bar.split()[-5:] == ["5/24", "21%", "12s", "eta", "1m29s"]
    assert [line.split() for line in active] == [
        ["↓", "tram", "downloading", "1s", "2.1", "MB/s"],
        ["●", "[bold]fox[/bold]", "processing", "1m15s", "next", "look", "in", "10s"],
    ]
    assert totals.split("   ") == ["  ✓ 4 downloaded", "✗ 1 failed", "⏳ 16 waiting", "≈ $2.24 of $25.00", "state.db"]
    assert hint.startswith("  Ctrl-C once: finish what runs")


def test_a_frame_says_that_the_run_is_simulated():
    assert "SIMULATED" in "\n".join(drawn(replace(SNAPSHOT, simulated=True)))


def test_a_stopping_run_shows_why_and_what_the_next_ctrl_c_does():
    assert drawn(replace(SNAPSHOT, stopping="Ctrl-C"))[-1].startswith(
        "  stopping (Ctrl-C): no new submissions. Ctrl-C:"
    )


@pytest.mark.parametrize("height", [6, 24, 60])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_frame_fits_the_terminal_however_much_runs(width, height):
    """Never higher, else the terminal scrolls and every frame leaves a trace; never wider, else lines wrap."""
    active = tuple(
        Active(name=f"{n}-" + "狐" * 50, status="processing", since_s=1, next_look_s=9) for n in range(500)
    )
    lines = drawn(replace(SNAPSHOT, active=active, state_path="/a" * 200, job="job" * 30), width=width, height=height)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width


def test_a_run_without_tasks_can_be_drawn():
    assert "0/0" in drawn(replace(SNAPSHOT, total=0, counts={}, active=(), eta_s=None, budget_usd=None))[0]


def test_nothing_from_outside_is_taken_for_markup_or_an_escape_code():
    stream = io.StringIO()
    progress = make_live(stream)
    progress.start(lambda: replace(SNAPSHOT, job="\x1b[2Jjob"))
    progress.event(make_event(EventKind.FAILED, name="[red]x[/red]:smile:", reason="\x1b[2Jboo [link=x]"))
    progress.close()
    text = stream.getvalue()
    assert "\x1b[2J" not in text
    assert r"[red]x[/red]:smile:  \x1b[2Jboo [link=x]" in text
    assert r"\x1b[2Jjob" in text


def test_it_redraws_at_most_eight_times_a_second(clock):
    """However fast events come, and each is shown in the end."""
    stream = io.StringIO()
    progress = make_live(stream, monotonic=clock.monotonic)
    progress.start(lambda: SNAPSHOT)
    for number in range(1000):
        clock.seconds = number / 1000
        progress.event(make_event(EventKind.DONE, name=f"clip-{number}"))
    assert stream.getvalue().count("Ctrl-C once") <= 9
    progress.close()
    assert stream.getvalue().count("clip-") == 1000


def test_time_alone_moves_the_view(clock):
    stream = io.StringIO()
    progress = make_live(stream, monotonic=clock.monotonic)
    progress.start(lambda: replace(SNAPSHOT, elapsed_s=clock.seconds))
    for clock.seconds in (0, 30):
        progress.tick()
    assert "30s" in stream.getvalue()
    progress.close()


def test_the_end_of_a_run_leaves_the_summary_and_a_visible_cursor(clock):
    """The drawing is gone; what stands on the terminal ends with the next command."""
    stream = io.StringIO()
    progress = make_live(stream, monotonic=clock.monotonic)
    progress.start(lambda: SNAPSHOT)
    progress.event(make_event(EventKind.SUBMIT))
    progress.event(summary_event())
    progress.close()
    text = stream.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.rindex("1 downloaded, 0 failed") > text.rindex("Ctrl-C once")
    assert text.rstrip().endswith("next: batcher status autumn")
    assert "submit " not in text


def test_what_comes_before_the_start_and_after_the_end_is_shown_too():
    stream = io.StringIO()
    progress = make_live(stream, loudness=ALWAYS)
    progress.event(make_event(EventKind.WARNING, message="early"))
    assert "early" in stream.getvalue()
    progress.start(lambda: SNAPSHOT)
    progress.close()
    progress.event(make_event(EventKind.WARNING, message="late"))
    assert "late" in stream.getvalue()
