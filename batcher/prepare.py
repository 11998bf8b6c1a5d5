"""From a manifest and the state to what a run will do: editions, what is new, what is orphaned, what it may cost.

`prepare` only reads. `commit` writes the plan down: namespace, tasks, job; after it nothing can be lost any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.errors import UsageError
from batcher.identity import content_hash, derive_namespace
from batcher.manifest import Problems
from batcher.prices import Prices
from batcher.recall import adopt_from_disk, catch_up, sent_before
from batcher.state.planning import Wanted
from batcher.state.queries import Selection
from batcher.state.rows import Account, Job
from batcher.tasks import IN_FLIGHT, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batcher.assets import Folder
    from batcher.choices import Choices
    from batcher.environment import Endpoint, Environment
    from batcher.manifest import Manifest
    from batcher.state.planning import Used
    from batcher.state.queries import Queries
    from batcher.state.store import Store
    from batcher.tasks import Task

SIMULATED = "-simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One manifest, held against the state."""

    manifest: Manifest
    endpoint: Endpoint
    edition: str
    unfinished_edition: bool
    """The edition is an earlier one that is finished first."""
    wanted: tuple[Wanted, ...]
    hashes: tuple[str, ...]
    """The content hash of each wanted task, in the same order."""
    known: Mapping[str, Task]
    orphans: tuple[Task, ...]
    """Tasks of this edition that the manifest no longer names."""
    renamed: Mapping[str, Task]
    """New content hash to the same request under another job's name (decisions, 7)."""
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

    def new(self) -> list[Wanted]:
        return [w for w, h in zip(self.wanted, self.hashes, strict=True) if h not in self.known]

    def by_status(self, *statuses: Status) -> list[Task]:
        return [task for task in self.known.values() if task.status in statuses]

    def to_buy(self, choices: Choices | None = None) -> list[float | None]:
        """The price of each task that a run would submit: the new ones and those that wait, as far as chosen."""
        include, exclude = (choices.include, choices.exclude) if choices else ((), ())
        named = [(w.spec.name, w.price_usd) for w in self.new()]
        named += [(t.name, t.cost_usd) for t in self.by_status(Status.PENDING)]
        prices = [price for name, price in named if is_chosen(name, include, exclude)]
        return prices if choices is None or choices.limit is None else prices[: choices.limit]

    def refuse_empty_choice(self, choices: Choices) -> None:
        """Raise `UsageError` where `-s` names nothing: a typing mistake, as a rule."""
        names = [w.spec.name for w in self.wanted] + [t.name for t in self.known.values()]
        plain = [s for s in choices.include if not s.startswith(("status:", "id:"))]
        if plain and len(plain) == len(choices.include) and not any(is_chosen(n, tuple(plain), ()) for n in names):
            raise UsageError(
                f"-s {' -s '.join(plain)} matches none of the {len(names)} tasks of {self.job}",
                hint=f"names look like {names[0]}; globs are allowed: -s '{names[0].split('-')[0]}*'"
                if names
                else None,
            )

    def prices_are_estimates(self) -> bool:
        return any(w.price_is_estimate for w in self.new()) or any(
            t.cost_is_estimate for t in self.by_status(Status.PENDING)
        )

    @property
    def in_flight(self) -> int:
        return len(self.by_status(*IN_FLIGHT, Status.SUCCEEDED))


