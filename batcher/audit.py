"""Holds what is on disk against what the state recorded, file by file, and the state's rows against their hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.assets import Ailment
from batcher.identity import is_intact
from batcher.tasks import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batcher.assets import Folder
    from batcher.state.queries import Queries
    from batcher.state.selection import Selection
    from batcher.tasks import Asset, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it was recorded."""

    task: Task
    what: str
    """`video`, `poster`, `sidecar`, `metadata.jsonl`, or `row`: what the state itself holds of the task."""
    ailment: str
    asset: Asset | None = None
    """The record of the file, where there is one."""

    @property
    def about(self) -> str:
        """The task's name, or its job's where it is about the whole folder."""
        return self.task.job if self.what == "metadata.jsonl" else self.task.name

    @property
    def is_mendable(self) -> bool:
        """Whether writing or fetching the file anew can help; what leads elsewhere or is locked is a person's."""
        return self.what != "row" and self.ailment not in (Ailment.OUTSIDE, Ailment.UNREADABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was looked at, and what is wrong with it."""

    files: int
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> int:
        """Recorded files that are as they were."""
        return self.files - sum(finding.asset is not None for finding in self.findings)


async def audit(
    state: Queries,
    selection: Selection,
    *,
    folder: Callable[[Task], Folder],
    on_file: Callable[[int, int], None] | None = None,
) -> Audit:
    """Examine every recorded file of the selection. `on_file` is told how many of how many are done."""
    recorded = state.recorded(selection)
    total, done = sum(len(assets) for _, assets in recorded), 0
    findings: list[Finding] = []
    for task, assets in recorded:
        if task.status is not Status.CANCELLED and not is_intact(task):
            findings.append(Finding(task=task, what="row", ailment="its content does not give its hash"))
        if task.status is Status.DOWNLOADED and not any(asset.kind == "video" for asset in assets):
            findings.append(Finding(task=task, what="video", ailment="not recorded"))
        for asset in assets:
            ailment = await _examine(state, folder(task), task, asset)
            done += 1
            if on_file:
                on_file(done, total)
            if ailment:
                findings.append(Finding(task=task, what=asset.kind, ailment=ailment, asset=asset))
    for task in _one_of_each_folder((task for task, assets in recorded if assets), folder):
        ailment = None if _is_under_way(state, task) else await folder(task).examine_metadata()
        if ailment:
            findings += [Finding(task=task, what="metadata.jsonl", ailment=ailment)]
    return Audit(files=total, findings=tuple(findings))


async def _examine(state: Queries, folder: Folder, task: Task, asset: Asset) -> Ailment | None:
    """A run may write the file at this moment: what looks wrong is held against the newest record."""
    ailment = await folder.examine(asset)
    if ailment is None:
        return None
    newest = next((other for other in state.assets(task) if other.kind == asset.kind), asset)
    return ailment if newest == asset else await folder.examine(newest)


def _one_of_each_folder(tasks: Iterable[Task], folder: Callable[[Task], Folder]) -> list[Task]:
    return list({folder(task).path: task for task in tasks}.values())


def _is_under_way(state: Queries, task: Task) -> bool:
    """Its job's run writes metadata.jsonl at its end."""
    words = (Status.SUBMITTING, Status.SUBMITTED, Status.PROCESSING, Status.SUCCEEDED)
    return any(other.job == task.job and other.status in words for other in state.open_tasks(task.scope))
