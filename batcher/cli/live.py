"""How a run is shown: the one place that chooses. The view that draws costs start-up time, so it is imported late."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batcher.cli.progress import ALWAYS, LOG, NORMAL, VERBOSE, JsonProgress, PlainProgress, Progress, Sink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["JsonProgress", "PlainProgress", "Progress", "make_progress"]


def make_progress(
    stream: TextIO | None,
    *,
    color: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Progress:
    """Choose how a run is shown on `stream`: drawn on a terminal, dated lines anywhere else.

    `color` is the flag: `always`, `never`, or `auto`, which asks NO_COLOR, FORCE_COLOR and the terminal.
    """
    loudness = ALWAYS if quiet else VERBOSE if verbose else None
    terminal = _can_draw(stream, environ)
    colored = _wants_color(color, environ, terminal=terminal)
    if terminal and not quiet:
        from batcher.cli.screen import LiveProgress, make_console  # noqa: PLC0415 - rich costs start-up time

        console = make_console(Sink(stream), color=colored)
        return LiveProgress(console, loudness=NORMAL if loudness is None else loudness)
    return PlainProgress(
        stream,
        loudness=LOG if loudness is None else loudness,
        color=colored,
        annotations=environ.get("GITHUB_ACTIONS") == "true",
    )


def _can_draw(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    if stream is None or stream.closed or not stream.isatty() or environ.get("CI") or environ.get("TERM") == "dumb":
        return False
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def _wants_color(flag: str | None, environ: Mapping[str, str], *, terminal: bool) -> bool:
    if flag in ("always", "never"):
        return flag == "always"
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or terminal
