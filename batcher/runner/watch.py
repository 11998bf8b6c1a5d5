"""The list calls of a run: one shows all that wait, where the provider has a list and enough wait to be worth it.

What a list shows is believed of a task under the provider's id of it, and never proves anything of a direct look. An
end that is not whole in the list (a failure's reason, a clip's address) is looked at directly.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import anyio

from batcher.events import EventKind
from batcher.generations import GenerationStatus, RefusalKind
from batcher.policy import polling, retry
from batcher.runner import room
from batcher.runner.look import note_answer, note_unreachable, stop_for
from batcher.runner.waiting import has_callbacks, note_running
from batcher.tasks import Status

if TYPE_CHECKING:
    from batcher.generations import Generation, Listing
    from batcher.runner.session import Session
    from batcher.runner.waiting import Waiter

LIST_FROM = 3
"""A look at one or two costs no more than a list call, and shows each of them whole."""
PAGE_SIZES = (30, 500)
"""The API's default, and its most (API notes, 1.2)."""
PAGES = 4
"""At most, a list call; what is not in them has looks of its own."""
LAG_S = 10.0
"""So long a list may lack what was accepted just now."""
MAX_FAILURES = 3
"""List calls in a row without a usable answer, after which looks are single for a while."""
REST_S, LONGEST_REST_S = 300.0, 3600.0


async def watch(s: Session) -> None:
    """Make list calls, for as long as the run lasts, whenever they are worth it."""
    await _Watch(s).run()


