"""A task's life: one coroutine that goes straight down. Resuming is entering it half-way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.assets import BrokenClipError
from batcher.catalog import class_of
from batcher.errors import DiskError
from batcher.events import EventKind
from batcher.fetch import FetchError, FetchFault
from batcher.generations import ASSET_LIFE_S, Generation, GenerationStatus, Look, RefusalKind, Sight
from batcher.policy import budget, retry
from batcher.policy import submission as protocol
from batcher.prices import usual_units
from batcher.runner import room
from batcher.runner.look import look, note_reach, stop_for
from batcher.runner.submit import fresh, inherited, submit
from batcher.runner.waiting import note_end, note_running, until_news
from batcher.tasks import ErrorCode, Status
from batcher.text import human_usd
from batcher.times import unix

if TYPE_CHECKING:
    from batcher.runner.session import Session
    from batcher.tasks import Task

DOWNLOAD_TRIES = 6
"""Tries to bring one clip home in one run. After that it stays `succeeded` and the next run goes on."""

MAX_WORDS = 10
"""So many words for a status that nobody knows are told in a run, each once."""


async def walk(s: Session, task: Task, *, is_ours: bool) -> Task:
    """Take a task as far as it goes now. `is_ours`: this run claimed it; else an earlier one left it so."""
    was = task.status
    if task.status is Status.UNCLEAR:
        task = await _look_once(s, task)
    if task.status is Status.SUBMITTING:
        task = await submit(s, task, fresh(s, task) if is_ours else inherited(s, task))
    if task.status in (Status.SUBMITTED, Status.PROCESSING) and not s.options.submit_only:
        task = await _wait(s, task)
    if task.status is Status.SUCCEEDED:
        task = await _download(s, task, is_url_fresh=was is not Status.SUCCEEDED)
    return task


async def _look_once(s: Session, task: Task) -> Task:
    """An unclear task gets one free look a run. Found, it is adopted; else it stays for a person."""
    seen = await look(s, task.external_task_id)
    known = protocol.Evidence(history=True, finds_ids=s.account.finds_ids)
    e = protocol.after_look(known, seen, external_task_id=task.external_task_id)
    if seen.generation is None or protocol.decide(e) is not protocol.Action.ACCEPT:
        return task
    task = s.store.accepted(task, seen.generation, request_id=None, how="found", now=s.clock.now())
    await s.store.durable()
    s.tell(EventKind.ADOPTED, task, how="found")
    return task


# ---- waiting for the provider -------------------------------------------------------------------------------


async def _wait(s: Session, task: Task) -> Task:
    """Follow the generation, by the list's word or by looks at the right moments, until it ends or the run leaves."""
    failures, pause = 0, None
    with s.waiting.entered(s, task) as waiter:
        while True:
            listed = generation = await until_news(s, waiter, pause_s=pause)
            if s.is_leaving:
                return task
            if generation is None:
                asked_at = s.clock.monotonic()
                seen = await _find(s, task)
                generation = seen.generation
                if generation is not None:
                    room.seen(s, task, generation, asked_at=asked_at)
            if generation is not None:
                failures, pause = 0, None
                task = await _advance(s, task, generation)
                if task.status not in (Status.SUBMITTED, Status.PROCESSING):
                    note_end(s, waiter, generation)
                    return task
                note_running(s, waiter)
            else:
                failures += 1
                pause = max(_retry_after(seen), retry.backoff_s(failures, rng=s.rng))
                if failures == 1:
                    trouble = "the provider does not know it" if seen.sight is Sight.ABSENT else "look failed"
                    s.tell(EventKind.WARNING, task, message=f"{task.name}: {trouble}, trying again: {seen.detail}")
            if listed is None or task.overdue:  # it becomes overdue by a look of its own, not by a list asked before
                task = await _flag_overdue(s, task)
            waiter.task = task


