"""`batcher recover` in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.report.layout import bounded, columns, next_lines
from batcher.report.lines import in_flight
from batcher.tasks import Status
from batcher.text import command, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.report.views import RecoverView

MOST_NAMES = 40


def recover_text(view: RecoverView) -> str:
    """Word what was rebuilt, what could not be tied to a task, and what to type next."""
    return "\n".join([*_head(view), *_strays(view), *_unclear(view), *next_lines(view.next)])


def _head(view: RecoverView) -> Iterator[str]:
    provider = f"{view.provider} (SIMULATED)" if view.simulated else view.provider
    edition = f"edition {view.edition}" if view.edition else ""
    yield printable(" · ".join(filter(None, (view.job, edition, provider))))
    for note in view.notes:
        yield f"note: {printable(note)}"
    listed = "it has no list" if view.listed is None else f"its list has {view.listed} generations"
    done = [
        f"{view.adopted} tied to generations ({listed})",
        f"{view.on_disk} found on disk",
        f"{view.known} known before",
    ]
    rare = ((view.mended, "damaged rows written anew"), (view.freed, "no longer unclear"))
    yield "recovered: " + ", ".join([*done, *(f"{count} {word}" for count, word in rare if count)])
    if view.editions:
        yield printable(f"earlier editions: {', '.join(view.editions)}")
    counts = view.counts
    words = (
        (counts.get(Status.DOWNLOADED, 0), "downloaded"),
        (counts.get(Status.SUCCEEDED, 0), "to download"),
        (in_flight(counts), "at the provider, or maybe"),
        (counts.get(Status.FAILED, 0), "failed"),
        (counts.get(Status.CANCELLED, 0), "dropped"),
        (counts.get(Status.UNCLEAR, 0), "unclear"),
    )
    now = [f"{count} {word}" for count, word in words if count]
    yield "now: " + ", ".join([*now, f"{counts.get(Status.PENDING, 0)} to buy"]) + "; nothing was bought"


def _strays(view: RecoverView) -> Iterator[str]:
    if not view.strays:
        return
    yield f"{len(view.strays)} generations may be this job's, and no id says whose"
    rows = [
        (stray.generation_id, stray.status, stray.created_at or "-", stray.external_task_id or "-")
        for stray in view.strays
    ]
    yield from columns(rows, indent="  ")
    if view.unclear:
        yield "  look at each at the provider; where you know its task:"
        name = view.unclear[0] if len(view.unclear) == 1 else "TASK"
        for stray in view.strays:
            yield f"    {command('resolve', name, '--adopt', stray.generation_id)}"
        yield "  then recover again: what is left of the unclear ones is set free when no stray is left"


def _unclear(view: RecoverView) -> Iterator[str]:
    if not view.unclear:
        return
    yield printable(f"{len(view.unclear)} unclear, never bought by itself: {view.reason or 'see batcher status'}")
    shown, left_out = bounded([(name,) for name in view.unclear], most=MOST_NAMES)
    yield from columns(shown, indent="  ")
    if left_out:
        yield f"  {left_out}"
    yield "  the old key, or the old BATCHER_NAMESPACE, would tell: set it and recover again, if you have it"
