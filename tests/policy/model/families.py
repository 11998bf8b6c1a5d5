"""The worlds within the assumptions, in families, and what a submission comes to in each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from .model import Model
from .world import Control, Finds, Lost, Used, World

HOLDING = (Used.REFUSED, Used.REWORDED, Used.RETURNED)
SINGLE = (*HOLDING, Used.CHARGED)
FINDING = tuple(finds for finds in Finds if finds.passes_controls)
BLIND = tuple(finds for finds in Finds if not finds.passes_controls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Worlds of one kind."""

    name: str
    worlds: tuple[World, ...]
    is_unattended: bool
    """Every walk ends accepted or not bought. Else some are left to a person, as unclear."""
    hands: int = 0
    luck: int = 1
    deaths: int = 1

    def explored(self, world: World) -> Model:
        return explored(world, hands=self.hands, luck=self.luck, deaths=self.deaths)


@cache
def explored(world: World, **budgets: int) -> Model:
    """Each world once, however many tests ask for it."""
    return Model(world, **budgets).explore()


def gateways(finds=tuple(Finds), used=SINGLE, **known) -> tuple[World, ...]:
    return tuple(World(finds=f, used=u, **known) for f in finds for u in used)


def kept(name: str, worlds: tuple[World, ...], *, unattended: bool, **budgets: int) -> Family:
    return Family(name=name, worlds=worlds, is_unattended=unattended, **budgets)


UNPROVED = (Control.NONE, Control.LATER)
SEEING = (Finds.LATE, Finds.NAMELESS)
"""In a late look-up all of one that finds at once is contained: it may show at once."""
ALIKE = {"judges_alike": True}

FAMILIES = (
    kept("look-ups work, and can be proved", gateways(FINDING), unattended=True, hands=1),
    kept("look-ups work, and were proved", gateways(FINDING, control=Control.PASSED), unattended=True),
    kept(
        "look-ups work, nothing to prove them with",
        tuple(replace(world, control=control) for world in gateways(FINDING) for control in UNPROVED),
        unattended=False,
    ),
    kept(
        "look-ups are blind or missing",
        tuple(replace(world, control=c) for world in gateways(BLIND) for c in (*UNPROVED, Control.HERE)),
        unattended=False,
    ),
    kept(
        "the same, used ids known to be refused",
        tuple(
            replace(world, is_known_to_refuse=True, control=control)
            for world in gateways(BLIND, HOLDING)
            for control in (*UNPROVED, Control.HERE)
        ),
        unattended=False,
    ),
    kept(
        "look-ups work, used ids known to be refused",
        gateways(SEEING, HOLDING, is_known_to_refuse=True),
        unattended=True,
    ),
    kept("killed three times, look-ups work", gateways(SEEING), unattended=True, deaths=3, luck=0),
    kept("calls doubled, look-ups work", gateways(SEEING, HOLDING, doubles=True, **ALIKE), unattended=True),
    kept("calls doubled, blind", gateways(BLIND, HOLDING, doubles=True, **ALIKE), unattended=False),
    kept(
        "a refusal burns the id", gateways(used=(Used.REFUSED, Used.REWORDED), burns=True), unattended=False, hands=1
    ),
    kept("the doubt is another key's", gateways(is_anothers=True), unattended=False),
    kept("state deleted, receipts kept", gateways((*SEEING, *BLIND), lost=Lost.STATE), unattended=False),
    kept(
        "old row back (backup, power cut), receipts kept",
        gateways(SEEING, lost=Lost.COMMITS),
        unattended=True,
    ),
    kept("the same, blind", gateways(BLIND, lost=Lost.COMMITS), unattended=False),
    kept(
        "the same, a second attempt allowed",
        gateways((Finds.LATE, Finds.NEVER), (Used.REFUSED, Used.CHARGED), lost=Lost.COMMITS, attempts=2),
        unattended=False,
        luck=0,
    ),
)

FORGETFUL = tuple(
    replace(world, lost=lost, has_receipts=False, judges_alike=True)
    for world in gateways((Finds.LATE, Finds.NEVER), HOLDING)
    for lost in (Lost.STATE, Lost.COMMITS)
)
"""State and receipts lost: an assumption less, and used ids that hold make up for it."""
