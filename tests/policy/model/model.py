"""Every interleaving of one task's submission with one world: messages, deaths, losses, and the protocol's answers.

A walk ends where nothing more can happen. What must never be met on the way are the `Harm`s.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from batcher.generations import RefusalKind
from batcher.policy import submission as protocol
from batcher.policy.submission import Action, Evidence
from batcher.tasks import Status

from .gateway import Gateway, Held
from .product import IDS, Product, Row, looked
from .world import Control, Lock, Lost, World

if TYPE_CHECKING:
    from collections.abc import Iterator


MOST_IDS = 3
"""A mutant that makes new ids makes no more than these."""


class Harm(StrEnum):
    """What a sound protocol never does in a world that keeps the assumptions."""

    PAID_TWICE = "paid twice"
    PHANTOM = "accepted what does not exist"
    LOST = "gave a paid generation up"
    ENDLESS = "goes round in circles"


class State(NamedTuple):
    """The state file, the output folder, the process that walks the task, and the provider."""

    row: Row
    e: Evidence | None = None
    """None: no process walks it."""
    has_tried: bool = False
    """This walk made a call already."""
    control: Control = Control.NONE
    held: tuple[Held, ...] = (Held(),)
    """By attempt."""
    receipts: tuple[int, ...] = ()
    """How many calls of each attempt the output folder knows."""
    backup: Row | None = None
    refuses_ids: bool = False
    finds_ids: bool | None = None
    luck: int = 1
    """Setbacks that prove nothing and could go on for ever: not sent, slots full, no network."""
    deaths: int = 1
    copies: int = 0
    losses: int = 0
    hands: int = 0
    """Times that a person comes by: retries what failed, sends an unclear one again that was not taken."""
    purchases: int = 1
    """What the user asked for."""

    @property
    def ours(self) -> Held:
        return self.held[self.row.attempt - 1]

    def holding(self, held: Held, number: int | None = None) -> State:
        number = number or self.row.attempt
        return self._replace(held=(*self.held[: number - 1], held, *self.held[number:]))


class Model:
    """Every state that a world and the protocol can get into together."""

    def __init__(
        self, world: World, product: Product | None = None, *, deaths: int = 1, hands: int = 0, luck: int = 1
    ) -> None:
        self.world = world
        self.product = product or Product()
        self.gateway = Gateway(world)
        self.first = State(
            row=Row(),
            control=world.control,
            refuses_ids=world.is_known_to_refuse,
            deaths=deaths,
            copies=int(world.doubles),
            losses=int(world.lost is not Lost.NOTHING),
            hands=hands,
            luck=luck,
        )
        self.harms: set[Harm] = set()
        self.ends: set[Status] = set()
        self.states = 0

    def explore(self, *, until: Harm | None = None) -> Model:
        """Depth first, so that a state that leads back to itself is seen: a loop that changes nothing.

        All of it, or `until` a harm is met.
        """
        is_open: dict[State, bool] = {}
        for first in self.starts():
            is_open[first] = True
            trail = [(first, self.after(first))]
            while trail and until not in self.harms:
                state, steps = trail[-1]
                try:
                    for _, following in steps:
                        known = is_open.get(following)
                        if known is None:
                            is_open[following] = True
                            trail.append((following, self.after(following)))
                            break
                        if known:
                            self.harms.add(Harm.ENDLESS)
                    else:
                        is_open[state] = False
                        trail.pop()
                except Found as found:
                    self.harms.add(found.harm)
        self.states = len(is_open)
        return self

    def story(self, harm: Harm) -> str:
        """The shortest way to a harm, told step by step."""
        told: dict[State, tuple[State | None, str]] = dict.fromkeys(self.starts(), (None, ""))
        waiting = deque(told)
        while waiting:
            state = waiting.popleft()
            try:
                for step, following in self.after(state):
                    if following not in told:
                        told[following] = (state, step)
                        waiting.append(following)
            except Found as found:
                if found.harm is not harm:
                    continue
                steps, at = [], state
                while at is not None:
                    at, step = told[at]
                    steps.append(step)
                return f"{self.world}: {'; '.join(filter(None, reversed(steps)))}: {harm}"
        return f"{self.world}: {harm}"

    def starts(self) -> Iterator[State]:
        """A new task; and one whose call was made, or not, with another key."""
        if not self.world.is_anothers:
            yield self.first
            return
        row = Row(Status.SUBMITTING).counting(1, 1)
        yield self.restarted(self.first, row)
        yield self.restarted(self.first.holding(Held(charges=1, is_visible=True)), row)

    def after(self, s: State) -> Iterator[tuple[str, State]]:
        """All that may come next: a message lands, a process acts or dies, a person comes by."""
        if sum(held.charges for held in s.held) > s.purchases:
            raise Found(Harm.PAID_TWICE)
        for number, held in enumerate(s.held, 1):
            if held.flying:
                for landed in self.gateway.landings(held):
                    yield "a late call lands", s.holding(landed, number)
            if held.asleep:
                for _, woken in self.gateway.deliveries(held._replace(asleep=held.asleep - 1), may_be_full=False):
                    yield "the sleeper sends its call", s.holding(woken, number)
        yield from self.resting(s) if s.e is None else self.walked(s)

    # ---- nobody walks it ------------------------------------------------------------------------------------------

    def resting(self, s: State) -> Iterator[tuple[str, State]]:
        row, product = s.row, self.product
        yield from self.losses(s)
        if self.world.lost is Lost.COMMITS and s.backup is None and row.status is not Status.PENDING:
            yield "a backup is made", s._replace(backup=row)
        match row.status:
            case Status.PENDING:
                if self.world.lost is Lost.COMMITS and s.backup is None:
                    yield "a backup is made", s._replace(backup=row)
                claimed = product.claim(row)
                e = product.fresh(claimed, refuses_ids=s.refuses_ids)
                yield "claimed", s._replace(row=claimed, e=e, has_tried=False)
            case Status.SUBMITTED:
                self.ends.add(row.status)
                if product.buys_again(row, self.world.attempts):
                    row = product.next_attempt(row)
                    held = (*s.held, Held()) if len(s.held) < row.attempt else s.held
                    purchases = max(s.purchases, row.attempt)
                    yield "it fails there; another is bought", s._replace(row=row, held=held, purchases=purchases)
            case Status.FAILED:
                self.ends.add(row.status)
                if s.hands:
                    yield "a person retries", s._replace(row=product.next_attempt(row), hands=s.hands - 1)
            case Status.UNCLEAR:
                self.ends.add(row.status)
                for name in self.gateway.sights(s.ours):
                    e = protocol.after_look(
                        Evidence(history=True, finds_ids=s.finds_ids),
                        looked(name, IDS[row.attempt]),
                        external_task_id=IDS[row.attempt],
                    )
                    if protocol.decide(e) is Action.ACCEPT:
                        yield "the next run finds it", self.accepted(s)
                if s.hands and not (s.ours.charges or s.ours.flying or s.ours.asleep):
                    yield "a person says it was not taken", s._replace(row=row.to(Status.PENDING), hands=s.hands - 1)

    def losses(self, s: State) -> Iterator[tuple[str, State]]:
        if not s.losses:
            return
        lost = s._replace(losses=0)
        if not self.world.has_receipts:
            lost = lost._replace(receipts=())
        if self.world.lost is Lost.STATE:
            without = lost._replace(refuses_ids=False, finds_ids=None, control=Control.LATER)
            yield "the state is lost", self.restarted(without, None)
        elif s.backup is not None:
            yield "an old row comes back", self.restarted(lost, s.backup)

    def restarted(self, s: State, row: Row | None) -> State:
        """The next run begins."""
        opened = self.product.opened(row, s.receipts)
        e = None
        if opened.status is Status.SUBMITTING:
            e = self.product.inherited(opened, refuses_ids=s.refuses_ids, is_foreign=self.world.is_anothers)
        control = Control.HERE if s.control in (Control.PASSED, Control.FAILED) else s.control
        control = self.world.control if self.world.control is Control.PASSED else control
        held = s.held + (Held(),) * (opened.attempt - len(s.held))
        return s._replace(row=opened, e=e, has_tried=False, control=control, held=held)

    # ---- a process walks it ---------------------------------------------------------------------------------------

    def walked(self, s: State) -> Iterator[tuple[str, State]]:
        assert s.e is not None
        e = controlled(s.e, s.control)
        action = self.product.decide(e)
        s = s._replace(e=e)
        if self.product.new_id(e) and s.row.attempt < MOST_IDS:
            renewed = s.row.to(Status.PENDING)._replace(attempt=s.row.attempt + 1)
            yield "a new id", s._replace(row=renewed, e=None, held=(*s.held, Held()))
            return
        yield from self.deaths(s, action)
        match action:
            case Action.POST:
                yield from self.posts(self.noted(s))
            case Action.BACK if e.refusal in (RefusalKind.KEY, RefusalKind.FUNDS):
                yield "stopped for lack of funds", self.restarted(s, s.row)
            case Action.BACK:
                yield "waited", s._replace(e=protocol.after_back(e))
            case Action.REST:
                yield from self.rests(s)
            case Action.LOOK:
                for name in self.gateway.sights(s.ours):
                    yield f"look: {name}", s._replace(e=saw(e, name, IDS[s.row.attempt]))
                if s.luck:
                    unreachable = saw(e, "unreachable", IDS[s.row.attempt])
                    yield "look: unreachable", s._replace(e=unreachable, luck=s.luck - 1)
            case Action.HOLD:
                for control in (Control.HERE, Control.NONE):
                    yield f"held: {control}", s._replace(control=control)
            case Action.PROVE:
                yield from self.proves(s)
            case Action.ACCEPT:
                yield "accepted", self.accepted(s)
            case Action.BELIEVE | Action.GIVE_UP:
                yield "not bought", self.not_bought(s)
            case Action.PARK:
                yield "parked", s._replace(row=s.row.to(Status.UNCLEAR), e=None)

    def deaths(self, s: State, action: Action) -> Iterator[tuple[str, State]]:
        """The process is killed, or leaves; with it something may be lost."""
        if not s.deaths:
            return
        assert s.e is not None
        s = s._replace(deaths=s.deaths - 1)
        moments = {"dies": s}
        if action is Action.POST:
            noted = self.noted(s)
            moments = {"dies": s, "dies, receipt written": noted}
            moments["dies, call counted"] = noted._replace(receipts=s.receipts)
            if self.world.lock is not Lock.KERNEL:
                sleeper = noted.holding(noted.ours._replace(asleep=noted.ours.asleep + 1))
                moments["sleeps, another run takes over"] = sleeper
        for told, dead in moments.items():
            yield told, self.restarted(dead, dead.row)
            for lost, after in self.losses(dead):
                yield f"{told}, {lost}", after
            if not self.product.may_be_sent(s.e) and "sleeps" not in told:
                released = dead._replace(row=dead.row.to(Status.PENDING), e=None)
                yield told.replace("dies", "leaves"), released

    def noted(self, s: State) -> State:
        """The records before a call: it is counted in the state, then in the output folder."""
        assert s.e is not None
        row, number = s.row, s.row.attempt
        if s.has_tried or s.e.may_be_sent:
            row = row.counting(number, row.counted(number) + 1)
        receipts = s.receipts + (0,) * (number - len(s.receipts))
        lines = self.product.receipt(row, receipts[number - 1])
        return s._replace(
            row=row if self.product.writes_intent else s.row,
            receipts=(*receipts[: number - 1], lines, *receipts[number:]) if self.product.writes_receipts else (),
            has_tried=True,
        )

    def accepted(self, s: State) -> State:
        if not s.ours.charges:
            raise Found(Harm.PHANTOM)
        row = s.row.to(Status.SUBMITTED)
        return s._replace(row=row._replace(accepted=row.attempt), e=None)

    def not_bought(self, s: State) -> State:
        assert s.e is not None
        status = self.product.believed(s.e)
        if status is Status.FAILED and (s.ours.charges or s.ours.may_get_more):
            raise Found(Harm.LOST)
        return s._replace(row=s.row.to(status), e=None)

    # ---- what the world makes of each action -----------------------------------------------------------------------

    def posts(self, s: State) -> Iterator[tuple[str, State]]:
        held = s.ours
        yield "post: never arrives", self.answered(s, "lost", held)
        yield "post: on its way", self.answered(s, "lost", held.with_one_more_flying())
        if s.luck:
            yield "post: not sent", self.answered(s._replace(luck=s.luck - 1), "unsent", held)
        for name, there in self.gateway.deliveries(held, may_be_full=bool(s.luck)):
            yield f"post: {name}", self.answered(s, name, there)
            yield f"post: {name}, answer lost", self.answered(s, "lost", there)
            if s.copies:
                doubled = s._replace(copies=s.copies - 1)
                late = there.with_one_more_flying()
                yield f"post: {name}, a copy is on its way", self.answered(doubled, name, late)
                yield f"post: {name}, answer lost, a copy is on its way", self.answered(doubled, "lost", late)
                for second, both in self.gateway.deliveries(there, may_be_full=bool(s.luck)):
                    yield f"post: {name}, doubled: {second}", self.answered(doubled, second, both)

    def answered(self, s: State, name: str, held: Held) -> State:
        assert s.e is not None
        return s.holding(held)._replace(
            e=posted(self.product, s.e, name),
            luck=s.luck - (name in ("busy", "funds")),
            refuses_ids=s.refuses_ids or name == "exists",
        )

    def rests(self, s: State) -> Iterator[tuple[str, State]]:
        """Whatever was on its way has landed or never will, and shows."""
        assert s.e is not None
        rested = s._replace(e=protocol.after_rest(s.e))
        if not self.world.is_bounded:
            yield "rested, and calls outlive it", rested
        for held in self.gateway.settled(s.ours):
            yield "rested", rested.holding(held)

    def proves(self, s: State) -> Iterator[tuple[str, State]]:
        assert s.e is not None
        finds_ids = self.world.finds.passes_controls
        control = Control.PASSED if finds_ids else Control.FAILED
        e = protocol.after_proof(s.e, finds_ids=finds_ids)
        yield f"controls {control}", s._replace(e=e, control=control, finds_ids=finds_ids)
        if s.luck:
            e = protocol.after_proof(s.e, finds_ids=None)
            yield "controls unanswered", s._replace(e=e, luck=s.luck - 1)


class Found(Exception):  # noqa: N818 - what the search is for
    """A harm was met."""

    def __init__(self, harm: Harm) -> None:
        super().__init__(harm)
        self.harm = harm


@cache
def controlled(e: Evidence, control: Control) -> Evidence:
    return protocol.with_controls(
        e,
        proved={Control.PASSED: True, Control.FAILED: False}.get(control),
        has_control=control is Control.HERE,
        may_learn=control is Control.LATER,
    )


@cache
def posted(product: Product, e: Evidence, name: str) -> Evidence:
    return protocol.after_post(e, product.posted(name))


@cache
def saw(e: Evidence, name: str, external_id: str) -> Evidence:
    return protocol.after_look(e, looked(name, external_id), external_task_id=external_id)
