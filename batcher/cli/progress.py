"""A run as log lines or as JSON Lines: subscribers to its events. Nothing here can stop a run."""

from __future__ import annotations

import contextlib
import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from batcher.events import EventKind
from batcher.report.document import event_document, to_json
from batcher.report.layout import cause
from batcher.report.lines import heartbeat_line, line, summary_lines, summary_of
from batcher.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from batcher.events import Event, Snapshot

HEARTBEAT = timedelta(minutes=1)

ALWAYS, NORMAL, LOG, VERBOSE = range(4)
"""How loud a view is: with -q; on a terminal, where live lines show the rest; in a log; with -v."""

LOUDNESS: Mapping[EventKind, int] = {
    EventKind.FAILED: ALWAYS,
    EventKind.OVERDUE: ALWAYS,
    EventKind.STOPPING: ALWAYS,
    EventKind.SUMMARY: ALWAYS,
    EventKind.UNCLEAR: ALWAYS,
    EventKind.WARNING: ALWAYS,
    EventKind.ADOPTED: NORMAL,
    EventKind.CHECKED: NORMAL,
    EventKind.DONE: NORMAL,
    EventKind.DOUBT: NORMAL,
    EventKind.PLAN: NORMAL,
    EventKind.RENEWED: NORMAL,
    EventKind.RETRY: NORMAL,
    EventKind.RUN: NORMAL,
    EventKind.BACK: LOG,
    EventKind.HEARTBEAT: LOG,
    EventKind.SUBMIT: LOG,
    EventKind.DOWNLOAD: VERBOSE,
    EventKind.PROCESSING: VERBOSE,
    EventKind.SUBMITTED: VERBOSE,
    EventKind.SUCCEEDED: VERBOSE,
}
"""From which loudness on an event gets a line."""

COLOURS: Mapping[EventKind, str] = {
    EventKind.ADOPTED: "green",
    EventKind.DONE: "green",
    EventKind.DOUBT: "yellow",
    EventKind.FAILED: "red",
    EventKind.OVERDUE: "yellow",
    EventKind.STOPPING: "yellow",
    EventKind.UNCLEAR: "yellow",
    EventKind.WARNING: "yellow",
}


class Progress(Protocol):
    """Shows a run. The caller starts it, hands it events, ticks it a few times a second, and closes it."""

    @property
    def broken(self) -> bool:
        """Whether nobody reads us any more; from then on every call does nothing."""
        ...

    def start(self, snapshot: Callable[[], Snapshot]) -> None:
        """Begin. `snapshot` is called from the caller's own thread, inside `event` and `tick` only."""
        ...

    def event(self, event: Event) -> None:
        """Show one event."""
        ...

    def tick(self) -> None:
        """Let time pass: redraw, or say that the run is alive. Cheap, and limits itself."""
        ...

    def close(self) -> None:
        """Put the terminal back in order. Safe to call twice, and without `start`."""
        ...


class Sink:
    """A stream that may be closed, full or gone: the first failure silences it for good, and never raises."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.broken = stream is None or stream.closed  # None: closed before Python began
        if isinstance(stream, io.TextIOWrapper) and not self.broken:
            try:
                stream.reconfigure(errors="backslashreplace")  # a C locale knows no ✓
            except OSError:  # it flushes
                self._give_up(stream)

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        if self._stream is not None and not self.broken:
            try:
                self._stream.write(text)
            except (OSError, ValueError):  # ValueError: closed
                self._give_up(self._stream)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and not self.broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up(self._stream)

    def line(self, text: str) -> None:
        """Write one line, at once."""
        self.write(text + "\n")
        self.flush()

    def _give_up(self, stream: TextIO) -> None:
        self.broken = True
        # What is left in the stream's buffer would raise again when Python exits (status 120): let it go nowhere.
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


class PlainProgress:
    """One dated line an event, for logs, pipes and CI; a heartbeat when nothing was said for a minute."""

    def __init__(
        self,
        stream: TextIO | None,
        *,
        loudness: int = LOG,
        color: bool = False,
        annotations: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sink = Sink(stream)
        self._loudness = loudness
        self._color = color
        self._annotations = annotations
        self._now = now
        self._snapshot: Callable[[], Snapshot] | None = None
        self._spoke_at = now()

    @property
    def broken(self) -> bool:
        return self._sink.broken

    def start(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._spoke_at = self._now()

    def event(self, event: Event) -> None:
        if event.kind is EventKind.HEARTBEAT:
            self.tick()
        elif LOUDNESS[event.kind] <= self._loudness:
            for text in texts(event):
                self._say(_stamp(event.at), self._painted(event.kind, text))
        if self._annotations and event.kind in (EventKind.FAILED, EventKind.UNCLEAR):
            self._sink.line(annotation(event))

    def tick(self) -> None:
        if self._snapshot is None or LOUDNESS[EventKind.HEARTBEAT] > self._loudness:
            return
        now = self._now()
        if abs(now - self._spoke_at) >= HEARTBEAT:  # abs: a clock set back must not silence it
            self._say(_stamp(now.isoformat()), heartbeat_line(self._snapshot()))

    def close(self) -> None:
        self._snapshot = None

    def _say(self, stamp: str, text: str) -> None:
        self._sink.line(f"{stamp} {text}")
        self._spoke_at = self._now()

    def _painted(self, kind: EventKind, text: str) -> str:
        if not self._color or kind not in COLOURS:
            return text
        word = len(kind.value)
        return click.style(text[:word], fg=COLOURS[kind]) + text[word:]


class JsonProgress:
    """JSON Lines on stdout, flushed one by one; the last one is the summary."""

    def __init__(self, stream: TextIO | None) -> None:
        self._sink = Sink(stream)

    @property
    def broken(self) -> bool:
        return self._sink.broken

    def start(self, snapshot: Callable[[], Snapshot]) -> None:
        """Nothing to prepare: a program counts the events itself."""

    def event(self, event: Event) -> None:
        self._sink.line(to_json(event_document(event)))

    def tick(self) -> None:
        """Nothing between events."""

    def close(self) -> None:
        """Nothing to put in order."""


def annotation(event: Event) -> str:
    """Write an event as a workflow command that GitHub Actions shows beside the line of the manifest."""
    task = event.task
    title = f"{event.kind.value} {task.name}" if task else event.kind.value
    where = [f"title={_escaped(title)}"]
    if task and task.source:
        file, _, place = task.source.partition(":")
        number = place.partition(":")[0]
        where = [f"file={_escaped(file)}", *([f"line={number}"] if number.isdigit() else []), *where]
    code = event.detail.get("code")
    text = cause(None if code is None else str(code), str(event.detail.get("reason") or ""))
    return f"::error {','.join(where)}::{text.replace('%', '%25')}"


def texts(event: Event) -> list[str]:
    if event.kind is EventKind.SUMMARY:
        return summary_lines(summary_of(event))
    text = line(event)
    return [] if text is None else [text]


def _stamp(at: str) -> str:
    """Cut ISO-8601 UTC down to seconds."""
    return at[:19] + "Z"


def _escaped(text: str) -> str:
    """Escape a property of a workflow command."""
    return printable(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
