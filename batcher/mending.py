"""Brings back files that are not as they were recorded: fetched again or written anew, never bought."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batcher.audit import audit
from batcher.batch import Batch
from batcher.choices import Choices
from batcher.compose import options_without_manifest
from batcher.errors import UsageError
from batcher.events import Event, EventKind
from batcher.prepare import open_account
from batcher.runner.outcome import FAILED, FINISHED, UNFINISHED, End, outcome_of, worst
from batcher.state.selection import Selection
from batcher.tasks import Status
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batcher.audit import Audit, Finding
    from batcher.events import Summary
    from batcher.runner.session import Session
    from batcher.state.rows import Job, Run
    from batcher.tasks import Task


class Mending(Batch):
    """Adds `verify --repair` to what a batch can do."""

    async def repair(
        self,
        job: str | None,
        emit: Callable[[Event], None],
        *,
        on_file: Callable[[int, int], None] | None = None,
    ) -> Summary:
        """`verify --repair`: examine every recorded file, then bring back what is not whole.

        A clip is fetched again by its recorded generation, a sidecar or poster written anew. What stands in the way
        with other content is kept.
        """
        scope = self.endpoint.scope
        jobs = [j for j in self.store.jobs() if j.scope == scope and job in (None, j.job)]
        if not jobs:
            raise UsageError(f"the state knows no job {job!r} on {scope}", hint="batcher status")
        everything = Selection(job=job, scope=scope, orphaned=True)
        found = await audit(self.store, everything, folder=self.folder, on_file=on_file)
        with self._recorded("verify", job or "") as run_row:
            return await self._repair(jobs[0], everything, found, emit, run_row)

    async def _repair(
        self, job: Job, everything: Selection, found: Audit, emit: Callable[[Event], None], run_row: Run
    ) -> Summary:
        home = self._folder_of(job)
        account, warnings = open_account(
            self.store, self.endpoint, home, self.environment, job=job.job, now=self.clock.now()
        )
        gone = [task.id for task in _with_lost_videos(found) if await self._is_gone(task)]
        options = options_without_manifest(
            job, Choices(), endpoint=self.endpoint, environment=self.environment, buys=False
        )
        selection = replace(everything, ids=tuple(gone))
        s = self._session(account, selection, replace(options, alone=True), emit)
        self._tell_beginning(s, run_row, warnings)
        s.tell(EventKind.CHECKED, files=found.files, whole=found.whole, findings=len(found.findings))
        for finding in found.findings:
            s.tell(EventKind.WARNING, finding.task, message=self.described(finding))
        await self._renew(s, found.findings, "sidecar")  # first: it is the deed to the name that a clip comes back to

        async def judge(s: Session) -> End:
            return await self._judge(s, found, everything)

        return await self._carry_out(s, run_row, home, judge)

    def described(self, finding: Finding) -> str:
        """One finding in a line."""
        path = f" ({self.folder(finding.task).shown(finding.asset.path)})" if finding.asset else ""
        return f"{finding.about}: {finding.what}{path}: {finding.ailment}"

    async def _is_gone(self, task: Task) -> bool:
        """Whether the clip must be fetched again; it may lie whole in another place of ours."""
        if task.status is Status.SUCCEEDED:
            return True
        if task.status is not Status.DOWNLOADED:
            return False
        if files := await self.folder(task).adopt(task):
            self.store.refound(task, files)
            return False
        self.store.missing(task, now=self.clock.now())
        return True

    async def _judge(self, s: Session, found: Audit, everything: Selection) -> End:
        """Renew what is made from the clips, look again, and say what is still not whole."""
        if not s.is_leaving:
            await self._renew(s, found.findings, "poster")
            await self._renew_metadata(found.findings)
        ids = tuple({finding.task.id for finding in found.findings})
        left = (await audit(self.store, replace(everything, ids=ids), folder=self.folder)).findings if ids else ()
        codes = [s.stop.exit_code] if s.stop else []
        codes += [FAILED for _ in left]
        waiting = self.store.tasks(s.selection, statuses=(Status.SUCCEEDED,))
        codes += [UNFINISHED for _ in waiting]
        code = worst(codes)
        for finding in left:
            if finding.task.status is not Status.SUCCEEDED:
                message = f"still not whole: {self.described(finding)}"
                s.tell(EventKind.WARNING, finding.task, message=message)
        return End(outcome=outcome_of(s.stop, code), exit_code=code, next=tuple(self._next(left, everything, code)))

    def _next(self, left: Iterable[Finding], everything: Selection, code: int) -> Iterable[str]:
        job = everything.job or ""
        damaged = next((finding.task for finding in left if finding.what == "row"), None)
        if damaged:
            known = self.store.job(damaged.job, damaged.scope)
            yield command("recover", known.manifest if known and known.manifest else "MANIFEST")
        if code not in (FINISHED, FAILED):
            yield command("verify", job, "--repair")
        elif code == FAILED and not damaged:
            yield command("verify", job)

    async def _renew(self, s: Session, findings: Iterable[Finding], kind: str) -> None:
        """Write sidecars, or posters, anew where they are not as they were recorded."""
        for finding in findings:
            if finding.what != kind or not finding.is_mendable:
                continue
            task = self.store.task(finding.task.id)
            folder = self.folder(task)
            assets = {asset.kind: asset for asset in self.store.assets(task)}
            video, companion = assets.get("video"), assets.get(kind)
            if video is None or companion is None or not await folder.examine(companion):
                continue
            if kind == "poster" and await folder.examine(video):
                continue
            if renewed := await folder.renew(task, video, companion):
                self.store.refound(task, [renewed])
                s.tell(EventKind.RENEWED, task, path=str(folder.shown(renewed.path)), what=kind)

    async def _renew_metadata(self, findings: Iterable[Finding]) -> None:
        """Rewrite metadata.jsonl in each folder where something was not whole."""
        folders = {id(folder): folder for folder in (self.folder(finding.task) for finding in findings)}
        clips = self.store.videos(Selection(scope=self.endpoint.scope, orphaned=True)) if folders else []
        for folder in folders.values():
            await folder.write_metadata([pair for pair in clips if self.folder(pair[0]) is folder])


def _with_lost_videos(found: Audit) -> list[Task]:
    return list(
        {
            finding.task.id: finding.task
            for finding in found.findings
            if finding.what == "video" and finding.is_mendable
        }.values()
    )
