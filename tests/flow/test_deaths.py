"""Die at a statement, be born again, and end right: a sample of what `tests/chaos` does at every one.

Also here: that the judge sees a broken protocol when there is one.
"""

from __future__ import annotations

import errno
import importlib
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from failing import BadCalls, Choke
from mortal import Census
from scenes import PROVIDERS, SCENES, Scene, check_books, check_paid_once, judge, live, live_on, run

from batcher.assets.receipts import Receipts
from batcher.runner import submit, walk
from batcher.state.store import Store
from batcher.tasks import Status

pytestmark = pytest.mark.slow

LOST = Scene(provider="takes it, then resets")
PLANNED = 1250
"""Statements until a new state and its plan are written; deaths before that are those of `test_births`."""


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_death_with_each_provider(tmp_path, provider):
    """One charge at most, the right id or `unclear`, and the clips whole: whatever the provider did meanwhile."""
    rng = random.Random(provider)
    scene = rng.choice([scene for scene in SCENES if scene.provider == provider])
    lab = scene.lab(tmp_path / "lab", rng)
    for _ in range(rng.choice([1, 1, 2])):
        assert live(lab, die_at=rng.randrange(PLANNED, 2800)).exit_code is None
        lab.age += rng.choice([0, 0, 5, 3600])
    live_on(lab, scene)


def test_a_death_after_each_change_of_the_world(tmp_path):
    """Statements between two changes leave the same behind; the first after each of some changes is died at here."""
    rng = random.Random(7)
    lab = LOST.lab(tmp_path / "census", rng)
    whole = live(lab, tracer=lambda lab: Census(lab.footprint))
    judge(lab, LOST, whole)
    planned = [spell for spell in whole.spells if spell.first > PLANNED]
    assert len(planned) > 40
    for spell in planned[:: len(planned) // 5]:
        lab = LOST.lab(tmp_path / str(spell.first), rng)
        assert live(lab, die_at=spell.first).exit_code is None
        live_on(lab, LOST)


def test_a_death_while_a_clip_is_published_and_the_state_lost(tmp_path):
    """The clip that has its name is adopted, and what lay about beside it is gone."""
    rng = random.Random(5)
    spells = live(LOST.lab(tmp_path / "census", rng), tracer=lambda lab: Census(lab.footprint)).spells
    published = [spell.first for spell in spells if spell.after & {"s01-t1.mp4", ".s01-t1.jpg.part", "s01-t1.jpg"}]
    assert len(published) >= 3
    for statement in published:
        lab = LOST.lab(tmp_path / str(statement), rng)
        assert live(lab, die_at=statement).exit_code is None
        lab.forget_state()
        lab.has_lost_state = True
        live_on(lab, LOST)
        assert not list(lab.out.rglob("*.part"))


@pytest.mark.parametrize("affords", [1.0, 2.5])
def test_a_budget_holds_through_deaths(tmp_path, affords):
    """What was reserved before the death stays reserved, once: never more than the budget, and never less."""
    scene = replace(LOST, clips=3, affords=affords)
    rng = random.Random(int(affords))
    lab = scene.lab(tmp_path / "lab", rng)
    for _ in range(3):
        live(lab, die_at=rng.randrange(PLANNED, 4000))
    assert live_on(lab, scene).exit_code == 3
    assert len(lab.ledger.charges) == int(affords)


# ---- a disk that fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("once", [True, False], ids=["once", "for good"])
@pytest.mark.parametrize("number", [9, 60])
def test_a_call_on_a_file_fails(tmp_path, number, once):
    """The run stops with exit 78 or gets over it; it never guesses, and the next one completes."""
    lab = LOST.lab(tmp_path / "lab", random.Random(0))
    life = live(lab, tracer=lambda lab: BadCalls(lab.folder, number, once=once, code=errno.EIO))
    assert life.faults >= number
    assert_it_ended_honestly(lab, life)


@pytest.mark.parametrize("once", [True, False], ids=["once", "for good"])
@pytest.mark.parametrize("statement", [1400, 5800])
def test_no_byte_more_from_a_statement_on(tmp_path, statement, once):
    """A full disk, to SQLite and to files alike."""
    lab = LOST.lab(tmp_path / "lab", random.Random(0))
    life = live(lab, tracer=lambda _: Choke(statement, once=once))
    assert life.faults
    assert once or life.exit_code == 78
    assert_it_ended_honestly(lab, life)


def assert_it_ended_honestly(lab, life):
    if life.exit_code != 78:
        judge(lab, LOST, life)
    live_on(lab, LOST)


# ---- the judge --------------------------------------------------------------------------------------------------


def without_intent():
    """The row is written when the answer is here, and no receipt; nor is a missing one noticed."""
    claim, accepted = Store.claim, Store.accepted

    def claimed(self, task, *, account="", now):
        return replace(task, status=Status.SUBMITTING)

    def claimed_late(self, task, generation, *, now, **more):
        if self.task(task.id).status is Status.PENDING:
            task = claim(self, replace(task, status=Status.PENDING), now=now)
        return accepted(self, task, generation, now=now, **more)

    async def nothing(*_, **__):
        pass

    Store.claim, Store.accepted, Receipts.append = claimed, claimed_late, nothing
    Store.check_content = lambda self, task: SimpleNamespace(posts=1)


def without_doubt():
    """What a dead run left is taken for new."""
    walk.inherited = submit.fresh


def without_rest():
    """The quiet window is no time at all."""
    session = importlib.import_module("batcher.runner.session")
    session.Session.quiet_window_s = 0.0


def without_receipt():
    """Nothing beside the state remembers what was sent."""

    async def nothing(*_, **__):
        pass

    Receipts.append = nothing


MUTANTS = [
    (without_intent, "takes it", check_paid_once),
    (without_doubt, "takes it", check_paid_once),
    (without_rest, "takes it late", check_paid_once),
    (without_receipt, "takes it", check_books),
]


@pytest.mark.parametrize(
    ("mutant", "provider", "check"), MUTANTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_the_judge_sees_a_broken_protocol(tmp_path, mutant, provider, check):
    """A rule that is taken away is missed within a few deaths: were it lost from the code, this suite would tell."""
    scene = Scene(provider=provider)
    rng = random.Random(3)
    lab = scene.lab(tmp_path / "census", rng)
    spells = lab.live(run, tracer=lambda lab: Census(lab.footprint)).spells
    at_calls = [spell.first for spell in spells if spell.after & {"books.jsonl", "wire.jsonl"}]
    assert len(at_calls) >= 4

    def live_without_the_rule():
        for statement in at_calls:
            lab = scene.lab(tmp_path / str(statement), rng, arrives=True)
            lab.live(run, die_at=statement, before=mutant)
            lab.live(run, before=mutant)
            check(lab)

    with pytest.raises(AssertionError, match=r"paid twice|no receipt"):
        live_without_the_rule()
