"""The worlds within the assumptions, in families, and what a submission comes to in each."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


def gateways(finds=tuple(Finds), used=SINGLE, **known) -> tuple[World, ...]:
    return tuple(World(finds=f, used=u, **known) for f in finds for u in used)


def kept(name: str, worlds: tuple[World, ...], *, unattended: bool, **budgets: int) -> Family:
    return Family(name=name, worlds=worlds, is_unattended=unattended, **budgets)


PROVED = (Control.HERE, Control.PASSED)
UNPROVED = (Control.NONE, Control.LATER)
ALIKE = {"judges_alike": True}

FAMILIES = (
    kept(
        "look-ups work and can be proved",
        tuple(replace(world, control=control) for world in gateways(FINDING) for control in PROVED),
        unattended=True,
        hands=1,
    ),
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
        "used ids are known to be refused; look-ups are blind or missing",
        tuple(
            replace(world, is_known_to_refuse=True, control=c)
            for world in gateways(BLIND, HOLDING)
            for c in (*UNPROVED, Control.HERE)
        ),
        unattended=False,
    ),
    kept(
        "used ids are known to be refused; look-ups work",
        gateways(FINDING, HOLDING, is_known_to_refuse=True),
        unattended=True,
        hands=1,
    ),
    kept("calls are doubled; look-ups work", gateways(FINDING, HOLDING, doubles=True, **ALIKE), unattended=True),
    kept("calls are doubled; blind", gateways(BLIND, HOLDING, doubles=True, **ALIKE), unattended=False),
    kept(
        "a refusal burns the id", gateways(used=(Used.REFUSED, Used.REWORDED), burns=True), unattended=False, hands=1
    ),
    kept("the doubt is another key's", gateways(is_anothers=True), unattended=False),
    kept("state deleted, receipts kept", gateways(lost=Lost.STATE), unattended=False),
    kept(
        "old row back (backup, power cut), receipts kept; look-ups work",
        gateways(FINDING, lost=Lost.COMMITS),
        unattended=True,
    ),
    kept("the same, blind", gateways(BLIND, lost=Lost.COMMITS), unattended=False),
    kept(
        "the same, with a second attempt allowed",
        gateways((Finds.LATE, Finds.NEVER), (Used.REFUSED, Used.CHARGED), lost=Lost.COMMITS, attempts=2),
        unattended=False,
        luck=0,
    ),
)

FORGETFUL = tuple(
    replace(world, lost=lost, has_receipts=False, judges_alike=True)
    for world in gateways((Finds.LATE, Finds.NEVER, Finds.NAMELESS), HOLDING)
    for lost in (Lost.STATE, Lost.COMMITS)
)
"""State and receipts lost: an assumption less, and used ids that hold make up for it."""