async def _find(s: Session, task: Task) -> Look:
    if task.generation_id is None:  # adopted from disk by a sidecar that did not say it
        seen = await look(s, task.external_task_id)
    else:
        s.looks[task.external_task_id] += 1
        seen = await s.provider.find(task.generation_id)
    note_reach(s, seen)
    if seen.refusal is not None and seen.refusal.kind is RefusalKind.KEY:
        stop_for(s, seen.refusal.kind, seen.refusal.message)
    if seen.generation is not None and seen.generation.external_task_id not in (None, task.external_task_id):
        # The right number over another customer's task: their clip is not ours, nor is their failure.
        return Look(sight=Sight.SILENT, detail="the answer is about another task")
    return seen


def _retry_after(seen: Look) -> float:
    return (seen.refusal.retry_after_s or 0.0) if seen.refusal else 0.0


async def _flag_overdue(s: Session, task: Task) -> Task:
    started = unix(task.submitted_at) if task.submitted_at else s.clock.now()
    if task.overdue:
        s.looked_late.add(task.id)
        s.nudge()  # the run may have waited for this look alone
        return task
    if s.clock.now() - started < s.options.timeout_s:
        return task
    task = s.store.overdue(task, now=s.clock.now())
    await s.store.durable()
    s.tell(EventKind.OVERDUE, task, after_s=round(s.clock.now() - started))
    s.nudge()
    return task


async def _advance(s: Session, task: Task, generation: Generation) -> Task:
    """What a look showed, into the state. A status never goes backwards."""
    now = s.clock.now()
    match generation.status:
        case GenerationStatus.PROCESSING if task.status is Status.SUBMITTED:
            task = s.store.processing(task, now=now)
            await s.store.durable()
            s.tell(EventKind.PROCESSING, task)
        case GenerationStatus.SUCCEEDED:
            _learn(s, task, generation)
            task = s.store.succeeded(task, generation, cost_usd=_settle(s, task, generation), now=now)
            await s.store.durable()
            s.tell(EventKind.SUCCEEDED, task)
            s.nudge()
        case GenerationStatus.FAILED:
            task = await _failed(s, task, generation)
            s.nudge()
        case GenerationStatus.UNKNOWN if generation.raw_status not in s.words and len(s.words) < MAX_WORDS:
            s.words.add(generation.raw_status)
            s.tell(
                EventKind.WARNING,
                task,
                message=f"the provider uses a status no document has, {generation.raw_status!r}; looking on",
            )
    return task


def _settle(s: Session, task: Task, generation: Generation) -> float | None:
    """The price to book in place of the reserved one, where the provider says that it took more; it is told once."""
    usual, told = usual_units(task.request), generation.units
    booked = task.cost_usd or 0.0
    settled = budget.settled_usd(booked, usual_units=usual, told_units=told)
    if (
        usual
        and told is not None
        and abs(told - usual) > budget.UNITS_SLACK
        and not s.tally[f"units {class_of(task.request)}"]
    ):
        s.tally[f"units {class_of(task.request)}"] += 1
        counts = f"counted as {human_usd(settled)}" + (f", not {human_usd(booked)}" if settled > booked else "")
        s.tell(
            EventKind.WARNING,
            task,
            message=f"{task.name}: the provider took {told:g} units where {usual:g} are usual for"
            f" {class_of(task.request)}; {counts} a clip",
        )
    if settled <= booked:
        return None
    s.cost_usd += settled - booked
    return settled


def _learn(s: Session, task: Task, generation: Generation) -> None:
    """The provider's own times tell how long it took; ours would count how late we looked."""
    if generation.created_at is not None and generation.updated_at is not None:
        s.learn(task, generation.updated_at - generation.created_at)
    elif task.submitted_at is not None:
        s.learn(task, s.clock.now() - unix(task.submitted_at))


async def _failed(s: Session, task: Task, generation: Generation) -> Task:
    failure = retry.failure(generation.message)
    _, code, reason = failure
    decision = retry.after_failure(reason, attempt=task.attempt, attempts=task.attempts_allowed, rng=s.rng)
    task = s.store.failed(task, failure=failure, bought=True, now=s.clock.now())
    if isinstance(decision, retry.BuyAgain):
        task = s.store.next_attempt(
            task,
            namespace=s.account.namespace,
            wait_s=decision.seconds,
            now=s.clock.now(),
        )
        await s.store.durable()
        s.tell(EventKind.RETRY, task, attempt=task.attempt, wait_s=round(decision.seconds, 1), reason=reason)
    else:
        await s.store.durable()
        s.tally["failed"] += 1
        s.tell(EventKind.FAILED, task, code=code, reason=reason)
    return task


