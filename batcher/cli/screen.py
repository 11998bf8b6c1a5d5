"""The live view: finished clips scroll by, and below them stand the bar, what runs now, and the totals.

No thread: it redraws inside `event` and `tick`, at most eight times a second.
"""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batcher.cli.progress import COLOURS, LOUDNESS, NORMAL, texts
from batcher.events import EventKind
from batcher.report.lines import settled, spend_of_budget
from batcher.tasks import Status
from batcher.text import human_bytes, human_duration, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from batcher.cli.progress import Sink
    from batcher.events import Active, Event, Snapshot

FRAME_S = 1 / 8

_OTHER_LINES = 5
"""Bar, totals, hint, the line on tasks left out, and one that stays free for what scrolls."""

_MARKS = {"downloading": ("↓", "cyan"), "resting": ("…", "yellow"), Status.SUBMITTING: ("↑", "cyan")}


def make_console(sink: Sink, *, color: bool, width: int | None = None, height: int | None = None) -> Console:
    """Make a console that draws on a terminal and takes no text for markup."""
    return Console(
        file=cast("IO[str]", sink),
        force_terminal=True,
        no_color=not color,
        width=width,
        height=height,
        markup=False,
        emoji=False,
        highlight=False,
    )


class LiveProgress:
    """Draws a run on a terminal; what it drew last disappears at the end, the lines above stay."""

    def __init__(
        self,
        console: Console,
        *,
        loudness: int = NORMAL,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._loudness = loudness
        self._monotonic = monotonic
        self._snapshot: Callable[[], Snapshot] | None = None
        self._drawn_at = float("-inf")
        self._unprinted: list[Text] = []
        self._frame = Group()
        self._live = Live(
            self,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # stdout may be a program's: JSON Lines
            redirect_stderr=False,
        )

    @property
    def broken(self) -> bool:
        return bool(getattr(self._console.file, "broken", False))

    def start(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._live.start()

    def event(self, event: Event) -> None:
        if LOUDNESS[event.kind] <= self._loudness:
            self._unprinted += [_painted(event.kind, text) for text in texts(event)]
        if event.kind is EventKind.SUMMARY:
            self.close()
        self.tick()

    def tick(self) -> None:
        if self._snapshot is None:
            self._print()
            return
        now = self._monotonic()
        if now - self._drawn_at < FRAME_S or self.broken:
            return
        self._drawn_at = now
        self._frame = frame(self._snapshot(), height=self._console.height)
        if not self._print():  # printing draws the frame below what it prints
            self._live.refresh()

    def close(self) -> None:
        self._snapshot = None
        self._live.stop()
        self._print()

    def __rich__(self) -> Group:
        return self._frame

    def _print(self) -> bool:
        """Let what happened since the last frame scroll by in one piece; say whether there was anything."""
        text = Text("\n").join(self._unprinted)
        self._unprinted.clear()
        if text:
            self._console.print(text, soft_wrap=True)
        return bool(text)


def frame(snapshot: Snapshot, *, height: int) -> Group:
    """Draw one moment of a run, never higher than the terminal."""
    most = max(1, height - _OTHER_LINES)
    shown = snapshot.active[:most]
    parts: list[RenderableType] = [_bar(snapshot), _active(shown)]
    if len(snapshot.active) > most:
        parts.append(_row(f"  … and {len(snapshot.active) - most} more in flight", style="dim"))
    return Group(*parts, _totals(snapshot), _hint(snapshot))


def _bar(snapshot: Snapshot) -> Table:
    finished = settled(snapshot.counts)
    share = finished / snapshot.total if snapshot.total else 1.0
    bar = Table.grid(padding=(0, 1))
    for _ in range(6):
        bar.add_column(no_wrap=True, overflow="ellipsis")
    bar.add_row(
        Text(printable(snapshot.job), style="bold"),
        ProgressBar(total=max(1, snapshot.total), completed=finished if snapshot.total else 1, width=28),
        f"{finished}/{snapshot.total}",
        f"{share:.0%}",
        _age(snapshot.elapsed_s),
        "" if snapshot.eta_s is None else f"eta {human_duration(snapshot.eta_s)}",
    )
    return bar


def _active(tasks: tuple[Active, ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
    for task in tasks:
        mark, style = _MARKS.get(task.status, ("●", "blue"))
        table.add_row(
            Text(f"  {mark}", style=style),
            Text(printable(task.name)),
            Text(task.status),
            _age(task.since_s),
            _note(task),
        )
    return table


def _age(seconds: float) -> str:
    """Whole seconds: tenths would dance."""
    return f"{max(0, int(seconds))}s" if seconds < 60 else human_duration(seconds)


def _note(task: Active) -> str:
    if task.bytes_per_s is not None:
        return f"{human_bytes(int(task.bytes_per_s))}/s"
    if task.next_look_s is not None:
        return f"next look in {_age(task.next_look_s)}"
    return ""


def _totals(snapshot: Snapshot) -> Text:
    counts = snapshot.counts
    parts = [
        ("✓", counts.get(Status.DOWNLOADED, 0), "downloaded", "green"),
        ("✗", counts.get(Status.FAILED, 0), "failed", "red"),
        ("⏳", counts.get(Status.PENDING, 0), "waiting", ""),
    ]
    if unclear := counts.get(Status.UNCLEAR, 0):
        parts.append(("?", unclear, "unclear", "yellow"))
    row = _row("  ")
    for mark, count, word, style in parts:
        row.append(mark, style=style if count else "").append(f" {count} {word}   ")
    row.append(spend_of_budget(snapshot.cost_usd, snapshot.budget_usd))
    if snapshot.simulated:
        row.append(" SIMULATED", style="magenta")
    return row.append(f"   {printable(snapshot.state_path)}", style="dim")


def _hint(snapshot: Snapshot) -> Text:
    if snapshot.stopping:
        reason = printable(snapshot.stopping)
        return _row(f"  stopping ({reason}): no new submissions. Ctrl-C: leave now, nothing is lost", style="yellow")
    return _row("  Ctrl-C once: finish what runs · twice: leave now. Both can be resumed.", style="dim")


def _row(text: str, *, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _painted(kind: EventKind, text: str) -> Text:
    painted = Text(text)
    if kind in COLOURS:
        painted.stylize(COLOURS[kind], 0, len(kind.value))
    return painted
