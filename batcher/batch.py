"""One state, open for work: the lock held, the provider reachable, a run composed, carried out and summed up.

Both the command line and the library stand on this; it prints nothing and asks nobody.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batcher.assets import Folder
from batcher.bill import bill_of
from batcher.catalog import class_of
from batcher.choices import Choices
from batcher.compose import (
    budget_of,
    options_of,
    options_without_manifest,
    output_root,
    refuse_unknown_prices,
)
from batcher.errors import BatcherError, UsageError
from batcher.events import EventKind, Outcome, Snapshot, Summary
from batcher.policy import concurrency
from batcher.policy.polling import mean_s
from batcher.prepare import check_place, commit, folder_name, open_account, refuse_rename, root_of
from batcher.prices import how_to_price
from batcher.recall import adopt_from_disk, catch_up, sent_before
from batcher.runner.outcome import conclude, outranked_by
from batcher.runner.run import run
from batcher.runner.session import Options, Session
from batcher.state.rows import Account, Job, Run
from batcher.state.selection import Selection
from batcher.tasks import IN_FLIGHT, Status
from batcher.times import iso

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from batcher.environment import Endpoint, Environment
    from batcher.events import Event
    from batcher.fetch import Fetch
    from batcher.manifest import Manifest
    from batcher.prepare import Prepared
    from batcher.providers.interface import Provider
    from batcher.runner.outcome import End
    from batcher.runner.session import Clock, Hints
    from batcher.state.store import Store
    from batcher.tasks import Task


class Batch:
    """An open state. Made by `open_batch`."""

    def __init__(
        self,
        store: Store,
        *,
        endpoint: Endpoint,
        environment: Environment,
        provider: Provider,
        fetch: Fetch,
        clock: Clock,
        rng: random.Random,
        inline: bool,
    ) -> None:
        self.store = store
        self.endpoint = endpoint
        self.environment = environment
        self.clock = clock
        self.session: Session | None = None
        self.provider = provider
        self._fetch = fetch
        self._rng = rng
        self._inline = inline
        self.hints: Hints | None = None
        self._folders: dict[tuple[str, str], Folder] = {}
        self._by_job: dict[tuple[str, str], Folder] = {}

    # ---- what it can do -------------------------------------------------------------------------------------

    async def run(self, prepared: Prepared, choices: Choices, emit: Callable[[Event], None]) -> Summary:
        """Commit a plan and carry it out."""
        if not choices.adopt_orphans and not choices.buy_again:
            refuse_rename(prepared)
        if choices.buy_again:
            prepared = replace(prepared, renamed={})
        refuse_unknown_prices(prepared, budget_of(prepared.manifest, choices), choices)
        root = output_root(prepared.manifest, choices)
        folder = self._folder(root, folder_name(prepared.job, simulated=self.endpoint.is_simulated))
        folder.prepare(clips=min(prepared.bill().tasks, 20))
        with self._recorded("run", prepared.job, manifest=prepared.manifest) as run_row:
            return await self._run(prepared, choices, emit, run_row, folder)

    async def _run(
        self, prepared: Prepared, choices: Choices, emit: Callable[[Event], None], run_row: Run, folder: Folder
    ) -> Summary:
        now, root = self.clock.now(), folder.root
        account, warnings = open_account(
            self.store, self.endpoint, folder, self.environment, job=prepared.job, now=now
        )
        adopted = await commit(prepared, self.store, folder, account, root=root, now=now)
        prepared.close()
        selection = replace(prepared.selection, include=choices.include, exclude=choices.exclude)
        options = options_of(
            prepared.manifest,
            choices,
            endpoint=self.endpoint,
            environment=self.environment,
            total=self._total(selection),
        )
        s = self._session(account, selection, options, emit)
        s.tell(
            EventKind.RUN,
            run=run_row.id,
            manifest=str(prepared.manifest.path),
            tasks=self._total(prepared.selection),
            provider=prepared.scope,
            limit=s.limit.value,
            simulated=self.endpoint.is_simulated,
        )
        self._tell_plan(s, prepared, choices, [*warnings, *prepared.warnings])
        for task in adopted:
            s.tally["adopted"] += 1
            s.tell(EventKind.ADOPTED, task, how="on disk")
        return await self._carry_out(s, run_row, folder)

    async def collect(
        self, job: str | None, emit: Callable[[Event], None], *, deadline_s: float | None = None
    ) -> Summary:
        """Bring home what was paid for. Submits nothing."""
        selection = Selection(job=job, scope=self.endpoint.scope, orphaned=True)
        choices = Choices(deadline_s=deadline_s)
        return await self._without_manifest("collect", job or "", selection, choices, emit, buys=False)

    async def retry(self, tasks: Sequence[Task], choices: Choices, emit: Callable[[Event], None]) -> Summary:
        """A new attempt for each of these tasks (all of one job and edition), from their frozen requests.

        One that the output folder knows a later attempt of is no failure to buy again: that attempt is found first.
        One that an earlier `retry` marked, and did not come to submit, is not marked twice.
        """
        account = self.store.account(self.endpoint.scope)
        job = self.store.job(tasks[0].job, self.endpoint.scope)
        if account is None or job is None:
            raise UsageError(
                f"nothing was ever run on {self.endpoint.scope} with this state", hint="batcher run MANIFEST"
            )
        options = self._options_without_manifest(job, choices, buys=True)
        if options.budget.limits_money and any(task.cost_usd is None for task in tasks):
            raise UsageError(
                "the price of some of these tasks is not known, so no budget can hold them; nothing was sent",
                hint=how_to_price(sorted({class_of(task.request) for task in tasks if task.cost_usd is None}))
                + "; or choose others with -s",
            )
        now = self.clock.now()
        folder = self._folder_of(job)
        used = await sent_before(folder, has_history=True)
        with self.store.transaction():
            behind = catch_up(self.store, tasks, used, now=now)
        await adopt_from_disk(self.store, folder, behind, now=now)
        known = {task.id for task in behind}
        for task in tasks:
            if task.id not in known and task.status is not Status.PENDING:
                self.store.next_attempt(task, namespace=account.namespace, wait_s=0.0, now=now)
        marked = tuple(task.id for task in tasks)
        selection = Selection(job=job.job, scope=self.endpoint.scope, ids=marked, orphaned=True)
        return await self._without_manifest("retry", job.job, selection, choices, emit, buys=True)

    async def _without_manifest(
        self,
        command: str,
        job: str,
        selection: Selection,
        choices: Choices,
        emit: Callable[[Event], None],
        *,
        buys: bool,
    ) -> Summary:
        jobs = [j for j in self.store.jobs() if j.scope == self.endpoint.scope and job in ("", j.job)]
        if not jobs:
            raise UsageError(f"the state knows no job {job!r} on {self.endpoint.scope}", hint="batcher status")
        folder = self._folder_of(jobs[0])
        account, warnings = open_account(
            self.store, self.endpoint, folder, self.environment, job=jobs[0].job, now=self.clock.now()
        )
        with self._recorded(command, job) as run_row:
            options = self._options_without_manifest(jobs[0], choices, buys=buys)
            s = self._session(account, selection, options, emit)
            self._tell_beginning(s, run_row, warnings)
            return await self._carry_out(s, run_row, folder)

    def _options_without_manifest(self, job: Job, choices: Choices, *, buys: bool) -> Options:
        return options_without_manifest(job, choices, endpoint=self.endpoint, environment=self.environment, buys=buys)

    # ---- the course of a run --------------------------------------------------------------------------------

    async def _carry_out(
        self,
        s: Session,
        run_row: Run,
        folder: Folder,
        judge: Callable[[Session], Awaitable[End]] | None = None,
    ) -> Summary:
        """Run, sum up, write the end down. `judge` sums up in another way than a run that buys."""
        s.started_at = s.clock.monotonic()
        self.session = s
        await run(s)
        end = await judge(s) if judge else conclude(s)
        files: tuple[str, ...] = ()
        with outranked_by(end.exit_code):
            files = await self._write_metadata(s, folder, since=run_row.started_at)
        with outranked_by(end.exit_code):
            self.store.end_run(run_row.id, outcome=end.outcome, exit_code=end.exit_code, now=self.clock.now())
        summary = Summary(
            run=run_row.id,
            job=run_row.job,
            outcome=end.outcome,
            exit_code=end.exit_code,
            simulated=self.endpoint.is_simulated,
            counts=self.store.counts(s.selection),
            downloaded=s.tally["downloaded"],
            submitted=s.tally["submitted"],
            cost_usd=round(s.cost_usd, 4),
            cost_is_estimate=True,
            elapsed_s=round(s.clock.monotonic() - s.started_at, 3),
            out=str(folder.shown(folder.path.name)),
            files=files,
            reason=s.stop.reason if s.stop else None,
            hint=s.stop.hint if s.stop else None,
            next=end.next,
        )
        s.tell(EventKind.SUMMARY, **asdict(summary))
        return summary

    async def _write_metadata(self, s: Session, home: Folder, *, since: str) -> tuple[str, ...]:
        """Rewrite metadata.jsonl where clips came home, of whichever job; look at the one in `home` anyway.

        Returns the clips that came home, as they are shown.
        """
        clips = self.store.videos(Selection(scope=s.account.scope, orphaned=True))
        new = [(self.folder(task), video.path) for task, video in clips if video.downloaded_at >= since]
        news = {folder.path: folder for folder, _ in new}
        if s.tally["adopted"]:
            news[home.path] = home
        for path, folder in {home.path: home, **news}.items():
            await folder.write_metadata(
                [pair for pair in clips if self.folder(pair[0]) is folder], has_news=path in news
            )
        return tuple(str(folder.shown(path)) for folder, path in new)

    def snapshot(self) -> Snapshot:
        """The run at this moment, for the live view."""
        s = self.session
        assert s is not None
        counts = self.store.counts(s.selection)
        waiting = counts.get(Status.PENDING, 0) + sum(counts.get(status, 0) for status in IN_FLIGHT)
        mean = mean_s(s.durations.values())
        return Snapshot(
            job=s.selection.job or "",
            simulated=self.endpoint.is_simulated,
            counts=counts,
            total=sum(counts.values()),
            active=tuple(s.active()),
            limit=s.limit.value,
            elapsed_s=s.clock.monotonic() - s.started_at,
            eta_s=waiting * mean / s.limit.value if mean is not None else None,
            cost_usd=s.cost_usd,
            budget_usd=s.options.budget.max_usd,
            state_path=str(self.store.path),
            stopping=s.stop.reason if s.stop else None,
        )

    @contextmanager
    def _recorded(self, command: str, job: str, manifest: Manifest | None = None) -> Iterator[Run]:
        """A row of `runs` from here on. What ends the run before its summary does, is its end there too."""
        row = self._begin(command, job, manifest)
        try:
            yield row
        except BaseException as exc:
            outcome, exit_code = (
                (Outcome.STOPPED, exc.exit_code) if isinstance(exc, BatcherError) else (Outcome.CRASHED, 1)
            )
            with suppress(BatcherError):  # the first error is the one to tell
                self.store.end_run(row.id, outcome=outcome, exit_code=exit_code, now=self.clock.now())
            raise

    def _begin(self, command: str, job: str, manifest: Manifest | None) -> Run:
        self.session = None  # a signal from here on is about this run
        now = self.clock.now()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        row = Run(
            id=f"{stamp}-{secrets.token_hex(4)}",
            command=command,
            job=job,
            provider=self.endpoint.scope,
            started_at=iso(now),
            manifest=str(manifest.path) if manifest else None,
            manifest_sha256=manifest.sha256 if manifest else None,
        )
        self.store.begin_run(row)
        return row

    def _tell_beginning(self, s: Session, run_row: Run, warnings: Sequence[str]) -> None:
        """What a run without a manifest is about."""
        s.tell(
            EventKind.RUN,
            run=run_row.id,
            tasks=self._total(s.selection),
            provider=self.endpoint.scope,
            limit=s.limit.value if s.options.buys else None,
            simulated=self.endpoint.is_simulated,
        )
        for message in (*self.endpoint.notes, *warnings):
            s.tell(EventKind.WARNING, message=message)

    def _tell_plan(self, s: Session, prepared: Prepared, choices: Choices, warnings: Sequence[str]) -> None:
        if prepared.unfinished_edition:
            s.tell(EventKind.WARNING, message=f"edition {prepared.edition!r} is unfinished and comes first")
        if self.endpoint.is_simulated and self.environment.has_key() and prepared.manifest.provider is None:
            s.tell(
                EventKind.WARNING,
                message="a key is set, but no provider is named: this run is SIMULATED. To pay for real clips add"
                f" the line  provider: cometapi  to {prepared.manifest.path}",
            )
        for message in (*self.endpoint.notes, *warnings):
            s.tell(EventKind.WARNING, message=message)
        bill = bill_of(self.store, prepared.selection, choices, prepared.prices)
        counts = self.store.counts(prepared.selection)
        s.tell(
            EventKind.PLAN,
            to_submit=bill.tasks,
            in_flight=sum(counts.get(status, 0) for status in (*IN_FLIGHT, Status.SUCCEEDED)),
            done=counts.get(Status.DOWNLOADED, 0),
            failed=counts.get(Status.FAILED, 0),
            unclear=counts.get(Status.UNCLEAR, 0),
            orphaned=self.store.orphans(job=prepared.job, edition=prepared.edition, scope=prepared.scope),
            cost_usd=bill.cost_usd,
            budget_usd=s.options.budget.max_usd,
        )

    # ---- composing a session --------------------------------------------------------------------------------

    def _session(
        self, account: Account, selection: Selection, options: Options, emit: Callable[[Event], None]
    ) -> Session:
        learnt, durations = self.store.learnt(account.scope)
        return Session(
            store=self.store,
            provider=self.provider,
            fetch=self._fetch,
            folder=self.folder,
            account=account,
            selection=selection,
            options=options,
            clock=self.clock,
            rng=self._rng,
            emit=emit,
            limit=concurrency.start(given=options.concurrency, learnt=learnt),
            durations=durations,
            hints=self.hints,
        )

    def _total(self, selection: Selection) -> int:
        return sum(self.store.counts(selection).values())

    # ---- folders --------------------------------------------------------------------------------------------

    def folder(self, task: Task) -> Folder:
        """The output folder of a task's job."""
        job = self.store.job(task.job, task.scope) if (task.job, task.scope) not in self._by_job else None
        if job is not None:
            self._by_job[task.job, task.scope] = self._folder_of(job)
        return self._by_job[task.job, task.scope]

    def _folder_of(self, job: Job) -> Folder:
        """A job's folder as the state has it. The state may be a stranger's, and lead anywhere on this machine."""
        folder = self._folder(root_of(job, self.store.path), job.folder)
        check_place(folder, job, self.store.path)
        return folder

    def _folder(self, root: Path, name: str) -> Folder:
        key = (str(root.absolute()), name)
        if key not in self._folders:
            self._folders[key] = Folder(root.absolute(), name, inline=self._inline)
        return self._folders[key]