# ---- bringing the clip home ---------------------------------------------------------------------------------


async def _download(s: Session, task: Task, *, is_url_fresh: bool) -> Task:
    """Fetch, check and publish the clip. It is paid for: what fails here is tried again, now and in later runs.

    `is_url_fresh`: the address in the state was told in this run.
    """
    attempt = s.store.attempt(task.external_task_id)
    url = attempt.asset_url if attempt and attempt.asset_url and "?" in attempt.asset_url else None
    trouble, wait = "", 0.0
    for failures in range(DOWNLOAD_TRIES):
        if s.is_leaving or (failures and not await s.sleep(max(wait, retry.backoff_s(failures, rng=s.rng)))):
            return task
        wait = 0.0
        if url is None:
            seen = await _find(s, task)
            url, trouble, gone = _url_of(s, task, seen)
            if gone:
                return await _lost(s, task, trouble)
            if url is None:
                wait = _retry_after(seen)
                continue
            is_url_fresh = True
        try:
            return await _save(s, task, url)
        except FetchError as exc:
            trouble, url = exc.message, None  # a fresh URL costs nothing, and may name another host
            if is_url_fresh and exc.fault in (FetchFault.FORBIDDEN_URL, FetchFault.TOO_LARGE):
                break
        except BrokenClipError as exc:
            trouble, url = str(exc), None
        except DiskError as exc:
            s.halt_for(exc)
            return task
    task = s.store.troubled(task, code=ErrorCode.ASSET, message=trouble)
    await s.store.durable()
    s.tell(EventKind.WARNING, task, message=f"{task.name} is finished but not here yet: {trouble}")
    return task


def _url_of(s: Session, task: Task, seen: Look) -> tuple[str | None, str, bool]:
    """A fresh URL, or what is wrong, and whether the clip is gone for good."""
    generation = seen.generation
    if generation is not None and generation.videos:
        return generation.videos[0].url, "", False
    finished = unix(task.finished_at) if task.finished_at else s.clock.now()
    is_past_life = s.clock.now() - finished > ASSET_LIFE_S
    if generation is not None:
        return None, "the provider shows no file for it", is_past_life
    return None, seen.detail or "the provider does not answer", is_past_life and seen.sight is Sight.ABSENT


async def _save(s: Session, task: Task, url: str) -> Task:
    async with s.slots:
        s.show(task, "downloading")
        s.tell(EventKind.DOWNLOAD, task)
        assets = await s.folder(task).save(task, url, fetch=s.fetch, now=s.clock.now)
    task = s.store.downloaded(task, assets, now=s.clock.now())
    await s.store.durable()
    video = assets[0]
    s.tally["downloaded"] += 1
    path = str(s.folder(task).shown(video.path))
    s.tell(
        EventKind.DONE,
        task,
        path=path,
        bytes=video.size_bytes,
        duration_s=video.duration_s,
        width=video.width,
        height=video.height,
    )
    return task


async def _lost(s: Session, task: Task, trouble: str) -> Task:
    """The provider has cleared the file: the one way in which a paid clip ends without one."""
    reason = f"{trouble}; its files live 30 days and these are over"
    if s.store.assets(task):
        s.tell(
            EventKind.WARNING,
            task,
            message=f"{task.name} was home, is gone from disk, and cannot come back: {reason}",
        )
        task = s.store.given_back(task, reason=reason, now=s.clock.now())
        await s.store.durable()
        return task
    expired = ErrorCode.EXPIRED
    task = s.store.failed(task, failure=(retry.FailureClass.ASSET, expired, reason), bought=True, now=s.clock.now())
    await s.store.durable()
    s.tally["failed"] += 1
    s.tell(EventKind.FAILED, task, code=expired, reason=reason)
    return task
