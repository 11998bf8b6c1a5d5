from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import termios
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from batcher.cli.live import JsonProgress, PlainProgress, make_progress
from batcher.cli.progress import ALWAYS, LOUDNESS, VERBOSE, Sink
from batcher.cli.screen import LiveProgress, frame, make_console
from batcher.events import Active, Event, EventKind, Snapshot, Summary
from batcher.tasks import Status, Task

AT = "2026-11-22T13:06:33.123456+00:00"
SNAPSHOT = Snapshot(
    job="autumn",
    simulated=False,
    counts={"downloaded": 4, "failed": 1, "processing": 3, "pending": 16},
    total=24,
    active=(
        Active(name="tram", status="downloading", since_s=1, bytes_per_s=2_100_000),
        Active(name="[bold]fox[/bold]", status="processing", since_s=75, next_look_s=10),
    ),
    limit=4,
    elapsed_s=12,
    eta_s=89,
    cost_usd=2.24,
    budget_usd=25,
    state_path="state.db",
)
SUMMARY = Summary(
    run="r1",
    job="autumn",
    outcome="done",
    exit_code=0,
    simulated=False,
    counts={"downloaded": 1},
    downloaded=1,
    submitted=1,
    cost_usd=0.28,
    cost_is_estimate=True,
    elapsed_s=75,
    out="out/autumn",
)


def make_event(kind, *, name="fox", source="jobs/a.yaml:22", **detail):
    task = Task(
        **(dict.fromkeys(f.name for f in fields(Task)) | {"name": name, "source": source, "status": Status.FAILED})
    )
    return Event(kind=kind, at=AT, task=task, detail=detail)


def summary_event():
    return Event(kind=EventKind.SUMMARY, at=AT, detail=asdict(SUMMARY))


def every_event():
    return [summary_event() if kind is EventKind.SUMMARY else make_event(kind) for kind in EventKind]


def make_live(stream, **options):
    return LiveProgress(make_console(Sink(stream), color=False, width=80, height=24), **options)


def broken_stream(end):
    if end == "none":
        return None
    if end == "full":
        return Path("/dev/full").open("w", encoding="utf-8")
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")
    os.close(reader)
    if end == "gone with text waiting":
        stream.write("written before the run")
    if end == "closed":
        stream.close()
    return stream


class Clock:
    """A clock that moves when told to."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def now(self):
        return datetime(2026, 11, 22, 13, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal():
    """The two ends of a real pseudo-terminal: what we read, and the stream we draw on."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield screen, stream


# --- which view -------------------------------------------------------------------------------------------------


def test_a_terminal_gets_the_live_view(terminal):
    assert isinstance(make_progress(terminal[1], environ={}), LiveProgress)


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}])
def test_a_terminal_nobody_watches_gets_lines(terminal, environ):
    assert isinstance(make_progress(terminal[1], environ=environ), PlainProgress)


def test_quiet_draws_nothing(terminal):
    assert isinstance(make_progress(terminal[1], quiet=True, environ={}), PlainProgress)


def test_a_terminal_that_cannot_show_our_signs_gets_lines():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="ascii") as stream:
        assert isinstance(make_progress(stream, environ={}), PlainProgress)
    os.close(ours)


@pytest.mark.parametrize(
    ("color", "environ", "colored"),
    [
        (None, {}, True),
        (None, {"NO_COLOR": "1"}, False),
        (None, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("always", {"NO_COLOR": "1"}, True),
    ],
)
def test_colour_follows_the_flag_then_the_environment(terminal, color, environ, colored):
    progress = make_progress(terminal[1], color=color, environ=environ)
    progress.event(make_event(EventKind.FAILED))
    progress.close()
    assert (b"\x1b[31m" in terminal[0].read(4096)) is colored


def test_a_pipe_is_coloured_only_when_asked():
    for environ, colored in (({}, False), ({"FORCE_COLOR": "1"}, True)):
        stream = io.StringIO()
        make_progress(stream, environ=environ).event(make_event(EventKind.FAILED))
        assert ("\x1b[31mfailed\x1b[0m" in stream.getvalue()) is colored


def test_rich_is_loaded_only_to_draw():
    """Start-up time: a run in a log never pays for the drawing library."""
    code = "import sys, batcher.cli.live as live; live.make_progress(sys.stderr); print('rich' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


# --- lines ------------------------------------------------------------------------------------------------------


def test_a_log_has_one_dated_line_an_event_and_no_escape_codes():
    stream = io.StringIO()
    progress = make_progress(stream, environ={})
    progress.start(lambda: SNAPSHOT)
    for event in every_event():
        progress.event(event)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert all(line.startswith("2026-11-22T13:06:33Z ") for line in lines)
    assert lines[-1].endswith("next: batcher status autumn")


def test_every_kind_of_event_has_a_loudness():
    assert set(LOUDNESS) == set(EventKind)


@pytest.mark.parametrize(
    ("quiet", "verbose", "shown"),
    [(True, False, set()), (False, False, {"submit"}), (False, True, {"submit", "download"})],
)
def test_quiet_shows_less_and_verbose_more(quiet, verbose, shown):
    """Failures and the summary are shown in any case."""
    stream = io.StringIO()
    progress = make_progress(stream, quiet=quiet, verbose=verbose, environ={})
    for event in every_event():
        progress.event(event)
    words = {line.split()[1] for line in stream.getvalue().splitlines()}
    assert {"failed", "unclear", "stopping:", "warning:", "next:"} | shown <= words
    assert words & {"submit", "download"} == shown


def test_a_quiet_minute_says_that_the_run_is_alive(clock):
    """At most one heartbeat a minute, and none while lines are written anyway."""
    stream = io.StringIO()
    progress = PlainProgress(stream, now=clock.now)
    progress.start(lambda: SNAPSHOT)
    for clock.seconds in range(0, 181, 1):
        if clock.seconds == 30:
            progress.event(make_event(EventKind.SUBMIT))
        progress.tick()
        progress.event(make_event(EventKind.HEARTBEAT))
    lines = stream.getvalue().splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["2026-11-22T13:01:30Z", "alive"],
        ["2026-11-22T13:02:30Z", "alive"],
    ]


