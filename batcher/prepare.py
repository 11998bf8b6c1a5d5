"""From a manifest and the state to what a run will do: editions, what is new, what is orphaned, what it may cost.

`prepare` only reads. `commit` writes the plan down: namespace, tasks, job; after it nothing can be lost any more.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.bill import Bill, bill_of, is_chosen, picked, summed
from batcher.errors import StateError, UsageError
from batcher.identity import content_hash, derive_namespace
from batcher.manifest import Problems
from batcher.prices import Prices
from batcher.recall import adopt_from_disk, catch_up, sent_before
from batcher.state.plan import CHUNK, Plan, Wanted
from batcher.state.rows import Account, Job
from batcher.state.selection import Selection
from batcher.tasks import IN_FLIGHT, Status

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from batcher.assets import Folder
    from batcher.choices import Choices
    from batcher.environment import Endpoint, Environment
    from batcher.manifest import Manifest
    from batcher.state.planning import Used
    from batcher.state.queries import Queries
    from batcher.state.rows import Line
    from batcher.state.store import Store
    from batcher.tasks import Task, TaskSpec

SIMULATED = "-simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One manifest, held against the state. Close it."""

    manifest: Manifest
    endpoint: Endpoint
    edition: str
    unfinished_edition: bool
    """The edition is an earlier one that is finished first, as it was frozen: the manifest adds nothing to it."""
    state: Queries
    plan: Plan
    """What the manifest wants; nothing for an unfinished edition."""
    renamed: Mapping[str, Task]
    """New content hash to the same request under another job's name (decisions, 7)."""
    prices: Prices = field(default_factory=Prices)
    """What is new was priced by these, and what waits without a price is."""
    warnings: tuple[str, ...] = ()
    """What the manifest may not mean as it says it."""

    @property
    def job(self) -> str:
        return self.manifest.job

    @property
    def scope(self) -> str:
        return self.endpoint.scope

    @property
    def selection(self) -> Selection:
        return Selection(job=self.job, edition=self.edition, scope=self.scope)

    def close(self) -> None:
        """Give back the room that the plan took."""
        self.plan.close()

    def new(self, limit: int = -1) -> list[Wanted]:
        """What the state does not know."""
        return list(self.plan.wanted(new=True, limit=limit))

    def known(self, *statuses: Status, limit: int = -1) -> list[Task]:
        """What it knows, all of it or in these statuses."""
        if self.unfinished_edition:
            return self.state.tasks(self.selection, statuses=statuses, limit=None if limit < 0 else limit)
        return list(self.plan.known(*statuses, limit=limit))

    def counts(self) -> dict[str, int]:
        """How many of the known ones have which status."""
        return self.state.counts(self.selection) if self.unfinished_edition else self.plan.counts()

    def orphans(self, limit: int = -1) -> list[Task]:
        """Tasks of this edition that the manifest no longer names."""
        return [] if self.unfinished_edition else list(self.plan.orphans(limit=limit))

    def orphans_size(self) -> int:
        """How many these are."""
        return 0 if self.unfinished_edition else self.plan.orphans_size()

    def bill(self, choices: Choices | None = None) -> Bill:
        """What a run would submit: the new ones and those that wait, as far as chosen."""
        if self.unfinished_edition:
            return bill_of(self.state, self.selection, choices, self.prices)
        return summed(self.lines(choices), self.prices)

    def lines(self, choices: Choices | None = None) -> Counter[Line]:
        """The bill line by line, which reads every task that waits: how many of which class, at which price."""
        term, values, limit = picked(choices)
        if self.unfinished_edition:
            return self.state.priced(self.selection, term, values, limit=limit)
        return self.plan.prices(term, values, limit=limit)

    def refuse_empty_choice(self, choices: Choices) -> None:
        """Raise `UsageError` where `-s` names nothing: a typing mistake, as a rule."""
        plain = [s for s in choices.include if not s.startswith(("status:", "id:"))]
        if (
            not plain
            or len(plain) < len(choices.include)
            or any(is_chosen(n, tuple(plain), ()) for n in self._names())
        ):
            return
        first = next(self._names(), None)
        number = self.plan.size or sum(self.counts().values())
        raise UsageError(
            f"-s {' -s '.join(plain)} matches none of the {number} tasks of {self.job}",
            hint=f"names look like {first}; globs are allowed: -s '{first.split('-')[0]}*'" if first else None,
        )

    def _names(self) -> Iterator[str]:
        """What the tasks are called, in the manifest and in the state."""
        yield from self.plan.names()
        yield from (task.name for task in self.known())

    @property
    def in_flight(self) -> int:
        counts = self.counts()
        return sum(counts.get(status, 0) for status in (*IN_FLIGHT, Status.SUCCEEDED))


