"""Rebuilds a state that was lost or copied from the provider's list, the output folder and the manifest. Never sends.

What it writes is safe at every moment: a task of which anything is known starts in `submitting` or `unclear`, so a
rebuilding that was cut short is no reason to buy.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from batcher.assets import Folder
from batcher.compose import options_of, output_root
from batcher.errors import StateError, UsageError
from batcher.events import Outcome
from batcher.generations import GenerationStatus, Sight
from batcher.identity import content_hash, derive_namespace, external_task_id, is_intact
from batcher.mending import Mending
from batcher.policy import retry, submission
from batcher.prepare import commit, folder_name, open_account, prepare, refuse_rename
from batcher.rebuild import Matcher, earliest, editions_of, read_list, sent, time_of, used_by, why_unclear
from batcher.recall import catch_up, sent_before
from batcher.report.views import RecoverView, StrayGeneration
from batcher.state.selection import Selection
from batcher.tasks import IN_FLIGHT, ErrorCode, Status
from batcher.text import command
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from batcher.choices import Choices
    from batcher.generations import Generation
    from batcher.manifest import Manifest
    from batcher.prepare import Prepared
    from batcher.rebuild import Listed
    from batcher.state.planning import Used
    from batcher.tasks import Task


@dataclass(slots=True, kw_only=True)
class _Clues:
    """What there is to rebuild from."""

    folder: Folder
    remembered: Mapping[str, Used]
    """Content to its newest attempt, by receipts and sidecars."""
    receipts_are_whole: bool
    listed: Listed
    matcher: Matcher
    known: int
    """Tasks of the job that the state has."""


class Rescue(Mending):
    """Adds `recover` to what a batch can do."""

    async def recover(
        self,
        manifest: Manifest,
        choices: Choices,
        *,
        edition: str | None = None,
        tell: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - says nothing
    ) -> RecoverView:
        """Add to the state what it does not know of this manifest's tasks; what it knows stays."""
        root = output_root(manifest, choices)
        at = datetime.fromtimestamp(self.clock.now(), UTC)
        asked = manifest.render_edition(at) if edition is None else edition
        main = prepare(manifest, endpoint=self.endpoint, state=self.store, now=at, edition=asked)
        refuse_rename(main)
        clues = await self._gather(manifest, main, root, tell)
        plans = [main, *self._earlier(manifest, main, clues)]
        clues = await self._rested(manifest, choices, main, clues, tell)
        _refuse_nothing(main, clues)
        listed = clues.matcher.by_content(clues.listed.generations)
        if not clues.listed.is_proof:
            await self._look(main, clues, listed, tell)
        strays = [generation for generation in clues.listed.generations if clues.matcher.is_stray(generation)]
        since = earliest(manifest, self.clock.now()) if edition is None else 0.0
        todays = [generation for generation in strays if (generation.created_at or since) >= since]
        reason = why_unclear(clues.listed, todays, receipts_are_whole=clues.receipts_are_whole)
        used = sent(clues.remembered, listed, account=self.endpoint.fingerprint)

        with self._recorded("recover", main.job, manifest=manifest) as run_row:
            view = await self._write(plans, clues, listed, used, reason, strays, root=root)
            outcome, exit_code = (Outcome.FAILED, 1) if view.unclear else (Outcome.DONE, 0)
            self.store.end_run(run_row.id, outcome=outcome, exit_code=exit_code, now=self.clock.now())
            return view

    # ---- what there is --------------------------------------------------------------------------------------

    async def _gather(self, manifest: Manifest, main: Prepared, root: Path, tell: Callable[[str], None]) -> _Clues:
        folder = self._folder(root, folder_name(manifest.job, simulated=self.endpoint.is_simulated))
        remembered = await folder.sent()
        everything = Selection(job=main.job, scope=main.scope, orphaned=True)
        matcher = Matcher(
            job=main.job,
            namespaces=self._namespaces(folder),
            remembered={
                **self.store.known_ids(main.scope),
                **{external_id: receipt.content_hash for external_id, receipt in remembered.items()},
            },
            elsewhere=frozenset(_sent_elsewhere(root, folder)),
        )
        matcher.expect(main.plan.hashes())
        matcher.expect(task.content_hash for task in self.store.tasks(everything))
        tell(f"reading the list of {self.endpoint.scope}")
        return _Clues(
            folder=folder,
            remembered=await sent_before(folder, has_history=False),
            receipts_are_whole=folder.receipts.is_whole(),
            listed=await read_list(self.provider, sleep=anyio.sleep),
            matcher=matcher,
            known=len(self.store.tasks(everything)),
        )

    def _namespaces(self, folder: Folder) -> list[str]:
        """Every namespace that this job's ids may have been made under, the most likely first."""
        try:
            kept = folder.namespaces().get(self.endpoint.scope)
        except StateError as exc:
            raise StateError(exc.message, hint="move it away and run this again: the ids tell") from exc
        stored = self.store.account(self.endpoint.scope)
        found = (kept, stored.namespace if stored else None, self.environment.namespace())
        return list(dict.fromkeys([*filter(None, found), derive_namespace(self.endpoint.key)]))

    def _earlier(self, manifest: Manifest, main: Prepared, clues: _Clues) -> list[Prepared]:
        """Earlier editions of which something was sent. What was not is not for sale any more: it is left out."""
        receipts = clues.folder.receipts.read().values()
        sent_at = [time for receipt in receipts if (time := time_of(receipt.at)) is not None]
        created = [g.created_at for g in clues.listed.generations if g.created_at and clues.matcher.is_stray(g)]
        found = []
        for edition in editions_of(manifest, [*sent_at, *created]):
            if edition == main.edition:
                continue
            now = datetime.fromtimestamp(self.clock.now(), UTC)
            plan = prepare(manifest, endpoint=self.endpoint, state=self.store, now=now, edition=edition)
            clues.matcher.expect(plan.plan.hashes())
            known = {*clues.remembered, *clues.matcher.by_content(clues.listed.generations)}
            if known.intersection(plan.plan.hashes()):
                plan.plan.keep(known)
                found.append(replace(plan, unfinished_edition=True))
            else:
                plan.close()
        return found

    async def _rested(
        self,
        manifest: Manifest,
        choices: Choices,
        main: Prepared,
        clues: _Clues,
        tell: Callable[[str], None],
    ) -> _Clues:
        """Without receipts, a call of a run that died just now may still be on its way: wait, and look again."""
        found = {*clues.remembered, *clues.matcher.by_content(clues.listed.generations), *_known(main)}
        if clues.receipts_are_whole or not clues.listed.is_proof or found.issuperset(main.plan.hashes()):
            return clues
        options = options_of(
            manifest, choices, endpoint=self.endpoint, environment=self.environment, total=main.plan.size
        )
        account = self.store.account(self.endpoint.scope)
        window = submission.quiet_window_s(
            setting_s=options.quiet_window_s,
            largest_lag_s=account.lag_s if account else 0.0,
            loopback=options.is_loopback,
        )
        tell(
            f"there are no receipts of what was sent: waiting {window:.0f} s for calls that may still be on their way"
        )
        await anyio.sleep(window)
        return replace(clues, listed=await read_list(self.provider, sleep=anyio.sleep))

    async def _look(
        self,
        main: Prepared,
        clues: _Clues,
        listed: dict[str, list[Generation]],
        tell: Callable[[str], None],
    ) -> None:
        """Where the list proves nothing: look for the ids that our namespaces would have given."""
        found = {*listed, *clues.remembered, *_known(main)}
        missing = [content for content in main.plan.hashes() if content not in found]
        if not missing:
            return
        tell(f"{clues.listed.doubt}: looking for {len(missing)} ids one by one")
        nobodys = await self.provider.find_external(f"nobody-{secrets.token_hex(12)}-a1")
        for content in missing:
            for namespace in clues.matcher.namespaces:
                ours = external_task_id(job=main.job, content=content, namespace=namespace, attempt=1)
                if generation := await self._find(ours, says_absent=nobodys.sight is Sight.ABSENT):
                    listed[content] = [generation]
                    break

    async def _find(self, ours: str, *, says_absent: bool) -> Generation | None:
        """The generation under an id of ours. One that does not say its id counts where a random id has none."""
        generation = (await self.provider.find_external(ours)).generation
        if generation is None or generation.external_task_id not in (None, ours):
            return None
        if generation.external_task_id is None and not says_absent:
            return None
        return replace(generation, external_task_id=ours)

    # ---- what is written ------------------------------------------------------------------------------------

    async def _write(
        self,
        plans: list[Prepared],
        clues: _Clues,
        listed: Mapping[str, list[Generation]],
        used: Mapping[str, Used],
        reason: str | None,
        strays: list[Generation],
        *,
        root: Path,
    ) -> RecoverView:
        now, main, store = self.clock.now(), plans[0], self.store
        usual = self.environment.namespace() or derive_namespace(self.endpoint.key)
        namespace = clues.matcher.namespace(clues.listed.generations)
        if namespace != usual and store.account(main.scope) is None and main.scope not in clues.folder.namespaces():
            clues.folder.store_namespace(job=main.job, scope=main.scope, namespace=namespace)
        account, notes = open_account(store, self.endpoint, clues.folder, self.environment, job=main.job, now=now)
        mended = self._mend(main)
        everything = Selection(job=main.job, scope=main.scope, orphaned=True)
        on_disk = []
        for plan in plans:
            why = None if plan.unfinished_edition else reason
            on_disk += await commit(plan, store, clues.folder, account, root=root, now=now, used=used, unclear=why)
        with store.transaction():
            for task in store.tasks(everything):
                if task.content_hash in used and self._was_bought(task, listed.get(task.content_hash, [])):
                    store.inherit(task, used[task.content_hash], instead=True, now=now)
            catch_up(store, store.tasks(everything), used, now=now)
        adopted = 0
        for task in store.tasks(everything):
            adopted += await self._settle(task, listed.get(task.content_hash, []), notes)
        freed = [
            store.resubmit(task, now=now)
            for task in store.tasks(everything, statuses=(Status.UNCLEAR,))
            if task.error_code == ErrorCode.UNMATCHED and reason is None
        ]
        return self._view(
            main,
            clues,
            reason=reason,
            strays=strays,
            adopted=adopted,
            on_disk=len(on_disk),
            freed=len(freed),
            mended=mended,
            notes=notes,
            editions=tuple(plan.edition for plan in plans[1:]),
        )

    def _was_bought(self, task: Task, generations: list[Generation]) -> bool:
        """Whether a task that this state never saw accepted is at the provider all the same."""
        if task.status is Status.UNCLEAR:
            return task.error_code == ErrorCode.UNMATCHED
        attempt = self.store.attempt(task.external_task_id)
        is_unbought = task.status in (Status.PENDING, Status.FAILED) and not (attempt and attempt.generation_id)
        return is_unbought and any(g.external_task_id == task.external_task_id for g in generations)

    def _mend(self, main: Prepared) -> int:
        """Write rows anew that do not give their hash, where the manifest has what they should hold."""
        specs = {content_hash(w.spec, scope=main.scope): w.spec for w in main.plan.wanted()}
        store, mended = self.store, 0
        with store.transaction():
            for task in store.tasks(Selection(job=main.job, scope=main.scope, orphaned=True)):
                if is_intact(task):
                    continue
                by_request = content_hash(task, scope=task.scope)  # the hash itself may be what was damaged
                content = task.content_hash if task.content_hash in specs else by_request
                if content in specs and (content == task.content_hash or not store.known([content])):
                    store.mend(task, specs[content], content)
                    mended += 1
        return mended

    async def _settle(self, task: Task, generations: list[Generation], notes: list[str]) -> int:
        """Tie a task to its generation, and write down what became of that. Returns how many were tied."""
        store, now = self.store, self.clock.now()
        ours = [g for g in generations if g.external_task_id == task.external_task_id]
        if len(ours) > 1:
            ids = ", ".join(g.id for g in ours)
            notes.append(f"{task.name}: the provider shows {len(ours)} generations under one id: {ids}")
        with store.transaction():
            for g in generations:
                if g not in ours and g.external_task_id:
                    before = used_by(g, account=self.endpoint.fingerprint)
                    status = _STATUS.get(g.status, Status.SUBMITTED)
                    store.remember(task, before, g.id, status=status, at=iso(g.created_at or now))
        if task.status not in (Status.SUBMITTING, Status.UNCLEAR):
            return 0
        found = ours[0] if ours else None
        if found is None and task.status is Status.SUBMITTING:
            found = await self._find(task.external_task_id, says_absent=False)
        if found is None:
            return 0
        accepted_at, ended_at = found.created_at or now, found.updated_at or now
        task = store.accepted(task, found, request_id=None, how="recovered", now=accepted_at)
        match found.status:
            case GenerationStatus.PROCESSING:
                store.processing(task, now=now)
            case GenerationStatus.SUCCEEDED:
                store.succeeded(task, found, now=ended_at)
            case GenerationStatus.FAILED:
                store.failed(task, failure=retry.failure(found.message), bought=True, now=ended_at)
        return 1

    def _view(
        self,
        main: Prepared,
        clues: _Clues,
        *,
        strays: list[Generation],
        reason: str | None,
        notes: list[str],
        **counted: int | tuple[str, ...],
    ) -> RecoverView:
        selection = Selection(job=main.job, scope=main.scope)
        unclear = self.store.tasks(selection, statuses=(Status.UNCLEAR,))
        counts = self.store.counts(selection)
        shown = tuple(
            StrayGeneration(
                generation_id=g.id,
                status=g.raw_status or g.status.value,
                created_at=iso(g.created_at) if g.created_at else None,
                external_task_id=g.external_task_id,
            )
            for g in sorted(strays, key=lambda g: g.created_at or 0.0)
        )
        view = RecoverView(
            job=main.job,
            provider=main.scope,
            simulated=self.endpoint.is_simulated,
            edition=main.edition,
            listed=len(clues.listed.generations) if clues.listed.is_supported else None,
            known=clues.known,
            counts=counts,
            unclear=tuple(task.name for task in unclear),
            reason=reason,
            strays=shown,
            notes=tuple(notes),
            **counted,  # type: ignore[arg-type]
        )
        return replace(view, next=tuple(_next(view, main)))


