"""The loop of a run: first what is already in flight, then claim as the limit allows, until done or stopped."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from batcher.errors import BatcherError, exhausted
from batcher.events import EventKind, Outcome
from batcher.policy import budget as budgets
from batcher.runner import room as rooms
from batcher.runner.look import prove
from batcher.runner.session import Stop, Walking
from batcher.runner.submit import inherited
from batcher.runner.walk import walk
from batcher.runner.watch import watch
from batcher.tasks import Status
from batcher.text import command
from batcher.times import iso, unix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import TaskGroup

    from batcher.runner.session import Session
    from batcher.state.selection import Selection
    from batcher.tasks import Asset, Task

IDLE_S = 60.0
"""The claim loop looks around at least this often; so does the heartbeat."""


async def run(s: Session) -> None:
    """Work until done, stopped or cancelled. What happened is in the state, the events and `s`.

    A task's trouble raises nothing. Trouble with the state or the disk stops the run and is kept as its stop.
    """
    s.slots.total_tokens = s.options.downloads
    try:
        with s.store.grouped():
            async with anyio.create_task_group() as group:
                s.whole = group.cancel_scope
                group.start_soon(_heartbeat, s)
                group.start_soon(_watched, s)
                if s.hints is not None:
                    group.start_soon(s.hints, s.hint)
                if s.options.deadline_s is not None:
                    group.start_soon(_deadline, s, s.options.deadline_s)
                await _Loop(s, group).run()
                group.cancel_scope.cancel()
    finally:
        s.whole = None
        with suppress(BatcherError):  # the reason is already told: the state or the disk stopped the run
            s.store.polled(s.looks)
            s.store.save_learnt(s.account.scope, limit=s.limit.learnt, durations=s.durations, now=s.clock.now())


async def _deadline(s: Session, seconds: float) -> None:
    await anyio.sleep(seconds)
    reason, hint = "the deadline is over", "run it again"
    s.halt(Stop(outcome=Outcome.DEADLINE, exit_code=75, reason=reason, hint=hint, leaves=True))


async def _heartbeat(s: Session) -> None:
    while True:
        await anyio.sleep(IDLE_S)
        s.tell(EventKind.HEARTBEAT, counts=s.store.counts(s.selection))


@contextmanager
def _guarded(s: Session, tell_defect: Callable[[Exception], None]) -> Iterator[None]:
    """Trouble with the state, the disk or the machine stops the run; a defect of ours takes nothing else with it."""
    try:
        yield
    except BatcherError as exc:
        s.halt_for(exc)
    except Exception as exc:  # noqa: BLE001 - see above
        if error := exhausted(exc):
            s.halt_for(error)
        else:
            tell_defect(exc)


async def _watched(s: Session) -> None:
    def look_singly(exc: Exception) -> None:
        s.waiting.set_listed(is_listed=False)
        message = f"a defect of batcher ended the list calls ({type(exc).__name__}); looking singly"
        s.tell(EventKind.WARNING, message=message)

    with _guarded(s, look_singly):
        await watch(s)


class _Loop:
    """Claims and starts walks; nothing else in the run starts one."""

    def __init__(self, s: Session, group: TaskGroup) -> None:
        self.s = s
        self.group = group
        self.canaries: list[int] = []
        self.looked_for_missing = False

    async def run(self) -> None:
        s = self.s
        try:
            chosen = s.selection.ids or ()
            left = [t for t in s.store.open_tasks(s.account.scope) if not s.options.alone or t.id in chosen]
            for task in left:
                if task.status is Status.SUBMITTING:
                    inherited(s, task)  # a damaged row stops the run before anything is claimed
            for task in left:
                self._start(task, is_ours=False)
            while s.stop is None and not await self._turn():
                pass
        except BatcherError as exc:
            s.halt_for(exc)
        await self._drain()

    async def _turn(self) -> bool:
        """One round: claim what there is room for, then wait until something changes. True when all is done."""
        s = self.s
        change = s.wake
        await s.store.durable()  # what nobody waits for, as a learnt limit
        if s.options.buys and not s.account.used and self._has_control():
            await prove(s)
        room, now = self._room(), s.clock.now()
        ready = s.store.ready(self._claimable(), now=now, limit=room) if room > 0 else []
        for task in ready:
            if not self._claim(task):
                break
        await self._look_for_missing()
        if s.stop is not None:
            return False
        pending, due = s.store.waiting(s.selection) if s.may_claim else (0, None)
        if not pending and self._only_waits_for_overdue():
            return True
        if pending:
            rooms.call_roll(s)
        if not s.walking and not ready and room <= 0:
            return True  # what holds the slots is nobody's in this run: --submit-only, a defect, another key
        with anyio.move_on_after(self._patience(due, now)):
            await change.wait()
        return False

    def _has_control(self) -> bool:
        return self.s.store.control(self.s.account.scope, self.s.account.key_fingerprint) is not None

    def _room(self) -> int:
        """How many more may be claimed now."""
        s = self.s
        if not s.may_claim or s.is_in_the_dark:
            return 0
        room = rooms.room(s)
        if not s.account.used:
            room = min(room, 1 - rooms.held(s))  # the canary of a new account goes alone
        if s.options.limit is not None:
            room = min(room, s.options.limit - s.tally["claimed"])
        if s.options.canary:
            room = min(room, self._canary_room())
        return room

    def _canary_room(self) -> int:
        """The first N go to their end; then, if none failed, there is no bound."""
        s = self.s
        if missing := self._missing_canaries():
            return missing
        canaries = [s.store.task(task_id) for task_id in self.canaries]
        failed = [task.name for task in canaries if task.overdue]  # nobody knows whether these will ever end
        if not failed and any(task.id in s.walking for task in canaries):
            return 0
        failed += [task.name for task in canaries if task.status in (Status.FAILED, Status.UNCLEAR)]
        if failed:
            hint = f"{command('show', failed[0])}  tells why; run again without --canary if the others may go"
            reason = f"a canary failed: {', '.join(failed)}"
            s.halt(Stop(outcome=Outcome.FAILED, exit_code=1, reason=reason, hint=hint))
            return 0
        return s.limit.value

    def _claimable(self) -> Selection:
        """The selection; only canaries, where one that was refused for a while has not had its turn yet."""
        s = self.s
        waiting = tuple(i for i in self.canaries if s.store.task(i).status is Status.PENDING)
        return replace(s.selection, ids=waiting) if waiting else s.selection

    def _missing_canaries(self) -> int:
        """How many more are to go first. One that is held in doubt waits for others, so it is none."""
        s = self.s
        return max(0, s.options.canary - len([task_id for task_id in self.canaries if task_id not in s.holding]))

    def _claim(self, task: Task) -> bool:
        s = self.s
        reason = self._over_budget(task)
        if reason is not None:
            how = " (--max-usd)" if "max_usd is" in reason else ""
            s.halt(Stop(outcome=Outcome.BUDGET, exit_code=3, reason=reason, hint=f"raise it{how} and run again"))
            return False
        task = s.store.claim(task, account=s.account.key_fingerprint, now=s.clock.now())
        s.tally["claimed"] += 1
        s.sending.add(task.id)
        if self._missing_canaries():
            self.canaries.append(task.id)
        self._start(task, is_ours=True)
        return True

    def _over_budget(self, task: Task) -> str | None:
        s = self.s
        if s.options.budget == budgets.Budget():
            return None
        day = iso(s.clock.now())[:10]
        spent = s.store.spent(job=task.job, edition=task.edition, scope=task.scope, day=day)
        return budgets.exceeded(s.options.budget, spent, price_usd=task.cost_usd or 0.0)

    def _start(self, task: Task, *, is_ours: bool) -> None:
        s = self.s
        s.walking[task.id] = Walking(task=task, status=task.status, since=s.clock.monotonic(), look_at=None)
        self.group.start_soon(self._walk, task, is_ours)

    async def _walk(self, task: Task, is_ours: bool) -> None:  # noqa: FBT001 - a task group passes by position
        s = self.s

        def leave_it(exc: Exception) -> None:
            s.tally["defects"] += 1
            s.tell(
                EventKind.WARNING,
                task,
                message=f"a defect of batcher stopped {task.name} ({type(exc).__name__}); it stays {task.status},"
                " nothing is resubmitted",
            )

        try:
            with _guarded(s, leave_it):
                await s.store.durable()  # the claim: the walks that begin together share its commit
                if is_ours:
                    s.tell(EventKind.SUBMIT, task)
                await walk(s, task, is_ours=is_ours)
        finally:
            self._forget(task)
            self._count_failures()
            s.nudge()

    def _forget(self, task: Task) -> None:
        """A walk is over: nothing of it stays in memory, however many follow."""
        s = self.s
        s.walking.pop(task.id, None)
        s.waiting.early.discard(task.external_task_id)
        for tasks in (s.looked_late, s.sending):
            tasks.discard(task.id)
        if looks := s.looks.pop(task.external_task_id, 0):
            with suppress(BatcherError):  # a statistic; whoever writes what matters tells of the trouble
                s.store.polled({task.external_task_id: looks})

    def _count_failures(self) -> None:
        s = self.s
        most = 0 if s.options.fail_fast else s.options.max_failures
        if most is not None and s.tally["failed"] > most and s.stop is None:
            reason = f"{s.tally['failed']} failed, as many as allowed"
            hint = f"{command('status', '--failed')}  tells why; then run again, or raise --max-failures"
            s.halt(Stop(outcome=Outcome.FAILED, exit_code=1, reason=reason, hint=hint))

    async def _look_for_missing(self) -> None:
        """Clips that were deleted from the disk come back: one folder scan, after the first submissions."""
        s = self.s
        if self.looked_for_missing:
            return
        self.looked_for_missing = True
        clips: dict[str, list[tuple[Task, Asset]]] = {}
        for task, video in s.store.videos(s.selection):
            clips.setdefault(task.job, []).append((task, video))
        for pairs in clips.values():
            gone = await s.folder(pairs[0][0]).missing(video for _, video in pairs)
            lost = {video.task_id for video in gone}
            for task, _ in pairs:
                if task.id in lost:
                    await self._bring_back(task)

    async def _bring_back(self, task: Task) -> None:
        s = self.s
        if found := await s.folder(task).adopt(task):  # moved with its folder, or written under its other name
            s.store.refound(task, found)
            await s.store.durable()
            return
        s.tell(EventKind.WARNING, task, message=f"{task.name}: its file is gone from disk, fetching it again")
        self._start(s.store.missing(task, now=s.clock.now()), is_ours=False)

    def _only_waits_for_overdue(self) -> bool:
        """Whether nothing is left that is worth waiting for. An overdue task gets one look a run."""
        s = self.s
        return all(task_id in s.looked_late and s.store.task(task_id).overdue for task_id in s.walking)

    def _patience(self, due: str | None, now: float) -> float:
        """Seconds until the next resting task may go. One that may go already waits for room, which wakes us."""
        if not due or due <= iso(now):
            return IDLE_S
        return min(IDLE_S, max(0.05, unix(due) - now))

    async def _drain(self) -> None:
        """Wait for the walks that are under way: all of them, or when leaving, those that finish by themselves."""
        s = self.s
        while s.walking:
            change = s.wake
            if not s.is_leaving and self._only_waits_for_overdue():
                s.leave()  # which wakes us: once
            with anyio.move_on_after(IDLE_S):
                await change.wait()
