"""The course of one run on the command line: signals in, progress out, an exit code at the end."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from batcher.events import Outcome
from batcher.report.lines import summary_lines
from batcher.runner.session import Stop
from batcher.text import html_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batcher.batch import Batch
    from batcher.cli.common import Shared
    from batcher.cli.progress import Progress
    from batcher.events import Event, Summary

TICK_S = 0.125
"""How often the view may redraw: 8 times a second is calm and still feels alive."""

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


async def follow(batch: Batch, shared: Shared, work: Callable[[Callable[[Event], None]], Awaitable[Summary]]) -> int:
    """Carry out a run of `batch`, shown as the shared options say. Returns its exit code."""
    with shared.progress() as progress:
        return await _follow(batch, progress, work)


async def _follow(
    batch: Batch, progress: Progress, work: Callable[[Callable[[Event], None]], Awaitable[Summary]]
) -> int:
    started = False
    summary: Summary | None = None
    interrupted: list[int] = []

    def emit(event: Event) -> None:
        nonlocal started
        if not started and batch.session is not None:
            progress.start(batch.snapshot)
            started = True
        progress.event(event)

    async def tick() -> None:
        while True:
            progress.tick()
            await anyio.sleep(TICK_S)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_obey_signals, batch, group.cancel_scope, interrupted)
            group.start_soon(tick)
            summary = await work(emit)
            group.cancel_scope.cancel()
    finally:
        progress.close()
    if summary is None:  # a signal came before anything was begun
        return 130 if interrupted == [signal.SIGINT] else 143
    write_step_summary(summary)
    return summary.exit_code


def write_step_summary(summary: Summary) -> None:
    """Leave the run's end on the page of a GitHub Actions job."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        # A page of Markdown: inside these tags nothing of it is a link, a picture or a heading.
        told = "\n".join(map(html_text, summary_lines(summary)))
        title = html_text(summary.job) if summary.job else "all jobs"
        with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8") as page:
            page.write(f"<h3>batcher: {title}</h3>\n<pre>\n{told}\n</pre>\n\n")


async def _obey_signals(batch: Batch, scope: anyio.CancelScope, interrupted: list[int]) -> None:
    """First signal: nothing new, what downloads finishes. Second: leave at once. Nothing is lost either way."""
    with anyio.open_signal_receiver(*SIGNALS) as signals:
        async for number in signals:
            session = batch.session
            interrupted.append(number)
            if session is None:
                scope.cancel()
            elif session.is_leaving:
                session.abort()
            else:
                by_hand = number == signal.SIGINT
                session.halt(
                    Stop(
                        outcome=Outcome.INTERRUPTED if by_hand else Outcome.TERMINATED,
                        exit_code=130 if by_hand else 143,
                        reason="Ctrl-C: finishing downloads; again to leave now (nothing is lost)"
                        if by_hand
                        else f"{signal.Signals(number).name}: finishing downloads",
                        hint="run it again to go on",
                        leaves=True,
                    )
                )
