"""Plain text in columns, and the few phrases that every report words the same way. Pure."""

from __future__ import annotations

import unicodedata
from itertools import zip_longest
from typing import TYPE_CHECKING

from batcher.text import human_duration, human_usd, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from batcher.report.views import Unfetched

GAP = "  "

LABELS = {
    "1103": "no permission",
    "1200": "bad parameter",
    "1201": "bad parameter",
    "1202": "bad request",
    "1203": "no such model",
    "1300": "platform policy",
    "1301": "content policy",
    "1302": "too many requests",
    "1303": "slots full",
}
"""Words for the codes of Kling's error table that a task can meet; a code without one is shown bare."""


def columns(rows: Iterable[Sequence[str]], *, indent: str = "", right: Collection[int] = ()) -> list[str]:
    """Align cells two spaces apart, by what a terminal shows; columns in `right` are flush right.

    Cells may come from outside: they are escaped here.
    """
    table = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip_longest(*table, fillvalue="")]

    def cell(text: str, column: int) -> str:
        padding = " " * (widths[column] - _width(text))
        return padding + text if column in right else text + padding

    return [(indent + GAP.join(cell(text, column) for column, text in enumerate(row))).rstrip() for row in table]


def bounded(rows: Sequence[Sequence[str]], *, most: int | None) -> tuple[Sequence[Sequence[str]], str]:
    """Return the first `most` rows, and a word on those left out (empty when there are none)."""
    if most is None or len(rows) <= most:
        return rows, ""
    return rows[:most], f"… and {len(rows) - most} more"


def money(usd: float | None, *, estimate: bool = True) -> str:
    """Word a sum of US dollars; `≈` marks an estimate."""
    if usd is None:
        return "price unknown"
    return f"≈ {human_usd(usd)}" if estimate else human_usd(usd)


def ahead(seconds: float | None, *, at_once: int | None, estimate: bool) -> str:
    """Word a time to come, no more exact than it can be; `≈` marks one that rests on usual times alone."""
    if seconds is None:
        return ""
    step = next(step for below, step in ((60, 1), (600, 10), (10800, 60), (float("inf"), 600)) if seconds < below)
    words = f"{'≈' if estimate else 'about'} {human_duration(max(step, round(seconds / step) * step))}"
    return f"{words} at {at_once} at once" if at_once else words


def unfetched_line(clips: Unfetched) -> str:
    """Word that paid clips are not home, and until when they can be fetched."""
    number = clips.finished or clips.perhaps
    what = f"{number} finished clip{'s' * (number != 1)}" if clips.finished else f"{number} submitted"
    if clips.finished and clips.perhaps:
        what += f" and {clips.perhaps} that may be"
    verb = "is" if number == 1 and not (clips.finished and clips.perhaps) else "are"
    dies = (
        f"deletes the first in {human_duration(clips.left_s)}" if clips.left_s > 0 else "may have deleted the first"
    )
    return printable(f"{what} {verb} not home; the provider {dies}: {clips.command}")


def cause(code: str | None, message: str | None) -> str:
    """Word why something failed: `content policy (1301): the prompt was refused`."""
    code, message = printable(code or ""), printable(message or "")
    label = LABELS.get(code)
    head = f"{label} ({code})" if label else code
    return ": ".join(filter(None, (head, message))) or "no reason given"


def picture(width: int | None, height: int | None) -> str:
    """Word the size of a picture, or nothing where it is not known."""
    return f"{width}×{height}" if width and height else ""  # noqa: RUF001 - the sign of dimensions


def next_lines(commands: Sequence[str]) -> list[str]:
    """Return the last line of a report: what to type next."""
    if not commands:
        return []
    first, *others = map(printable, commands)
    alternatives = f"   (or: {' · '.join(others)})" if others else ""
    return [f"next: {first}{alternatives}"]


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