@pytest.mark.parametrize("progress", [PlainProgress(io.StringIO()), JsonProgress(io.StringIO())])
def test_a_view_can_be_ticked_and_closed_at_any_time(progress):
    progress.tick()
    progress.close()
    progress.close()
    progress.tick()
    assert not progress.broken


def test_a_failure_is_an_annotation_at_its_line_on_github():
    stream = io.StringIO()
    make_progress(stream, environ={"GITHUB_ACTIONS": "true"}).event(
        make_event(EventKind.FAILED, name="a,b:c", source="jobs/a.yaml:22:7", code="1301", reason="100%\n::error::no")
    )
    assert stream.getvalue().splitlines()[1] == (
        r"::error file=jobs/a.yaml,line=22,title=failed a%2Cb%3Ac::content policy (1301): 100%25\x0a::error::no"
    )


def test_there_are_no_annotations_elsewhere():
    stream = io.StringIO()
    make_progress(stream, environ={}).event(make_event(EventKind.FAILED))
    assert "::error" not in stream.getvalue()


# --- JSON Lines -------------------------------------------------------------------------------------------------


def test_json_lines_end_with_the_summary_and_each_says_its_schema():
    stream = io.StringIO()
    progress = JsonProgress(stream)
    for event in every_event():
        progress.event(event)
    documents = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(documents) == len(EventKind)
    assert {document["schema"] for document in documents} == {1}
    assert (documents[-1]["event"], documents[-1]["exit_code"]) == ("summary", 0)


def test_each_json_line_is_there_at_once(tmp_path):
    """A program that follows the file sees an event when it happens, not when a buffer is full."""
    path = tmp_path / "events.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        JsonProgress(stream).event(make_event(EventKind.DONE))
        assert path.read_text(encoding="utf-8").endswith("}\n")


# --- streams that fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PlainProgress, JsonProgress, make_live])
@pytest.mark.parametrize("end", ["full", "gone", "gone with text waiting", "closed", "none"])
def test_a_stream_that_fails_silences_the_view_and_nothing_else(make, end):
    """`| head -1`, a full disk and a closed stderr: the run goes on, and the view says that it is broken."""
    stream = broken_stream(end)
    progress = make(stream)
    progress.start(lambda: SNAPSHOT)
    for event in every_event():
        progress.event(event)
    progress.tick()
    progress.close()
    assert progress.broken
    if stream is not None and not stream.closed:
        stream.close()  # what is left in its buffer raises no more


@pytest.mark.parametrize("target", ["/dev/full", "pipe"])
def test_python_exits_in_peace_when_stdout_failed(target):
    """Without care Python would flush stdout again at its end, print a traceback and exit with 120."""
    code = (
        "import sys; from batcher.cli.live import JsonProgress; from batcher.events import *\n"
        "progress, detail = JsonProgress(sys.stdout), {'message': 'x' * 9999}\n"
        "for _ in range(3): progress.event(Event(kind=EventKind.WARNING, at='', detail=detail))\n"
        "sys.exit(7 if progress.broken else 0)"
    )
    if target == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    result = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (7, b"")


def test_an_ascii_locale_shows_signs_as_codes():
    """cron has no UTF-8: a sign it lacks is written out, and nothing raises."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    PlainProgress(stream, loudness=VERBOSE).event(make_event(EventKind.FAILED, reason="狐"))
    assert rb"\u72d0 \u2014 jobs/a.yaml:22" in raw.getvalue()


# --- the live view ----------------------------------------------------------------------------------------------


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
