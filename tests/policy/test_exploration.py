"""The submit protocol against every world it may meet: all interleavings of a small model, not samples.

A world answers each action in every way it can; calls fly about and land late; the process dies anywhere and
another one inherits the row. Each walk is followed to its end. What must hold is stated in `Model._check`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

import pytest

from batcher.generations import Fate, Generation, GenerationStatus, Look, Posted, Refusal, RefusalKind, Sight
from batcher.policy.submission import (
    Action,
    Evidence,
    after_back,
    after_look,
    after_post,
    after_proof,
    after_rest,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ID = "autumn-0123456789abcdef01234567-a1"
ENDS = {Action.ACCEPT, Action.BELIEVE, Action.GIVE_UP, Action.PARK}


class Finds(Enum):
    """What the gateway's look-up by our id is worth."""

    AT_ONCE = auto()
    LATE = auto()
    """A generation may be invisible until the quiet window has passed."""
    NAMELESS = auto()
    """As AT_ONCE, but its answers do not repeat our id."""
    NEVER = auto()
    """"No such id", whatever it is asked."""
    ANYTHING = auto()
    """Some generation, without our id, whatever it is asked."""
    MUTE = auto()
    """An error that is no answer."""

    @property
    def passes_controls(self) -> bool:
        return self in (Finds.AT_ONCE, Finds.LATE, Finds.NAMELESS)


class Used(Enum):
    """What a create call under a used id meets."""

    REFUSED = auto()
    REWORDED = auto()
    """Refused, in the words of a bad parameter."""
    CHARGED = auto()


class Control(Enum):
    """Whether there is a generation of ours to try the look-up with."""

    NONE = auto()
    LATER = auto()
    """Another task of this run may bring one, or not."""
    HERE = auto()
    PASSED = auto()
    """It was tried in an earlier run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A gateway, and what is known of it beforehand."""

    finds: Finds
    used: Used
    control: Control = Control.HERE
    is_bounded: bool = True
    """No call lives longer than the quiet window. False breaks an assumption of the protocol."""
    is_anothers: bool = False
    """The doubtful call was made with another key: ours is shown nothing of it."""

    @property
    def keeps_assumptions(self) -> bool:
        return self.is_bounded or self.used is not Used.CHARGED

    def __str__(self) -> str:
        return f"finds {self.finds.name}, used ids {self.used.name}, control {self.control.name}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The row's evidence, and what is true at the provider."""

    e: Evidence
    charges: int = 0
    is_visible: bool = False
    flying: int = 0
    """Calls whose answer was lost, and that have not reached the server yet."""
    luck: int = 1
    """Setbacks that prove nothing and could go on for ever: not sent, slots full, no network."""
    crashes: int = 1