_STATUS = {
    GenerationStatus.PROCESSING: Status.PROCESSING,
    GenerationStatus.SUCCEEDED: Status.SUCCEEDED,
    GenerationStatus.FAILED: Status.FAILED,
}


def _sent_elsewhere(root: Path, folder: Folder) -> Iterator[str]:
    """Ids that other jobs below the same output root sent: jobs whose names begin alike share the ids' beginning."""
    for path in root.iterdir() if root.is_dir() else ():
        if path.is_dir() and path != folder.path:
            yield from Folder(root, path.name).receipts.read()


def _known(main: Prepared) -> set[str]:
    return {task.content_hash for task in main.known()}


def _refuse_nothing(main: Prepared, clues: _Clues) -> None:
    """Raise `UsageError` where there is nothing to rebuild a state from."""
    listed = clues.listed
    if listed.gap is None and not listed.generations and not clues.remembered and not clues.known:
        raise UsageError(
            f"there is nothing to recover: the list of {main.scope} is empty, and {clues.folder.path} has neither"
            " receipts nor clips; nothing was written",
            hint=f"if that is the right account, nothing was ever bought:  {command('run', str(main.manifest.path))}",
        )


def _next(view: RecoverView, main: Prepared) -> Iterator[str]:
    if view.unclear and view.strays:
        task = view.unclear[0] if len(view.unclear) == 1 else "TASK"
        yield command("resolve", task, "--adopt", view.strays[0].generation_id)
        yield command("recover", str(main.manifest.path))
    elif view.unclear:
        yield f"{command('resolve', view.unclear[0])} --adopt TASK_ID | --resubmit | --drop"
    if view.counts.get(Status.PENDING, 0):
        yield command("run", str(main.manifest.path))
    elif any(view.counts.get(status, 0) for status in (*IN_FLIGHT, Status.SUCCEEDED)):
        yield command("collect", main.job)
    if not view.unclear and view.counts.get(Status.FAILED, 0):
        yield command("retry", main.job, "--failed")