class _Watch:
    def __init__(self, s: Session) -> None:
        self.s = s
        self.listed_at = -inf
        """When the last list call was made, monotonic seconds."""
        self.progress = 0.0
        """The part of the way to the next one, from 0 to about 1: `goal`, lest two runs on one account go in step."""
        self.goal = 1.0
        self.rate = 0.0
        self.failures = 0
        self.rests = 0
        self.again_at = -inf
        """No list call before that."""

    async def run(self) -> None:
        s, waiting = self.s, self.s.waiting
        while True:
            change, now = waiting.change, s.clock.monotonic()
            if waiting.is_stale:
                waiting.is_stale = False
                self._rest()
            shown = self._shown()
            if self._is_worth_it(len(shown), now):
                if not waiting.is_listed:
                    self.listed_at, self.progress = max(self.listed_at, now), 0.0
                    self._set(is_listed=True)
                wait = self._wait_s(shown, now)
                if wait <= 0:
                    await self._look()
                    continue
            else:
                self._set(is_listed=False)
                wait = self.again_at - now if self.again_at > now else inf
            with anyio.move_on_after(wait):
                await change.wait()
            self.progress += self.rate * (s.clock.monotonic() - now)

    def _shown(self) -> list[Waiter]:
        """Those that a list call is expected to show."""
        return [each for each in self.s.waiting.all.values() if not each.is_alone and each.task.generation_id]

    def _is_worth_it(self, shown: int, now: float) -> bool:
        enough = LIST_FROM - self.s.waiting.is_listed  # or it would be on and off with every end
        return shown >= enough and self.s.account.has_list is not False and now >= self.again_at

    def _set(self, *, is_listed: bool) -> None:
        if self.s.waiting.set_listed(is_listed=is_listed):
            self.rate = 0.0

    def _wait_s(self, shown: list[Waiter], now: float) -> float:
        """Seconds until the next list call, or until it is worth thinking again."""
        s, pace = self.s, self.s.options.pace
        called = [each for each in shown if each.called_at is not None and not each.is_direct]
        earliest, latest = self.listed_at + pace.floor_s, self.listed_at + pace.cap_s
        if len(called) >= LIST_FROM:
            self.rate, due = 0.0, earliest
        else:
            for each in called:
                each.is_direct = True
                each.bell.set()
            if has_callbacks(s):
                self.rate, due = 0.0, latest  # a sweep: it finds those whose callback was lost
            else:
                self.rate = polling.look_rate(self._hazard(shown), worth_s=polling.list_worth_s(pace, len(shown)))
                due = min(max(earliest, now + (self.goal - self.progress) / self.rate), latest)
        s.waiting.list_at = due = max(due, s.waiting.quiet_until)
        return min(due - now, pace.floor_s)

    def _hazard(self, shown: list[Waiter]) -> float:
        """How many of these are likely to end in the next second."""
        s, now, hazard = self.s, self.s.clock.now(), 0.0
        priors = {each.class_: s.options.pace.prior_of(each.class_) for each in shown}
        for each in shown:
            hazard += s.learnt(each.class_).hazard(now - each.began, prior_s=priors[each.class_])
        return hazard

    async def _look(self) -> None:
        s = self.s
        asked_at = self.listed_at = s.clock.monotonic()
        self.progress, self.goal = 0.0, 0.8 + 0.4 * s.rng.random()
        unseen = {each.task.generation_id or "": each for each in s.waiting.all.values() if each.task.generation_id}
        wanted, size = unseen.keys(), _page_size(len(unseen))
        found = 0
        for page in range(1, PAGES + 1):
            s.tally["lists"] += 1
            listing = await s.provider.list(page=page, size=size, wanted=wanted)
            if not listing.supported:
                self._failed(listing)
                return
            for generation in listing.generations:
                waiter = unseen.pop(generation.id, None)
                if waiter is not None and self._show(waiter, generation, asked_at):
                    found += 1
            missing = [each for each in unseen.values() if asked_at - each.entered_at > LAG_S]
            if listing.length < size or len(missing) < LIST_FROM:
                break
        note_answer(s)
        self.failures = 0
        if s.account.has_list is None:
            s.save_account(has_list=True)
        for each in missing:
            if not each.is_alone:
                each.is_alone = True
                each.bell.set()
        self.rests = 0 if found else self.rests
        if not found and missing:
            self._rest()

    def _show(self, waiter: Waiter, generation: Generation, asked_at: float) -> bool:
        """Tell a walk what the list shows of its task. False: it is no word about it."""
        s, task = self.s, waiter.task
        if generation.external_task_id not in (None, task.external_task_id):
            return False
        if s.waiting.all.get(task.id) is not waiter:
            return True  # it knows already, from a look of its own
        waiter.is_alone = False
        if waiter.called_at is not None and waiter.called_at <= asked_at:
            waiter.called_at = None
        room.seen(s, task, generation, asked_at=asked_at)
        is_whole = generation.status is not GenerationStatus.SUCCEEDED or bool(generation.videos)
        if generation.status is GenerationStatus.FAILED or not is_whole:
            waiter.is_direct = True
            waiter.bell.set()
            return True
        if generation.status in (GenerationStatus.SUBMITTED, GenerationStatus.PROCESSING):
            waiter.listed_s = s.clock.now() - waiter.began
            note_running(s, waiter)
        is_new = generation.status is GenerationStatus.PROCESSING and task.status is Status.SUBMITTED
        if is_new or task.overdue or generation.status in (GenerationStatus.SUCCEEDED, GenerationStatus.UNKNOWN):
            waiter.seen = generation
            waiter.bell.set()
        return True

    def _failed(self, listing: Listing) -> None:
        """No such list: never again. Any other trouble: later, and after some of it single looks for a while."""
        s = self.s
        if not listing.answered:
            note_unreachable(s, listing.detail)
        else:
            note_answer(s)
        refusal = listing.refusal
        if refusal is not None and refusal.kind is RefusalKind.KEY:
            stop_for(s, refusal.kind, refusal.message)
            return
        if listing.supported is False:
            s.save_account(has_list=False)
            return
        self.failures += 1
        if self.failures == 1:
            s.tell(EventKind.WARNING, message=f"the list of generations failed, trying again: {listing.detail}")
        pause = max((refusal.retry_after_s or 0.0) if refusal else 0.0, retry.backoff_s(self.failures, rng=s.rng))
        s.waiting.quiet_until = s.clock.monotonic() + pause
        if listing.answered and self.failures >= MAX_FAILURES:
            self._rest()

    def _rest(self) -> None:
        """The list is of no use: single looks for a while."""
        self.again_at = self.s.clock.monotonic() + min(REST_S * 2.0**self.rests, LONGEST_REST_S)
        self.rests += 1
        self.failures = 0


def _page_size(count: int) -> int:
    """Entries to ask for where so many are looked for: others have begun, and ended, since the oldest of them."""
    least, most = PAGE_SIZES
    return min(max(least, 2 * count + 10), most)