def folder_name(job: str, *, simulated: bool) -> str:
    """The job's folder below the output root. Simulated and paid clips never share one."""
    return f"{job}{SIMULATED}" if simulated else job


def prepare(
    manifest: Manifest,
    *,
    endpoint: Endpoint,
    state: Queries,
    now: datetime,
    edition: str | None = None,
    prices: Prices | None = None,
) -> Prepared:
    """Expand the manifest and hold it against the state, which may be empty (`Queries.empty`).

    What is new is priced by `prices`, or by the table of this version.

    Raises `ManifestError` with everything that is wrong. Sends nothing, writes nothing.
    """
    edition, unfinished = _edition(manifest, endpoint.scope, state, now=now, asked=edition)
    problems = Problems()
    plan = Plan(state, job=manifest.job, edition=edition, scope=endpoint.scope)
    try:
        if not unfinished:  # it is finished as it was frozen; what was edited since belongs to the next one
            folder = folder_name(manifest.job, simulated=endpoint.is_simulated)
            specs = manifest.expand(edition=edition, problems=problems)
            plan.extend(_wanted(specs, prices or Prices(), job=manifest.job, folder=folder))
        return Prepared(
            manifest=manifest,
            endpoint=endpoint,
            edition=edition,
            unfinished_edition=unfinished,
            state=state,
            plan=plan,
            prices=prices or Prices(),
            renamed=_renamed(plan, manifest, state),
            warnings=tuple(dict.fromkeys(p.message for p in (*manifest.warnings, *problems))),
        )
    except BaseException:
        plan.close()
        raise


def _wanted(specs: Iterable[TaskSpec], prices: Prices, *, job: str, folder: str) -> Iterator[Wanted]:
    for spec in specs:
        price = prices.of(spec.request)
        yield Wanted(
            spec=spec,
            output=spec.output if folder == job else folder + spec.output.removeprefix(job),
            price_usd=price.usd if price else None,
            price_is_estimate=price.is_estimate if price else True,
        )


def _edition(manifest: Manifest, scope: str, state: Queries, *, now: datetime, asked: str | None) -> tuple[str, bool]:
    """The edition to work on: the one asked for, else the newest unfinished one, else today's."""
    if asked is not None:
        return asked, False
    rendered = manifest.render_edition(now)
    for edition, open_tasks in state.editions(job=manifest.job, scope=scope) if rendered else ():
        if open_tasks and edition:
            return edition, edition != rendered
    return rendered, False


def _renamed(plan: Plan, manifest: Manifest, state: Queries) -> dict[str, Task]:
    """New tasks that a former job of this manifest already has: the job or its file was renamed."""
    former = [
        j.job
        for j in state.jobs()
        if j.scope == plan.scope and j.job != plan.job and _may_be(j.manifest, manifest.path)
    ]
    for job in former:
        found: dict[str, Task] = {}
        new = plan.wanted(new=True)
        while part := list(islice(new, CHUNK)):
            old_hashes = {
                content_hash(replace(wanted.spec, job=job), scope=plan.scope): content_hash(
                    wanted.spec, scope=plan.scope
                )
                for wanted in part
            }
            found |= {old_hashes[old]: task for old, task in state.known(list(old_hashes)).items()}
        if found:
            return found
    return {}


def _may_be(known_as: str | None, path: Path) -> bool:
    """Whether a job's manifest is the file at `path`: typed differently, or no longer where it was."""
    return known_as is not None and (Path(known_as).absolute() == path.absolute() or not Path(known_as).exists())


def refuse_rename(prepared: Prepared) -> None:
    """Raise `UsageError` where a renamed job would buy again what it already has."""
    if prepared.renamed:
        task = next(iter(prepared.renamed.values()))
        raise UsageError(
            f"{len(prepared.renamed)} tasks of {prepared.job} are the same requests as those of {task.job}, as this"
            " manifest's job was called before; nothing was sent",
            hint="add --adopt-orphans to take the old ones over, or --buy-again to pay for them once more",
        )


