"""The provider's side of the model: what a call that arrives may meet, and what a look may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .world import Finds, Used, World

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FLYING = 3
"""A mutant that sends without end has no more than these on their way. The product waits for each."""


class Held(NamedTuple):
    """What the provider has, or may yet get, under one id."""

    charges: int = 0
    is_visible: bool = False
    is_burned: bool = False
    is_barred: bool = False
    """The request was refused for what it says, and so will every copy of it."""
    flying: int = 0
    """Calls on their way whose answer nobody will read."""
    asleep: int = 0
    """Calls that a paused process makes when it wakes."""

    @property
    def may_get_more(self) -> bool:
        return bool(self.flying and not self.is_barred)

    def with_one_more_flying(self) -> Held:
        return self._replace(flying=min(MOST_FLYING, self.flying + 1))


class Gateway:
    """A world's answers."""

    def __init__(self, world: World) -> None:
        self.world = world

    def deliveries(self, held: Held, *, may_be_full: bool) -> Iterator[tuple[str, Held]]:
        """A call reaches the server: each answer it may give, with what is there afterwards.

        `may_be_full`: it may also be refused for reasons that pass.
        """
        world, used = self.world, self.world.used
        if (held.charges or held.is_burned) and used is not Used.CHARGED:
            yield {Used.REWORDED: "check", Used.RETURNED: "taken"}.get(used, "exists"), held
            if used is not Used.MIXED:
                return
        if not held.is_barred:
            yield "taken", held._replace(charges=held.charges + 1, is_visible=world.finds is not Finds.LATE)
        refused = held._replace(is_burned=world.burns)
        if not (held.charges and world.judges_alike):
            judged = refused._replace(is_barred=world.judges_alike)
            yield "content", judged._replace(charges=held.charges + world.refusals_charge)
            yield "field", judged
            yield "check", judged
        if may_be_full:
            yield "busy", refused
            yield "funds", refused

    def landings(self, held: Held) -> set[Held]:
        """A late call reaches the server, and its answer nobody."""
        landing = held._replace(flying=held.flying - 1)
        return {landed for _, landed in self.deliveries(landing, may_be_full=True)}

    def settled(self, held: Held) -> set[Held]:
        """After the quiet window: whatever was on its way has landed or never will, and shows."""
        ends, open_ends = set(), {held}
        while open_ends:
            each = open_ends.pop()
            ends.add(each._replace(flying=0, is_visible=bool(each.charges)))
            if each.flying:
                open_ends |= self.landings(each)
        return ends

    def sights(self, held: Held) -> tuple[str, ...]:
        """What a look may be answered with now."""
        match self.world.finds:
            case Finds.MUTE:
                return "deaf", "trouble"
            case Finds.ANYTHING:
                return ("nameless",)
            case Finds.NEVER:
                return ("absent",)
        if self.world.is_anothers or not held.charges:
            return ("absent", "found") if self.world.has_namesakes else ("absent",)
        found = "nameless" if self.world.finds is Finds.NAMELESS else "found"
        return (found,) if held.is_visible else (found, "absent")
