"""The thin caller of the submit protocol: performs what `policy.submission.decide` says, one action at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from batcher.errors import DiskError, StateError
from batcher.events import EventKind, Outcome
from batcher.generations import Fate, Generation, Posted, RefusalKind, Sight
from batcher.policy import retry
from batcher.policy import submission as protocol
from batcher.policy.submission import Action, Evidence
from batcher.runner import room
from batcher.runner.look import look, note_answer, note_reach, note_unreachable, prove, stop_for
from batcher.runner.session import Stop
from batcher.tasks import ErrorCode, Status
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.runner.session import Session
    from batcher.tasks import Task

RECORD_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries to write an acceptance down."""

HOLD_S = 60.0
"""A task that waits for a control looks around at least this often."""


def fresh(s: Session, task: Task) -> Evidence:
    """A task claimed just now: nothing of this walk was sent yet."""
    attempt = s.store.attempt(task.external_task_id)
    return protocol.fresh(posts=attempt.posts if attempt else 0, refuses_ids=s.account.refuses_ids)


def inherited(s: Session, task: Task) -> Evidence:
    """A task that another process left in `submitting`: its create call may have been made."""
    attempt = s.store.attempt(task.external_task_id)
    if attempt is None:
        raise StateError(
            f"{task.name} was being submitted under an id of which the state knows no attempt: its row was damaged,"
            " or edited by hand",
            hint="undo that, or restore a backup; nothing was sent for it",
        )
    return protocol.inherited(
        posts=attempt.posts,
        refuses_ids=s.account.refuses_ids,
        is_foreign=attempt.key_fingerprint not in ("", s.account.key_fingerprint),
    )


def with_controls(s: Session, e: Evidence) -> Evidence:
    """What this gateway was shown to be able to, in this run. Nothing needs it before the first look."""
    if not s.proof_tried and e.sight is None:
        return e
    proved = bool(s.account.finds_ids) if s.proof_tried else None
    has_control = proved is None and s.store.control(s.account.scope, s.account.key_fingerprint) is not None
    may_learn = proved is None and not has_control and s.may_learn
    return protocol.with_controls(e, proved=proved, has_control=has_control, may_learn=may_learn)


async def submit(s: Session, task: Task, evidence: Evidence) -> Task:
    """Walk a task on from `submitting`: to submitted, pending, failed or unclear.

    When the run leaves it may still be `submitting`; the next run goes on from there.
    """
    walk = _Submission(s, task, evidence)
    try:
        while walk.task.status is Status.SUBMITTING and not s.is_leaving and not walk.waits_for_a_run:
            await walk.step()
    finally:
        s.sending.discard(task.id)
        if walk.task.status is Status.SUBMITTING and not (walk.is_sending or walk.e.may_be_sent):
            walk.task = s.store.released(walk.task, reason="not sent", wait_s=0, refused=False, now=s.clock.now())
            await s.store.durable()
    return walk.task


