"""The writing side of the state: every change of a task is one guarded statement in one transaction.

Used by exactly one process (the lock's holder), on one connection, from the event loop's thread. A change that finds
the row in another status than expected raises `StateError`: somebody else wrote. Inside of a run a change is on disk
only when `durable` has returned.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from batcher.errors import StateError
from batcher.identity import external_task_id, is_intact
from batcher.policy.retry import needs_a_new_id
from batcher.state.file import LOOKED_AT_BYTES, MAGIC, open_for_writing
from batcher.state.mounts import network_mount
from batcher.state.planning import NO_ERROR, Planning
from batcher.state.secret import token_of
from batcher.tasks import ErrorCode, Status
from batcher.text import command
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from batcher.generations import Generation
    from batcher.state.rows import Attempt
    from batcher.tasks import Asset, Task


UNSIGNED = (
    "asset_url = CASE WHEN instr(asset_url, '?') > 0"
    " THEN substr(asset_url, 1, instr(asset_url, '?') - 1) ELSE asset_url END"
)
"""Cuts a signed URL at its query: the signature is a secret, and of no use once a task has ended."""


class Store(Planning):
    """The state, open for writing. Close it."""

    def __init__(self, path: Path, *, is_locked: Callable[[], bool] = lambda: True) -> None:
        """`is_locked` tells whether the lock is still ours and still the one that others would meet."""
        self.lies_on = network_mount(path)
        """The kind of network file system that the state is on, if it is."""
        super().__init__(open_for_writing(path, self.lies_on), path)
        self._is_locked = is_locked
        self._file = os.open(path, os.O_RDONLY)  # until SQLite's own is closed: that would let go of SQLite's locks
        self._inode = os.fstat(self._file).st_ino
        if path.stat().st_size <= LOOKED_AT_BYTES:
            self.recount()

    def check_alive(self) -> None:
        """Raise `StateError` if the file we write to is no longer the file at its path.

        In WAL mode every write to a deleted file "succeeds" into nothing; the run would pay without a record. One
        that is overwritten goes unnoticed, too, while SQLite has the pages that it needs in memory.
        """
        try:
            alive = os.stat(self.path).st_ino == self._inode and self._is_locked()  # noqa: PTH116
        except FileNotFoundError:
            alive = False
        if not alive or os.pread(self._file, len(MAGIC), 0) != MAGIC:
            raise StateError(
                f"{self.path} or its lock was deleted or replaced while this run was using it",
                hint="nothing more was sent; put the file back, or run again (nothing is paid twice)",
            )

    def callback_token(self) -> str:
        """The secret end of this state's callback address."""
        return str(token_of(self._db))  # opened for writing, it has one

    def close(self) -> None:
        """The log goes into the file first: a reader that stays would keep it, with all that was deleted since."""
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA busy_timeout = 0")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        super().close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # ---- buying ---------------------------------------------------------------------------------------------

    def claim(self, task: Task, *, account: str = "", now: float) -> Task:
        """Take a pending task: the intent to submit and its price, on disk before a byte leaves.

        `account` is the fingerprint of the key it will be sent with.
        """
        with self.transaction():
            claimed = self._move(task, Status.SUBMITTING, not_before=None, **NO_ERROR)
            self._reserve(claimed, now=now, account=account)
        return claimed

    def check_content(self, task: Task) -> Attempt:
        """The recorded intent of what is about to be sent. `StateError` where there is none, or that is not the plan.

        SQLite sees neither a flipped bit in a text nor a person's hand. Sent all the same, it would buy what nobody
        asked for, look for an id that was never sent, or buy once more what was bought.
        """
        attempt = self.attempt(task.external_task_id)
        if attempt is not None and attempt.generation_id is not None:
            raise StateError(
                f"{task.name} waits in {self.path}, but was accepted as generation {attempt.generation_id} under this"
                " very id: its row was edited by hand",
                hint="undo that; `batcher retry` is the way to pay for another attempt",
            )
        if is_intact(task) and attempt is not None:
            return attempt
        job = self.job(task.job, task.scope)
        manifest = job.manifest if job and job.manifest else "MANIFEST"
        raise StateError(
            f"{self.path}: the row of {task.name} (task {task.id}) is damaged: its content does not give its hash, or"
            " its attempt is not there; it was not sent",
            hint=f"restore a backup, or let  {command('recover', manifest)}  write it anew; batcher verify lists all",
        )

    def count_post(self, task: Task) -> None:
        """One more create call under this id is about to be made, in the same walk."""
        with self.transaction():
            self._attempt(task, "posts = posts + 1")

    def accepted(self, task: Task, generation: Generation, *, request_id: str | None, how: str, now: float) -> Task:
        """A generation under our id exists at the provider."""
        at = iso(now)
        with self.transaction():
            moved = self._move(
                task,
                Status.SUBMITTED,
                generation_id=generation.id,
                submitted_at=at,
                **NO_ERROR,
            )
            self._attempt(
                moved,
                "status = 'submitted', task_id = ?, request_id = ?, submitted_at = ?, cost_usd = ?",
                generation.id,
                request_id,
                at,
                moved.cost_usd or 0.0,
            )
            self._event(moved, "submitted", at, {"generation_id": generation.id, "how": how})
        return moved

    def released(self, task: Task, *, reason: str, wait_s: float, refused: bool, now: float) -> Task:
        """Nothing was created: back to pending under the same id, the price set free."""
        _only(task, Status.SUBMITTING)
        with self.transaction():
            moved = self._move(task, Status.PENDING, not_before=iso(now + wait_s))
            self._attempt(moved, "status = 'pending', cost_usd = 0, refusals = refusals + ?", int(refused))
            self._event(moved, "back", iso(now), {"reason": reason, "wait_s": round(wait_s, 1)})
        return moved

    def parked(self, task: Task, *, reason: str, now: float) -> Task:
        """The provider may have taken it. Its price stays reserved."""
        with self.transaction():
            moved = self._move(
                task,
                Status.UNCLEAR,
                error_class=ErrorCode.UNCLEAR,
                error_code=ErrorCode.UNCLEAR,
                error_message=reason,
            )
            self._attempt(moved, "status = 'unclear', error_message = ?", reason)
            self._event(moved, "unclear", iso(now), {"reason": reason})
        return moved

    # ---- watching -------------------------------------------------------------------------------------------

    def processing(self, task: Task, *, now: float) -> Task:
        with self.transaction():
            moved = self._move(task, Status.PROCESSING)
            self._attempt(moved, "status = 'processing'")
            self._event(moved, "processing", iso(now), {})
        return moved

    def overdue(self, task: Task, *, now: float) -> Task:
        """Past its time-out and still running at the provider: a flag, not a status."""
        with self.transaction():
            row = self._one("UPDATE tasks SET overdue = 1 WHERE id = ? AND status = ?", (task.id, task.status), task)
            self._event(row, "overdue", iso(now), {})
        return row

    def succeeded(self, task: Task, generation: Generation, *, cost_usd: float | None = None, now: float) -> Task:
        """Finished at the provider: the slot is free. The signed URL stays only until the clip is home.

        `cost_usd` is what it counts now, where the provider took more than was reserved.
        """
        price = {} if cost_usd is None else {"cost_usd": cost_usd}
        video = generation.videos[0] if generation.videos else None
        with self.transaction():
            moved = self._move(task, Status.SUCCEEDED, finished_at=iso(now), overdue=0, **price)
            self._attempt(
                moved,
                "status = 'succeeded', finished_at = ?, units = ?, cost_usd = coalesce(?, cost_usd),"
                " asset_url = ?, asset_expires_at = ?",
                iso(now),
                generation.units,
                cost_usd,
                video.url if video else None,
                iso(video.expires_at) if video and video.expires_at else None,
            )
            self._event(moved, "succeeded", iso(now), {})
        return moved

    def polled(self, counts: Mapping[str, int]) -> None:
        """Add to the number of looks at each external id; told in bulk, as it is only a statistic."""
        with self.transaction():
            for external_id, looks in counts.items():
                self._execute(
                    "UPDATE attempts SET polls = polls + ? WHERE external_task_id = ?", (looks, external_id)
                )

    # ---- the end of a task ----------------------------------------------------------------------------------

    def downloaded(self, task: Task, assets: Iterable[Asset], *, now: float) -> Task:
        """The files are on disk, synced. Only now is the task done, and its URL loses its signature."""
        with self.transaction():
            moved = self._move(task, Status.DOWNLOADED, finished_at=iso(now), **NO_ERROR)
            self._attempt(
                moved,
                f"status = 'downloaded', {UNSIGNED}",
            )
            for asset in assets:
                self._save_asset(task, asset)
            self._event(moved, "done", iso(now), {})
        return moved

    def adopted(self, task: Task, assets: Iterable[Asset], *, generation_id: str | None, now: float) -> Task:
        """A file of ours from a lost state was found whole: done, without a word to the provider."""
        with self.transaction():
            row = self._move(task, Status.DOWNLOADED, finished_at=iso(now), generation_id=generation_id)
            self._attempt(row, "status = 'downloaded', task_id = ?", generation_id)
            for asset in assets:
                self._save_asset(task, asset)
            self._event(row, "adopted", iso(now), {"how": "sidecar"})
        return row

    def _save_asset(self, task: Task, asset: Asset) -> None:
        self._execute(
            "INSERT OR REPLACE INTO assets (task, kind, path, bytes, sha256, width, height, seconds, downloaded_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                task.id,
                asset.kind,
                asset.path,
                asset.size_bytes,
                asset.sha256,
                asset.width,
                asset.height,
                asset.duration_s,
                asset.downloaded_at,
            ),
        )

    def refound(self, task: Task, assets: Iterable[Asset]) -> None:
        """A clip that is not where it was is whole in another place of ours."""
        with self.transaction():
            for asset in assets:
                self._save_asset(task, asset)

    def missing(self, task: Task, *, now: float) -> Task:
        """Its file is gone from the disk: fetch it again, without a new submission."""
        with self.transaction():
            moved = self._move(task, Status.SUCCEEDED)
            self._attempt(moved, "status = 'succeeded'")
            self._event(moved, "missing", iso(now), {})
        return moved

    def given_back(self, task: Task, *, reason: str, now: float) -> Task:
        """A clip that was home, is gone from the disk, and cannot be had again: what was true of it stays true."""
        with self.transaction():
            moved = self._move(task, Status.DOWNLOADED, error_code=ErrorCode.GONE, error_message=reason)
            self._attempt(moved, f"status = 'downloaded', {UNSIGNED}")
            self._event(moved, "gone", iso(now), {"reason": reason})
        return moved

    def failed(self, task: Task, *, failure: tuple[str, str, str], bought: bool, now: float) -> Task:
        """The end, badly. `failure` is (class, code, message). A price not `bought` is set free."""
        kind, code, message = failure
        with self.transaction():
            moved = self._move(
                task,
                Status.FAILED,
                finished_at=iso(now),
                error_class=kind,
                error_code=code,
                error_message=message,
                overdue=0,
            )
            self._attempt(
                moved,
                f"status = 'failed', finished_at = ?, error_code = ?, error_message = ?, cost_usd = cost_usd * ?,"
                f" {UNSIGNED}",
                iso(now),
                code,
                message,
                int(bought),
            )
            self._event(moved, "failed", iso(now), {"class": kind, "code": code, "reason": message})
        return moved

    def troubled(self, task: Task, *, code: str, message: str) -> Task:
        """Note why a task does not get on, without changing what is true of it."""
        with self.transaction():
            return self._one(
                "UPDATE tasks SET error_code = ?, error_message = ? WHERE id = ? AND status = ?",
                (code, message, task.id, task.status),
                task,
            )

    # ---- a person's or a policy's decision ------------------------------------------------------------------

    def next_attempt(self, task: Task, *, namespace: str, wait_s: float, now: float) -> Task:
        """Buy once more: pending under a new id. What was never bought keeps its id instead and burns nothing."""
        last = self.attempt(task.external_task_id)
        number, external_id = task.attempt, task.external_task_id
        was_accepted = last is None or last.generation_id is not None
        if needs_a_new_id(was_accepted=was_accepted, is_unclear=task.status is Status.UNCLEAR):
            number += 1
            external_id = external_task_id(
                job=task.job, content=task.content_hash, namespace=namespace, attempt=number
            )
        with self.transaction():
            moved = self._move(
                task,
                Status.PENDING,
                attempt=number,
                attempts_allowed=max(task.attempts_allowed, number),
                external_task_id=external_id,
                generation_id=None,
                submitted_at=None,
                finished_at=None,
                overdue=0,
                not_before=iso(now + wait_s) if wait_s else None,
            )
            self._event(moved, "retry", iso(now), {"attempt": number})
        return moved

    def resubmit(self, task: Task, *, now: float) -> Task:
        """A person says that an unclear submission was not taken: it waits to go again, under its own id."""
        _only(task, Status.UNCLEAR)
        with self.transaction():
            moved = self._move(task, Status.PENDING, not_before=None, **NO_ERROR)
            self._attempt(moved, "status = 'pending', cost_usd = 0")
            self._event(moved, "resubmit", iso(now), {})
        return moved

    def dropped(self, task: Task, *, now: float) -> Task:
        """A person gives a task up for good."""
        with self.transaction():
            moved = self._move(task, Status.CANCELLED, finished_at=iso(now))
            self._attempt(moved, f"status = 'cancelled', {UNSIGNED}")
            self._event(moved, "cancelled", iso(now), {})
        return moved


def _only(task: Task, status: Status) -> None:
    """Guard what frees a price: it may be freed from one status alone."""
    if task.status is not status:
        raise StateError(
            f"{task.name} is {task.status}, not {status}", hint="let one program work on the state, and run again"
        )
