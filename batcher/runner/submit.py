"""The thin caller of the submit protocol: performs what `policy.submission.decide` says, one action at a time."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from batcher.errors import AuthenticationError, FundsError, UnavailableError
from batcher.events import EventKind
from batcher.generations import Fate, Generation, Look, Posted, RefusalKind, Sight
from batcher.policy import concurrency, retry
from batcher.policy import submission as protocol
from batcher.policy.submission import Action, Evidence
from batcher.tasks import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.runner.session import Session
    from batcher.tasks import Task

LIST_PAGES = 4
LIST_SIZE = 500
"""Where the direct look-up is not proved, the newest 2,000 generations are searched for our id."""

PROOF_WAITS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The canary's look-ups: how long visibility may lag before the gateway counts as unable to find ids."""

HOLD_S = 60.0
"""A task that waits for a control looks around at least this often."""

MAX_PROOFS = 3
"""Looks that fail prove nothing: in bad weather the controls are tried again, so many times a run."""

UNREACHABLE_S = 3600.0
"""A provider that cannot be reached for this long in the middle of a run ends it (exit 69), resumable."""

UNREACHABLE_AT_START_S = 30.0


def fresh(s: Session, task: Task) -> Evidence:
    """A task claimed just now: nothing of this walk was sent yet."""
    attempt = s.store.attempt(task.external_task_id)
    return _evidence(s, posts=max(0, attempt.posts - 1) if attempt else 0)


def inherited(s: Session, task: Task) -> Evidence:
    """A task that another process left in `submitting`: its create call may have been made."""
    attempt = s.store.attempt(task.external_task_id)
    return replace(_evidence(s, posts=attempt.posts if attempt else 1), doubt=True, history=True)


def _evidence(s: Session, *, posts: int) -> Evidence:
    return with_controls(s, Evidence(posts=posts, refuses_ids=s.account.refuses_ids))


def with_controls(s: Session, e: Evidence) -> Evidence:
    """The newest word on what this gateway can do. A control that failed in an earlier run is tried again."""
    if e.finds_ids or (e.finds_ids is False and s.proof_tried):
        return e
    finds = s.account.finds_ids if s.account.finds_ids or s.proof_tried else None
    if finds is not None or e.sight is None:
        return replace(e, finds_ids=finds)
    can_prove = s.store.control(s.account.scope) is not None
    return replace(e, can_prove=can_prove, may_learn=not can_prove and s.may_learn)


