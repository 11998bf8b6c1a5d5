"""What the output folder remembers when the state does not: it was lost, or is an old backup.

Receipts are written before each create call and sidecars with each clip, so the folder never knows less than was sent
from it. Matched by content, not by id: a renamed job or another namespace must not make a paid task look new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.state.planning import Used
from batcher.tasks import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batcher.assets import Folder
    from batcher.state.rows import Attempt
    from batcher.state.selection import Selection
    from batcher.state.store import Store
    from batcher.tasks import Task


async def sent_before(folder: Folder, *, has_history: bool) -> dict[str, Used]:
    """Content hash to the newest attempt that was ever sent.

    Receipts are read at every run; sidecars too when the state knows nothing of the job.
    """
    receipts = folder.receipts.read() if has_history else await folder.sent()
    newest: dict[str, Used] = {}
    for receipt in receipts.values():
        _, _, number = receipt.external_task_id.rpartition("-a")
        used = Used(
            external_task_id=receipt.external_task_id,
            attempt=int(number) if number.isdecimal() else 1,
            posts=receipt.posts,
            account=receipt.account,
        )
        known = newest.get(receipt.content_hash)
        if known is None or used.attempt >= known.attempt:
            newest[receipt.content_hash] = used
    return newest


def catch_up(
    store: Store, tasks: Iterable[Task], used: Mapping[str, Used], *, now: float, among: Selection | None = None
) -> list[Task]:
    """Bring tasks that the folder knows more of to `submitting`, under the id they were sent with.

    `among`: only those of this edition that the manifest names.
    """
    if among is not None:
        key = (among.job, among.edition, among.scope, False)
        tasks = [task for task in tasks if (task.job, task.edition, task.scope, task.orphaned) == key]
    return [
        store.inherit(task, used[task.content_hash], now=now)
        for task in tasks
        if task.content_hash in used
        and is_behind(task, store.attempt(task.external_task_id), used[task.content_hash])
    ]


async def adopt_from_disk(store: Store, folder: Folder, tasks: Iterable[Task], *, now: float) -> list[Task]:
    """Those of these tasks in `submitting` whose whole clips lie in the folder, home now."""
    adopted = []
    for task in tasks:
        if assets := await folder.adopt(task):
            generation_id = await folder.generation_of(task)
            adopted.append(store.adopted(task, assets, generation_id=generation_id, now=now))
    return adopted


def is_behind(task: Task, attempt: Attempt | None, used: Used) -> bool:
    """Whether the folder knows of a create call that the state does not.

    A later attempt than the state's was bought because that one had ended, whatever the state still says of it.
    """
    if task.status in (Status.DOWNLOADED, Status.CANCELLED) or used.attempt < task.attempt:
        return False
    if used.attempt > task.attempt:
        return True
    if task.status not in (Status.PENDING, Status.FAILED):
        return False
    if used.external_task_id != task.external_task_id:
        return task.status is Status.PENDING
    return used.posts > (attempt.posts if attempt else 0)  # a failure that was never bought is retried under its id