def is_chosen(name: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Whether selectors pick a task that waits. An id is unknown before it is planned, so `id:` may mean any."""

    def matches(selector: str) -> bool:
        kind, _, word = selector.partition(":")
        if kind == "status":
            return word == Status.PENDING
        return kind == "id" or fnmatchcase(name, selector.replace("[^", "[!"))

    picked = not include or any(map(matches, include))
    return picked and not any(not s.startswith("id:") and matches(s) for s in exclude)


def folder_name(job: str, *, simulated: bool) -> str:
    """The job's folder below the output root. Simulated and paid clips never share one."""
    return f"{job}{SIMULATED}" if simulated else job


def prepare(
    manifest: Manifest,
    *,
    endpoint: Endpoint,
    state: Queries | None,
    now: datetime,
    edition: str | None = None,
    prices: Prices | None = None,
) -> Prepared:
    """Expand the manifest and hold it against the state; `state` is None where there is none yet.

    What is new is priced by `prices`, or by the table of this version.

    Raises `ManifestError` with everything that is wrong. Sends nothing, writes nothing.
    """
    edition, unfinished = _edition(manifest, endpoint.scope, state, now=now, asked=edition)
    folder = folder_name(manifest.job, simulated=endpoint.is_simulated)
    wanted, hashes = [], []
    problems, prices = Problems(), prices or Prices()
    # An earlier edition is finished as it was frozen; what was edited since belongs to the next one.
    for spec in () if unfinished else manifest.expand(edition=edition, problems=problems):
        price = prices.of(spec.request)
        wanted.append(
            Wanted(
                spec=spec,
                output=folder + spec.output.removeprefix(manifest.job),
                price_usd=price.usd if price else None,
                price_is_estimate=price.is_estimate if price else True,
            )
        )
        hashes.append(content_hash(spec, scope=endpoint.scope))
    known = state.known(hashes) if state else {}
    if state and unfinished:
        frozen = state.tasks(Selection(job=manifest.job, edition=edition, scope=endpoint.scope))
        known = {task.content_hash: task for task in frozen}
    prepared = Prepared(
        manifest=manifest,
        endpoint=endpoint,
        edition=edition,
        unfinished_edition=unfinished,
        wanted=tuple(wanted),
        hashes=tuple(hashes),
        known=known,
        orphans=() if unfinished else _orphans(manifest.job, edition, endpoint.scope, state, set(hashes)),
        renamed={},
        warnings=tuple(dict.fromkeys(p.message for p in (*manifest.warnings, *problems))),
    )
    return replace(prepared, renamed=_renamed(prepared, state))


def _edition(
    manifest: Manifest, scope: str, state: Queries | None, *, now: datetime, asked: str | None
) -> tuple[str, bool]:
    """The edition to work on: the one asked for, else the newest unfinished one, else today's."""
    if asked is not None:
        return asked, False
    rendered = manifest.render_edition(now)
    for edition, open_tasks in state.editions(job=manifest.job, scope=scope) if state and rendered else ():
        if open_tasks and edition:
            return edition, edition != rendered
    return rendered, False


def _orphans(job: str, edition: str, scope: str, state: Queries | None, hashes: set[str]) -> tuple[Task, ...]:
    if state is None:
        return ()
    tasks = state.tasks(Selection(job=job, edition=edition, scope=scope, orphaned=True))
    return tuple(t for t in tasks if t.content_hash not in hashes and not t.take.startswith("r"))


def _renamed(prepared: Prepared, state: Queries | None) -> dict[str, Task]:
    """New tasks that a former job of this manifest already has: the job or its file was renamed."""
    if state is None or len(prepared.known) >= len(prepared.hashes):
        return {}
    former = [
        j.job
        for j in state.jobs()
        if j.scope == prepared.scope and j.job != prepared.job and _may_be(j.manifest, prepared.manifest.path)
    ]
    for job in former:
        old_hashes = {
            content_hash(replace(wanted.spec, job=job), scope=prepared.scope): new_hash
            for wanted, new_hash in zip(prepared.wanted, prepared.hashes, strict=True)
            if new_hash not in prepared.known
        }
        if found := state.known(list(old_hashes)):
            return {old_hashes[old]: task for old, task in found.items()}
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
    manifest = prepared.manifest
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
        added = store.add(
            (w for w, h in zip(prepared.wanted, prepared.hashes, strict=True) if h not in prepared.renamed),
            scope=prepared.scope,
            namespace=folder.namespaces().get(prepared.scope, account.namespace),
            attempts=manifest.settings.attempts,
            used=used,
            unclear=unclear,
            now=now,
        )
        if not prepared.unfinished_edition:
            store.refresh(
                {
                    h: (w.spec.name, w.spec.priority, w.spec.source)
                    for w, h in zip(prepared.wanted, prepared.hashes, strict=True)
                },
                job=prepared.job,
                edition=prepared.edition,
                scope=prepared.scope,
            )
        behind = catch_up(store, prepared.known.values(), used, now=now)
    recalled = {task.id: task for task in (*prepared.known.values(), *added, *behind)}
    doubtful = [task for task in recalled.values() if task.status is Status.SUBMITTING]
    return await adopt_from_disk(store, folder, doubtful, now=now)


def stored_root(root: Path, state_path: Path) -> str:
    """The output root as the state keeps it: relative to the state's folder where it lies below it."""
    root, base = root.absolute(), state_path.absolute().parent
    return root.relative_to(base).as_posix() if root.is_relative_to(base) else root.as_posix()


def root_of(job: Job, state_path: Path) -> Path:
    return (state_path.absolute().parent / job.root).absolute()


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