class _Submission:
    """One submission's evidence and the actions on it."""

    def __init__(self, s: Session, task: Task, evidence: Evidence) -> None:
        self.s = s
        self.task = task
        self.e = evidence
        self.posted: Posted | None = None
        self.found: Generation | None = None
        self.failures = 0
        self.waits_for_a_run = False
        """The next step is another run's; this one leaves the row as it is."""
        self.is_sending = False
        """A create call is on its way, and the evidence knows nothing of it yet."""
        self.sent_at = 0.0
        """When it was last sent, monotonic seconds."""

    async def step(self) -> None:
        self.e = with_controls(self.s, self.e)
        action = protocol.decide(self.e)
        if action is not Action.HOLD:
            self.s.holding.discard(self.task.id)
        if self._is_for_another_run(action):
            self.waits_for_a_run = True
            return
        match action:
            case Action.POST:
                await self._post()
            case Action.BACK:
                await self._back()
            case Action.REST:
                await self._rest()
            case Action.LOOK:
                await self._look()
            case Action.HOLD:
                await self._hold()
            case Action.PROVE:
                self.e = protocol.after_proof(self.e, finds_ids=await prove(self.s))
            case Action.ACCEPT:
                await self._accept(how="found")
            case Action.BELIEVE | Action.GIVE_UP:
                await self._believe()
            case Action.PARK:
                await self._park()

    def _is_for_another_run(self, action: Action) -> bool:
        """What this run may not do: `collect` sends nothing, and one that is stopping sends nothing new."""
        s = self.s
        if action is Action.POST:
            # What was claimed before a budget ran out is inside it; any other stop sends nothing new.
            is_stopping = s.stop is not None and s.stop.outcome != Outcome.BUDGET
            return not s.options.buys or (is_stopping and not self.e.may_be_sent)
        return action is Action.PARK and self.e.finds_ids is None and not s.may_claim

    async def _post(self) -> None:
        s, task = self.s, self.task
        folder = s.folder(task)
        s.store.check_alive()
        folder.check_space(clips=1)
        if self.posted is not None or self.e.may_be_sent:
            s.store.count_post(task)
            await s.store.durable()  # before the receipt, which says its number
        intent = s.store.check_content(task)
        await folder.receipts.append(
            task.external_task_id,
            task.content_hash,
            post=intent.posts,
            account=s.account.key_fingerprint,
            now=s.clock.now(),
        )
        s.show(task, "submitting")
        if s.is_leaving:
            return  # from here to the call nothing awaits: once a run leaves, it sends nothing
        self.is_sending, self.posted, self.sent_at = True, None, s.clock.monotonic()
        with _shield(s):
            self.posted = await s.provider.create(task.request, external_task_id=task.external_task_id)
            s.sending.discard(task.id)
            self.e = protocol.after_post(self.e, self.posted)
            self.is_sending = False
            if self.posted.fate is Fate.ACCEPTED:
                self.found = self.posted.generation
                await self._accept(how="create")
        if self.posted is None:
            return  # cut by a second Ctrl-C: the next run finds out what became of it
        if self.posted.fate is not Fate.NOT_SENT:
            note_answer(s)
        if self.posted.fate is Fate.EXISTS and not s.account.refuses_ids:
            s.save_account(refuses_ids=True)

    async def _back(self) -> None:
        """Nothing was created: wait in place, so that a doubt about an earlier call stays with the row."""
        s, posted = self.s, self.posted
        if posted is not None and posted.refusal is not None:
            kind = posted.refusal.kind
            if kind in (RefusalKind.KEY, RefusalKind.FUNDS):
                stop_for(s, kind, posted.refusal.message)
                self.waits_for_a_run = True
                return
        else:
            note_unreachable(s, posted.detail if posted else "")
        self.failures += 1
        wait = retry.backoff_s(self.failures, rng=s.rng)
        s.tell(EventKind.BACK, self.task, reason=posted.detail if posted else "not sent", wait_s=round(wait, 1))
        s.show(self.task, "waiting", next_look_s=wait)
        if await s.sleep(wait):
            self.e = protocol.after_back(self.e)

    async def _rest(self) -> None:
        s = self.s
        window = s.quiet_window_s
        reason = self.posted.detail if self.posted else "an earlier run ended while it was submitting this"
        s.tell(EventKind.DOUBT, self.task, reason=reason, wait_s=window)
        s.show(self.task, "resting", next_look_s=window)
        if await s.sleep(window):
            self.e = protocol.after_rest(self.e)

    async def _hold(self) -> None:
        """Wait while another task may bring a control. This one keeps its row, and lends its place to the canary."""
        s = self.s
        s.show(self.task, "resting")
        if self.task.id not in s.holding:
            s.holding.add(self.task.id)
            s.nudge()
        change = s.wake
        if s.may_learn and s.store.control(s.account.scope, s.account.key_fingerprint) is None and not s.is_leaving:
            with anyio.move_on_after(HOLD_S):
                await change.wait()

    async def _look(self) -> None:
        s = self.s
        if self.e.sight is Sight.SILENT:
            self.failures += 1
            if not await s.sleep(retry.backoff_s(self.failures, rng=s.rng)):
                return
        seen = await look(s, self.task.external_task_id)
        note_reach(s, seen)
        if seen.refusal is not None and seen.refusal.kind in (RefusalKind.KEY, RefusalKind.FUNDS):
            stop_for(s, seen.refusal.kind, seen.refusal.message)
            self.waits_for_a_run = True
            return
        self.found = seen.generation
        self.e = protocol.after_look(self.e, seen, external_task_id=self.task.external_task_id)

    async def _accept(self, *, how: str) -> None:
        generation, s = self.found, self.s
        assert generation is not None
        self.task = await self._record(generation, how=how)
        s.refusals.pop(self.task.id, None)
        s.tally["submitted" if how == "create" else "adopted"] += 1
        room.accepted(s)
        s.nudge()
        s.cost_usd += (self.task.cost_usd or 0.0) if how == "create" else 0.0
        s.tell(EventKind.SUBMITTED if how == "create" else EventKind.ADOPTED, self.task, how=how)

    async def _record(self, generation: Generation, *, how: str) -> Task:
        """Write an acceptance down. A disk full, or a state locked, for a while must not cost the provider's id."""
        s = self.s
        request_id = self.posted.request_id if self.posted else None
        what = f"{self.task.name} was accepted as generation {generation.id}"
        for wait in RECORD_WAITS_S:
            try:
                task = s.store.accepted(self.task, generation, request_id=request_id, how=how, now=s.clock.now())
                await s.store.durable()
            except (DiskError, StateError) as exc:
                error = exc
                s.tell(EventKind.WARNING, self.task, message=f"{exc.message}; {what}: trying again to record it")
                await anyio.sleep(wait)
            else:
                return task
        by_hand = command("resolve", self.task.name, "--adopt", generation.id)
        raise type(error)(
            f"{error.message}; {what} and could not be recorded",
            hint=f"{error.hint}; should it end unclear:  {by_hand}",
        ) from error

    async def _believe(self) -> None:
        """Nothing was created, and that is known."""
        s, posted = self.s, self.posted
        refusal = posted.refusal if posted else None
        if refusal is None or self.e.fate is Fate.AMBIGUOUS:
            detail = posted.detail if posted else "no answer"
            message = f"not created after {self.e.rounds} tries: {detail}"
            await self._fail(retry.FailureClass.PROVIDER, ErrorCode.UNANSWERED, message)
            return
        s.refusals[self.task.id] += 1
        decision = retry.after_refusal(
            refusal.kind, refusals=s.refusals[self.task.id], retry_after_s=refusal.retry_after_s, rng=s.rng
        )
        match decision:
            case retry.Wait(seconds=seconds):
                room.refused(s, refusal, sent_at=self.sent_at)
                await self._release(f"{refusal.code}: {refusal.message}", seconds)
            case retry.StopRun(kind=kind):
                await self._release(f"{refusal.code}: {refusal.message}", 0.0)
                stop_for(s, kind, refusal.message)
            case retry.Fail(failure_class=failure_class):
                await self._fail(failure_class, refusal.code, refusal.message)

    async def _release(self, reason: str, wait_s: float) -> None:
        s = self.s
        self.task = s.store.released(self.task, reason=reason, wait_s=wait_s, refused=True, now=s.clock.now())
        await s.store.durable()
        s.tell(EventKind.BACK, self.task, reason=reason, wait_s=round(wait_s, 1))

    async def _fail(self, failure_class: retry.FailureClass, code: str, message: str) -> None:
        s = self.s
        self.task = s.store.failed(self.task, failure=(failure_class, code, message), bought=False, now=s.clock.now())
        await s.store.durable()
        s.refusals.pop(self.task.id, None)
        s.tally["failed"] += 1
        s.tell(EventKind.FAILED, self.task, code=code, reason=message)

    async def _park(self) -> None:
        s = self.s
        detail = self.posted.detail if self.posted else "an earlier run ended while it was submitting this"
        reason = f"{detail}; {s.provider.scope} neither found the id nor proved that it could"
        self.task = s.store.parked(self.task, reason=reason, now=s.clock.now())
        await s.store.durable()
        s.tally["unclear"] += 1
        s.tell(EventKind.UNCLEAR, self.task, reason=reason)
        if s.is_in_the_dark and not s.holding:
            s.halt(
                Stop(
                    outcome=Outcome.FAILED,
                    exit_code=1,
                    reason=f"{s.tally['unclear']} submissions ended unclear and none was accepted",
                    hint="look at the provider's own list, settle them with batcher resolve, then run again",
                )
            )


@contextmanager
def _shield(s: Session) -> Iterator[None]:
    """A create call in flight is finished and recorded even while the run is being cancelled.

    Its own deadline ends it (the API client's); a second Ctrl-C may cut it.
    """
    with anyio.CancelScope(shield=True) as scope:
        s.shields.add(scope)
        try:
            yield
        finally:
            s.shields.discard(scope)