class Model:
    """Every state that a world and the protocol can get into together."""

    def __init__(self, world: World, *, decide: Callable[[Evidence], Action] = decide) -> None:
        self.world = world
        self.decide = decide
        self.ends: set[Action] = set()
        self.most_charges = 0

    def fresh(self, *, posts: int = 0, refuses_ids: bool = False, proved: bool | None = None) -> Evidence:
        finds_ids = True if self.world.control is Control.PASSED else proved
        return Evidence(
            posts=posts,
            refuses_ids=refuses_ids,
            finds_ids=finds_ids,
            can_prove=self.world.control is Control.HERE and finds_ids is None,
            may_learn=self.world.control is Control.LATER and finds_ids is None,
        )

    def explore(self) -> Model:
        """Depth first, so that a state that leads back to itself is seen: a loop that changes nothing."""
        done: set[State] = set()
        for first in self.starts():
            path, trail = {first}, [(first, self.after(first))]
            while trail:
                state, successors = trail[-1]
                following = next(successors, None)
                if following is None:
                    done.add(state)
                    path.remove(state)
                    trail.pop()
                elif following in path:
                    raise AssertionError(f"{self.world}: goes round in circles: {following}")
                elif following not in done:
                    path.add(following)
                    trail.append((following, self.after(following)))
        self.states = len(done)
        return self

    def starts(self) -> Iterator[State]:
        """A new task; one that a dead run left before its call; and one whose state and receipts are lost."""
        fresh = self.fresh()
        if self.world.is_anothers:
            foreign = replace(fresh, posts=1, doubt=True, history=True, foreign=True)
            yield State(e=foreign)
            yield State(e=foreign, charges=1)
            return
        yield State(e=fresh)
        yield State(e=replace(fresh, posts=1, doubt=True, history=True))
        if self.world.used is not Used.CHARGED:
            yield State(e=fresh, charges=1, is_visible=True)

    def after(self, s: State) -> Iterator[State]:
        """All that may come next: the protocol's action, a call that lands, or the end of the process."""
        action = self.decide(s.e)
        self._check(s, action)
        if s.flying:
            yield self._landed(s)
        if action in ENDS:
            self.ends.add(action)
            if action is Action.BELIEVE and s.e.refusal is RefusalKind.BUSY and s.luck:
                # Slots full: the row goes back to pending, and is claimed again as if new.
                yield replace(s, luck=s.luck - 1, e=self._remembered(s.e, posts=s.e.posts))
            return
        if s.crashes:
            claimed = self._remembered(s.e, posts=s.e.posts + (action is Action.POST))
            yield replace(s, crashes=s.crashes - 1, e=replace(claimed, doubt=True, history=True))
        yield from getattr(self, f"_{action.value}")(s)

    def _remembered(self, e: Evidence, *, posts: int) -> Evidence:
        """What the state file keeps of the evidence."""
        known = self.fresh(posts=posts, refuses_ids=e.refuses_ids, proved=e.finds_ids or None)
        return replace(known, foreign=e.foreign)

    def _check(self, s: State, action: Action) -> None:
        self.most_charges = max(self.most_charges, s.charges)
        told = f"{self.world}: {action.name} on {s}"
        if self.world.keeps_assumptions:
            assert s.charges <= 1, f"paid twice; {told}"
        if action is Action.ACCEPT:
            assert s.charges, f"accepted what does not exist; {told}"
        if action in (Action.BELIEVE, Action.GIVE_UP) and self.world.is_bounded:
            assert not s.charges, f"gave a paid generation up; {told}"
            assert not s.flying, f"gave up what may still land; {told}"

    # ---- what the world makes of each action ---------------------------------------------------------------------

    def _landed(self, s: State) -> State:
        """A late call reaches the server."""
        landed = replace(s, flying=s.flying - 1)
        return self._charged(landed) if not s.charges or self.world.used is Used.CHARGED else landed

    def _charged(self, s: State) -> State:
        return replace(s, charges=s.charges + 1, is_visible=self.world.finds is not Finds.LATE)

    def _post(self, s: State) -> Iterator[State]:
        lost = self._answered(s, Fate.AMBIGUOUS)
        if not s.charges or self.world.used is Used.CHARGED:
            yield self._charged(lost)  # its answer is lost
        yield replace(lost, flying=s.flying + 1)
        yield lost
        if s.luck:
            yield self._answered(replace(s, luck=s.luck - 1), Fate.NOT_SENT)
        if s.charges and self.world.used is not Used.CHARGED:
            fate = Fate.EXISTS if self.world.used is Used.REFUSED else Fate.CHECK
            yield self._answered(s, fate, RefusalKind.INVALID)
            return
        yield self._answered(s, Fate.REFUSED, RefusalKind.CONTENT)
        for names_a_field in (True, False):
            yield self._answered(s, Fate.CHECK, RefusalKind.INVALID, names_a_field=names_a_field)
        if s.luck:
            yield self._answered(replace(s, luck=s.luck - 1), Fate.REFUSED, RefusalKind.BUSY)
        yield self._charged(self._answered(s, Fate.ACCEPTED))

    def _answered(
        self, s: State, fate: Fate, kind: RefusalKind | None = None, *, names_a_field: bool = False
    ) -> State:
        refusal = kind and Refusal(kind=kind, code="", message="", http_status=400, names_a_field=names_a_field)
        return replace(s, e=after_post(s.e, Posted(fate=fate, refusal=refusal)))

    def _back(self, s: State) -> Iterator[State]:
        yield replace(s, e=after_back(s.e))

    def _rest(self, s: State) -> Iterator[State]:
        """Whatever was on its way has landed or never will, and shows."""
        rested = replace(s, e=after_rest(s.e), is_visible=bool(s.charges))
        if not self.world.is_bounded:
            yield rested
        yield replace(rested, flying=0)
        while rested.flying:
            rested = self._landed(rested)
            yield replace(rested, flying=0, is_visible=True)

    def _look(self, s: State) -> Iterator[State]:
        if s.luck:
            yield self._saw(replace(s, luck=s.luck - 1), Look(sight=Sight.SILENT, answered=False))
        match self.world.finds:
            case Finds.MUTE:
                for http_status in (404, 503):
                    trouble = Refusal(kind=RefusalKind.INVALID, code="", message="", http_status=http_status)
                    yield self._saw(s, Look(sight=Sight.SILENT, refusal=trouble))
            case Finds.ANYTHING:
                yield self._saw(s, _found(None))
            case Finds.NEVER:
                yield self._saw(s, Look(sight=Sight.ABSENT))
            case finds if s.charges and not self.world.is_anothers:
                yield self._saw(s, _found(None if finds is Finds.NAMELESS else ID))
                if not s.is_visible:
                    yield self._saw(s, Look(sight=Sight.ABSENT))
            case _:
                yield self._saw(s, Look(sight=Sight.ABSENT))

    def _saw(self, s: State, look: Look) -> State:
        return replace(s, e=after_look(s.e, look, external_task_id=ID))

    def _hold(self, s: State) -> Iterator[State]:
        """Another task was accepted, or none is left that could be."""
        for can_prove in (True, False):
            yield replace(s, e=replace(s.e, can_prove=can_prove, may_learn=False))

    def _prove(self, s: State) -> Iterator[State]:
        yield replace(s, e=after_proof(s.e, finds_ids=self.world.finds.passes_controls))
        if s.luck:  # nobody answered: it may be tried again
            untried = replace(after_proof(s.e, finds_ids=None), can_prove=True)
            yield replace(s, luck=s.luck - 1, e=untried)