def open_account(
    store: Store, endpoint: Endpoint, folder: Folder, environment: Environment, *, job: str, now: float
) -> tuple[Account, list[str]]:
    """The account's row, its namespace found or derived and stored in both places. Returns warnings with it.

    The stored namespace wins over a new key or setting, so that ids never change under paid clips.
    """
    warnings = []
    if store.lies_on:
        warnings.append(
            f"{store.path} is on a network folder ({store.lies_on}): keep it on a local disk (--state), as the lock"
            " that allows one run at a time may not reach other machines there"
        )
    account = store.account(endpoint.scope, endpoint.fingerprint)
    stored = account or store.account(endpoint.scope)
    kept = folder.namespaces().get(endpoint.scope)
    setting = environment.namespace()
    if stored is not None and account is None:
        warnings.append(f"this is a new key for {endpoint.scope}; ids go on under the namespace of the old one")
    namespace = kept or (stored.namespace if stored else None) or setting or derive_namespace(endpoint.key)
    if setting is not None and setting != namespace:
        warnings.append("BATCHER_NAMESPACE differs from the stored namespace, which wins")
    if account is None:
        account = Account(
            scope=endpoint.scope,
            key_fingerprint=endpoint.fingerprint,
            base_url=endpoint.base_url or "",
            namespace=stored.namespace if stored else namespace,
        )
    if account.namespace != namespace:
        warnings.append(f"{folder.path.name} goes on under its own namespace, not the one of {store.path.name}")
    store.save_account(account, now=now)
    if kept is None:
        folder.store_namespace(job=job, scope=endpoint.scope, namespace=namespace)
    return account, warnings


async def commit(
    prepared: Prepared,
    store: Store,
    folder: Folder,
    account: Account,
    *,
    root: Path,
    now: float,
    used: Mapping[str, Used] | None = None,
    unclear: str | None = None,
) -> list[Task]:
    """Write the plan into the state. Returns tasks whose clips were adopted from the disk.

    What a receipt or a sidecar names was submitted before, whatever this state knows (it may be new, or an old
    backup): such tasks start in `submitting`, and their whole clips on disk are adopted at once.
    """
    manifest, plan = prepared.manifest, prepared.plan
    has_history = bool(store.editions(job=prepared.job, scope=prepared.scope))
    used = await sent_before(folder, has_history=has_history) if used is None else used
    remembered = folder.receipts.read() if prepared.renamed else {}
    for content, task in prepared.renamed.items():
        sent = store.attempt(task.external_task_id)
        if sent and task.external_task_id not in remembered:  # the new folder must know what the old one does
            await folder.receipts.append(
                task.external_task_id, content, post=sent.posts, account=account.key_fingerprint, now=now
            )
    with store.transaction():
        store.save_job(
            Job(
                job=prepared.job,
                scope=prepared.scope,
                root=stored_root(root, store.path),
                folder=folder_name(prepared.job, simulated=prepared.endpoint.is_simulated),
                manifest=str(manifest.path),
                manifest_sha256=manifest.sha256,
                settings=settings_of(manifest),
            ),
            now=now,
        )
        for content, task in prepared.renamed.items():
            store.take_over(task, job=prepared.job, content=content)
            plan.found(content, task.id)
        store.price(prepared.selection, prepared.prices.own)
        if not prepared.unfinished_edition:
            store.refresh(plan)
        store.add(
            plan,
            namespace=folder.namespaces().get(prepared.scope, account.namespace),
            attempts=manifest.settings.attempts,
            used=used,
            unclear=unclear,
            now=now,
        )
        catch_up(store, store.known(list(used)).values(), used, now=now, among=prepared.selection)
    doubtful = store.tasks(prepared.selection, statuses=(Status.SUBMITTING,))
    return await adopt_from_disk(store, folder, doubtful, now=now)


def stored_root(root: Path, state_path: Path) -> str:
    """The output root as the state keeps it: relative to the state's folder where it lies below it."""
    root, base = root.absolute(), state_path.absolute().parent
    return root.relative_to(base).as_posix() if root.is_relative_to(base) else root.as_posix()


def root_of(job: Job, state_path: Path) -> Path:
    return (state_path.absolute().parent / job.root).absolute()


def check_place(folder: Folder, job: Job, state_path: Path) -> None:
    """Raise `StateError` for a folder in which a state that may be a stranger's has no business.

    Away from the state's own folder only a place is taken that says itself that we worked there before.
    """
    home = state_path.absolute().parent
    if not folder.path.resolve().is_relative_to(home.resolve()) and job.scope not in folder.namespaces():
        root = shlex.quote(str(root_of(job, state_path)))
        raise StateError(
            f"{state_path} keeps the clips of {job.job} in {folder.path}, where batcher never worked",
            hint=f"if they belong there, run the manifest again with  -o {root}  (nothing is paid twice);"
            " else do not use this state file",
        )


def settings_of(manifest: Manifest) -> dict[str, object]:
    """What `collect` and `retry` need of a manifest when it is not at hand."""
    run, budget = manifest.settings, manifest.budget
    return {
        "concurrency": run.concurrency,
        "timeout_s": run.timeout_s,
        "quiet_window_s": run.quiet_window_s,
        "max_usd": budget.max_usd,
        "max_usd_per_day": budget.max_usd_per_day,
        "max_tasks": budget.max_tasks,
    }
