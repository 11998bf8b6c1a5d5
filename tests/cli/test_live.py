from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from batcher.cli.live import JsonProgress, PlainProgress, make_progress
from batcher.cli.progress import LOUDNESS, VERBOSE
from batcher.cli.screen import LiveProgress
from batcher.events import EventKind

from .views import SNAPSHOT, Clock, every_event, make_event, make_live


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