async def submit(s: Session, task: Task, evidence: Evidence) -> Task:
    """Walk a task on from `submitting`: to submitted, pending, failed or unclear.

    When the run leaves it may still be `submitting`; the next run goes on from there.
    """
    walk = _Submission(s, task, evidence)
    while walk.task.status is Status.SUBMITTING and not s.is_leaving and not walk.waits_for_a_run:
        await walk.step()
    if walk.task.status is Status.SUBMITTING and walk.was_never_sent:
        walk.task = s.store.released(walk.task, reason="not sent", wait_s=0, refused=False, now=s.clock.now())
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
        self.may_be_sent = evidence.doubt or evidence.history
        """Some create call under this id may have left this machine."""

    @property
    def was_never_sent(self) -> bool:
        return not self.may_be_sent

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
                self._accept(how="found")
            case Action.BELIEVE | Action.GIVE_UP:
                self._believe()
            case Action.PARK:
                self._park()

    def _is_for_another_run(self, action: Action) -> bool:
        """What this run may not do (`collect` sends nothing), or cannot decide yet as it is stopping."""
        s = self.s
        if action is Action.POST:
            return not s.options.buys
        return action is Action.PARK and self.e.finds_ids is None and not s.may_claim

    async def _post(self) -> None:
        s, task = self.s, self.task
        s.store.check_alive()
        s.folder(task).check_space(clips=1)
        await s.folder(task).receipts.append(task.external_task_id, task.content_hash, now=s.clock.now())
        if self.posted is not None or self.may_be_sent:
            s.store.count_post(task)
        s.show(task, "submitting")
        if s.is_leaving:
            return  # from here to the call nothing awaits: once a run leaves, it sends nothing
        before, self.may_be_sent, self.posted = self.may_be_sent, True, None
        with _shield(s):
            self.posted = await s.provider.create(task.request, external_task_id=task.external_task_id)
            self.e = protocol.after_post(self.e, self.posted)
            if self.posted.fate is Fate.ACCEPTED:
                self.found = self.posted.generation
                self._accept(how="create")
        if self.posted is None:
            return  # cut by a second Ctrl-C: the next run finds out what became of it
        if self.posted.fate is Fate.NOT_SENT:
            self.may_be_sent = before
        else:
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
        if s.may_learn and s.store.control(s.account.scope) is None and not s.is_leaving:
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
            return
        self.found = seen.generation
        self.e = protocol.after_look(self.e, seen, external_task_id=self.task.external_task_id)

    def _accept(self, *, how: str) -> None:
        generation, s = self.found, self.s
        assert generation is not None
        request_id = self.posted.request_id if self.posted else None
        self.task = s.store.accepted(self.task, generation, request_id=request_id, how=how, now=s.clock.now())
        s.tally["submitted" if how == "create" else "adopted"] += 1
        s.nudge()
        s.cost_usd += (self.task.cost_usd or 0.0) if how == "create" else 0.0
        s.tell(EventKind.SUBMITTED if how == "create" else EventKind.ADOPTED, self.task, how=how)

    def _believe(self) -> None:
        """Nothing was created, and that is known."""
        s, posted = self.s, self.posted
        refusal = posted.refusal if posted else None
        if refusal is None or self.e.fate is Fate.AMBIGUOUS:
            detail = posted.detail if posted else "no answer"
            self._fail(
                retry.FailureClass.PROVIDER, "unanswered", f"not created after {self.e.rounds} tries: {detail}"
            )
            return
        s.refusals[self.task.id] += 1
        decision = retry.after_refusal(
            refusal.kind, refusals=s.refusals[self.task.id], retry_after_s=refusal.retry_after_s, rng=s.rng
        )
        match decision:
            case retry.Wait(seconds=seconds):
                held = max(0, s.store.in_flight(s.account.scope, overdue_before=overdue_cutoff(s)) - 1)
                s.limit = concurrency.after_busy(s.limit, held=held, now=s.clock.monotonic())
                self._release(f"{refusal.code}: {refusal.message}", seconds)
            case retry.StopRun(kind=kind):
                self._release(f"{refusal.code}: {refusal.message}", 0.0)
                stop_for(s, kind, refusal.message)
            case retry.Fail(failure_class=failure_class):
                self._fail(failure_class, refusal.code, refusal.message)

    def _release(self, reason: str, wait_s: float) -> None:
        s = self.s
        self.task = s.store.released(self.task, reason=reason, wait_s=wait_s, refused=True, now=s.clock.now())
        s.tell(EventKind.BACK, self.task, reason=reason, wait_s=round(wait_s, 1))

    def _fail(self, failure_class: retry.FailureClass, code: str, message: str) -> None:
        s = self.s
        self.task = s.store.failed(self.task, failure=(failure_class, code, message), bought=False, now=s.clock.now())
        s.tally["failed"] += 1
        s.tell(EventKind.FAILED, self.task, code=code, reason=message)

    def _park(self) -> None:
        s = self.s
        detail = self.posted.detail if self.posted else "an earlier run ended while it was submitting this"
        reason = f"{detail}; {s.provider.scope} neither found the id nor proved that it could"
        self.task = s.store.parked(self.task, reason=reason, now=s.clock.now())
        s.tally["unclear"] += 1
        s.tell(EventKind.UNCLEAR, self.task, reason=reason)


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