def _found(external_task_id: str | None) -> Look:
    seen = Generation(id="845", status=GenerationStatus.SUBMITTED, external_task_id=external_task_id)
    return Look(sight=Sight.FOUND, generation=seen)


WORLDS = [
    World(finds=finds, used=used, control=control)
    for finds in Finds
    for used in Used
    for control in Control
    if finds.passes_controls or control is not Control.PASSED
]


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_no_world_within_the_assumptions_is_paid_twice_or_lied_about(world):
    """Nor does any walk go on for ever, or repeat what changed nothing."""
    model = Model(world).explore()
    assert model.most_charges == 1
    assert model.states > 50
    if world.finds.passes_controls and world.control in (Control.HERE, Control.PASSED):
        assert Action.PARK not in model.ends, "a gateway that can find never needs a person"


@pytest.mark.parametrize("world", [replace(world, is_anothers=True) for world in WORLDS], ids=str)
def test_what_another_key_may_have_bought_is_neither_bought_again_nor_given_up(world):
    """The worst world: the doubtful call was charged, used ids are charged again, and every proof passes."""
    model = Model(world).explore()
    assert model.most_charges == 1
    assert model.ends <= {Action.PARK, Action.ACCEPT}


def test_where_an_assumption_is_broken_a_second_charge_is_seen():
    """Calls that outlive the window, on a gateway that charges a used id again: nobody is safe there."""
    world = World(finds=Finds.AT_ONCE, used=Used.CHARGED, is_bounded=False)
    assert Model(world).explore().most_charges > 1


def test_refused_ids_make_even_calls_that_live_for_ever_harmless():
    world = World(finds=Finds.AT_ONCE, used=Used.REFUSED, is_bounded=False)
    assert Model(world).explore().most_charges == 1


def without_window(e: Evidence) -> Action:
    return decide(replace(e, rested=True, sight_rested=e.sight is not None))


def without_control(e: Evidence) -> Action:
    return decide(replace(e, finds_ids=True))


def lost_means_unsent(e: Evidence) -> Action:
    return Action.BACK if e.fate is Fate.AMBIGUOUS else decide(replace(e, doubt=False, history=False))


def without_look(e: Evidence) -> Action:
    return Action.BELIEVE if e.fate is Fate.CHECK else decide(e)


def test_a_protocol_that_takes_another_keys_doubt_for_its_own_is_caught():
    world = World(finds=Finds.AT_ONCE, used=Used.CHARGED, is_anothers=True)
    with pytest.raises(AssertionError, match="paid twice"):
        Model(world, decide=lambda e: decide(replace(e, foreign=False))).explore()


@pytest.mark.parametrize(
    ("mistaken", "finds", "used", "harm"),
    [
        (lost_means_unsent, Finds.AT_ONCE, Used.CHARGED, "paid twice"),
        (without_window, Finds.LATE, Used.CHARGED, "paid twice"),
        (without_control, Finds.NEVER, Used.CHARGED, "paid twice"),
        (without_look, Finds.AT_ONCE, Used.REWORDED, "gave a paid generation up"),
    ],
)
def test_a_protocol_with_one_rule_less_is_caught(mistaken, finds, used, harm):
    with pytest.raises(AssertionError, match=harm):
        Model(World(finds=finds, used=used), decide=mistaken).explore()
