"""No interleaving in any world within the assumptions pays twice or tells a lie; each assumption is needed."""

from __future__ import annotations

import pytest

from batcher.tasks import Status

from .families import FAMILIES, FINDING, FORGETFUL, HOLDING, explored, gateways
from .model import Harm, Model
from .world import Assumption, Control, Finds, Lock, Lost, Used, World


def stories(model: Model) -> str:
    return "\n".join(model.story(harm) for harm in sorted(model.harms))


@pytest.mark.parametrize(
    ("family", "world"),
    [pytest.param(family, world, id=f"{family.name}: {world}") for family in FAMILIES for world in family.worlds],
)
def test_a_submission_is_paid_once_and_never_lied_about(family, world):
    """Nor does any walk go on for ever. Where look-ups can be trusted, none needs a person."""
    assert not world.broken
    model = family.explored(world)
    assert not model.harms, stories(model)
    assert model.states > 10
    if family.is_unattended:
        assert Status.UNCLEAR not in model.ends


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.is_unattended], ids=lambda family: family.name)
def test_a_family_that_needs_a_person_does_so_somewhere(family):
    """Else the table would claim too little."""
    assert any(Status.UNCLEAR in family.explored(world).ends for world in family.worlds)


def test_every_kind_of_world_brings_clips():
    """A protocol that never sends is safe as well. Only what another key bought is shown to nobody here."""
    for family in FAMILIES:
        world = family.worlds[0]
        ends = family.explored(world).ends
        assert (Status.SUBMITTED in ends) is not world.is_anothers, world


# ---- each assumption is needed ------------------------------------------------------------------------------------

BROKEN = [
    (Assumption.CREATES_ONE, World(doubles=True, judges_alike=True), Harm.PAID_TWICE),
    (Assumption.DURABLE, World(lost=Lost.COMMITS, has_receipts=False, judges_alike=True), Harm.PAID_TWICE),
    (Assumption.DURABLE, World(lost=Lost.STATE, has_receipts=False, judges_alike=True), Harm.PAID_TWICE),
    (Assumption.LOCKED, World(lock=Lock.LEASE), Harm.PAID_TWICE),
    (Assumption.REFUSED_IS_NOT_CREATED, World(refusals_charge=True), Harm.LOST),
    (Assumption.REFUSED_IS_NOT_CREATED, World(used=Used.REFUSED, doubles=True), Harm.LOST),
    (
        Assumption.ID_HOLDS,
        World(finds=Finds.NEVER, used=Used.MIXED, is_known_to_refuse=True),
        Harm.PAID_TWICE,
    ),
    (Assumption.WINDOW_HOLDS, World(is_bounded=False), Harm.PAID_TWICE),
    (Assumption.OURS_ALONE, World(has_namesakes=True), Harm.PHANTOM),
    (Assumption.ONE_STATE, World(lock=Lock.NONE), Harm.PAID_TWICE),
]


@pytest.mark.parametrize(("assumption", "world", "harm"), BROKEN, ids=str)
def test_where_an_assumption_is_broken_its_harm_is_seen(assumption, world, harm):
    assert world.broken == {assumption}
    assert harm in Model(world).explore(until=harm).harms


def test_every_assumption_has_a_world_that_breaks_it():
    assert {assumption for assumption, _, _ in BROKEN} == set(Assumption)


@pytest.mark.parametrize(
    "broken",
    [
        {"is_bounded": False},
        {"lock": Lock.LEASE},
        {"lock": Lock.NONE},
        {"doubles": True},
        {"lost": Lost.COMMITS, "has_receipts": False},
        {"lost": Lost.STATE, "has_receipts": False},
    ],
    ids=str,
)
def test_ids_that_buy_nothing_twice_hold_without_the_other_assumptions(broken):
    """The one id of a task, never changed, is the measure worth most. (A row may then say too early: not bought.)"""
    for world in gateways((Finds.LATE, Finds.NEVER), HOLDING, **broken):
        model = explored(world, luck=0)
        assert world.broken
        assert Harm.PAID_TWICE not in model.harms, stories(model)
        assert Harm.ENDLESS not in model.harms, stories(model)


@pytest.mark.parametrize("world", FORGETFUL, ids=str)
def test_with_state_and_receipts_lost_the_same_id_finds_what_was_paid(world):
    """Neither paid twice nor given up: it is refused, looked for, and adopted or left to a person."""
    model = explored(world, luck=0)
    assert not model.harms, stories(model)


def test_a_gateway_that_refuses_only_at_times_is_safe_as_long_as_look_ups_can_be_trusted():
    for finds in FINDING:
        for control in (Control.HERE, Control.PASSED):
            model = explored(World(finds=finds, used=Used.MIXED, is_known_to_refuse=True, control=control))
            assert not model.harms, stories(model)