async def look(s: Session, external_task_id: str) -> Look:
    """Look an id of ours up: directly, and in the list while the direct way is unproved."""
    s.looks[external_task_id] += 1
    direct = await s.provider.find_external(external_task_id)
    if direct.sight is Sight.FOUND or s.account.finds_ids or s.account.has_list is False:
        return direct
    for page in range(1, LIST_PAGES + 1):
        listing = await s.provider.list(page=page, size=LIST_SIZE)
        if listing.supported is not None and listing.supported != s.account.has_list:
            s.save_account(has_list=listing.supported)
        for generation in listing.generations:
            if generation.external_task_id == external_task_id:
                return Look(sight=Sight.FOUND, generation=generation, detail="in the list")
        if len(listing.generations) < LIST_SIZE:
            break
    return direct


async def prove(s: Session) -> bool:
    """Both controls, once a run: a generation of ours is found under its id, and a random id is not."""
    async with s.proving:
        ours = s.store.control(s.account.scope)
        if s.proof_tried or ours is None:
            return bool(s.account.finds_ids)
        s.tally["proofs"] += 1
        finds, lag_s = await _try_controls(s, *ours)
        if s.is_leaving or (finds is None and s.tally["proofs"] < MAX_PROOFS):
            return False
        s.proof_tried = True
        s.save_account(finds_ids=bool(finds), used=True, lag_s=max(s.account.lag_s, lag_s))
        return bool(finds)


async def _try_controls(s: Session, external_id: str, generation_id: str) -> tuple[bool | None, float]:
    """Whether both controls pass, None where the looks had no answer; and how long ours took to show, seconds."""
    started, answered = s.clock.monotonic(), False
    for wait in PROOF_WAITS_S:
        if not await s.sleep(wait):
            break
        ours = await look(s, external_id)
        if ours.generation is not None and ours.generation.id == generation_id:
            lag_s = s.clock.monotonic() - started if wait else 0.0
            nobodys = await look(s, f"nobody-{secrets.token_hex(12)}-a1")
            return None if nobodys.sight is Sight.SILENT else nobodys.sight is Sight.ABSENT, lag_s
        answered = answered or ours.sight is not Sight.SILENT
    return False if answered else None, 0.0


def stop_for(s: Session, kind: RefusalKind, message: str) -> None:
    """The account cannot go on: a dead key leaves at once, empty funds still let what is paid come home."""
    if kind is RefusalKind.KEY:
        s.halt_for(
            AuthenticationError(
                f"{s.provider.scope} refuses the key: {message}",
                hint="check COMETAPI_KEY (batcher doctor), then run again; nothing is paid twice",
            )
        )
    else:
        s.halt_for(
            FundsError(
                f"{s.provider.scope} refuses for lack of funds: {message}", hint="top the account up, then run again"
            ),
            leaves=False,
        )


def note_reach(s: Session, seen: Look) -> None:
    """Keep count of whether anybody is there."""
    if seen.answered:
        note_answer(s)
    else:
        note_unreachable(s, seen.detail)


def note_answer(s: Session) -> None:
    s.unreachable_since = None
    s.tally["answered"] += 1


def note_unreachable(s: Session, detail: str) -> None:
    """Keep count of how long nothing could be sent; in the end, say so and leave."""
    now = s.clock.monotonic()
    if s.unreachable_since is None:
        s.unreachable_since = now
    patience = UNREACHABLE_S if s.tally["answered"] else UNREACHABLE_AT_START_S
    if now - s.unreachable_since >= patience:
        s.halt_for(
            UnavailableError(
                f"{s.provider.scope} cannot be reached: {detail}",
                hint="check the network and COMETAPI_BASE_URL, then run again",
            )
        )


def overdue_cutoff(s: Session) -> float:
    """Unix seconds: an overdue task submitted before this no longer counts against the limit."""
    return s.clock.now() - 2 * s.options.timeout_s
