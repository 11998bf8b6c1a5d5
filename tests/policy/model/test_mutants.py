"""A protocol with one rule less is caught: each mutant does harm in a world where the product does none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.generations import Fate, Posted, Sight
from batcher.policy.submission import Action, decide, fresh
from batcher.tasks import Status

from .model import Harm, Model
from .product import Product, Row
from .world import Finds, Lost, Used, World

TRIES = 2


class SendsAtOnce(Product):
    """An ambiguous call is sent again, as any HTTP client with retries does it."""

    def decide(self, e):
        return Action.POST if e.fate is Fate.AMBIGUOUS and e.rounds < TRIES else decide(e)


class TakesServerErrorsForUnsent(Product):
    """5xx: "the server could not do it"."""

    def posted(self, name):
        return Posted(fate=Fate.NOT_SENT) if name == "lost" else super().posted(name)


class NewIdInDoubt(Product):
    """A retry is a new request."""

    def new_id(self, e):
        return e.doubt


class NewIdForUsed(Product):
    """The id "already exists": take another."""

    def new_id(self, e):
        return e.fate is Fate.EXISTS


class RotatesBurned(Product):
    """It exists and cannot be found after the window: it must be one that a refusal burned."""

    def new_id(self, e):
        return e.fate is Fate.EXISTS and e.sight is Sight.ABSENT and e.sight_rested


class NewIdForInvalid(Product):
    """An unclear 1201 is met with another id."""

    def new_id(self, e):
        return e.fate is Fate.CHECK


class NewIdAfterLoss(Product):
    """Ids are random: a new state makes new ones."""

    def opened(self, row, receipts):
        return Row(attempt=2) if row is None else super().opened(row, receipts)


class BelievesInvalid(Product):
    """A 1201 is a refusal like another."""

    def decide(self, e):
        return Action.BELIEVE if e.fate is Fate.CHECK else decide(e)


class BelievesInvalidBeforeTheWindow(Product):
    """The first call under an id can meet no duplicate."""

    def decide(self, e):
        action = decide(e)
        early = e.fate is Fate.CHECK and e.posts <= 1 and not e.history and e.sight is Sight.ABSENT and e.finds_ids
        return Action.BELIEVE if early else action


class LooksAtOnce(Product):
    """No quiet window before the look that decides."""

    def decide(self, e):
        return decide(replace(e, rested=True, sight_rested=e.sight is not None))


class ReadsTheClock(Product):
    """The window is counted from the time that stands in the row: it was claimed long ago."""

    def inherited(self, row, **known):
        return replace(super().inherited(row, **known), rested=True)


class TrustsAnyAbsence(Product):
    """ "Not found" needs no control."""

    def decide(self, e):
        return decide(replace(e, finds_ids=True))


class TakesSilenceForAbsence(Product):
    """No usable answer: it is not there."""

    def decide(self, e):
        return decide(replace(e, sight=Sight.ABSENT) if e.sight is Sight.SILENT else e)


class TakesAnyGeneration(Product):
    """What a look finds is ours, whatever it is called."""

    def decide(self, e):
        return decide(replace(e, echoed=True))


class ForgetsTheDead(Product):
    """A row that a dead run left is begun anew."""

    def inherited(self, row, *, refuses_ids, is_foreign):
        return fresh(posts=row.counted(row.attempt), refuses_ids=refuses_ids)


class TakesAllKeysForOne(Product):
    """Another key's doubt is resolved like our own."""

    def decide(self, e):
        return decide(replace(e, foreign=False))


class LeavesAsNew(Product):
    """A run that is stopped puts its tasks back, sent or not."""

    def may_be_sent(self, e):
        return False


class WritesNothingFirst(Product):
    """Neither row nor receipt before the call."""

    writes_intent = False
    writes_receipts = False


class WritesNoRow(Product):
    """Receipts alone."""

    writes_intent = False


class WritesNoReceipt(Product):
    writes_receipts = False


class CountsReceipts(Product):
    """A receipt is a line, and says nothing of what the state had counted."""

    def receipt(self, row, lines):
        return lines + 1


class LeavesWhatIsInFlight(Product):
    """A row that an old backup has at the provider is not held against the receipt of a later attempt."""

    def is_behind(self, row, used):
        return row.status in (Status.PENDING, Status.FAILED) and super().is_behind(row, used)


PLAIN = World(used=Used.CHARGED)
LATE = World(finds=Finds.LATE, used=Used.CHARGED)
BLIND = World(finds=Finds.NEVER, used=Used.CHARGED)
REFUSING = World(used=Used.REFUSED)
BLIND_REFUSING = World(finds=Finds.NEVER, used=Used.REFUSED, is_known_to_refuse=True)
DOUBLING = World(finds=Finds.LATE, used=Used.REWORDED, doubles=True, judges_alike=True)
ROLLED_BACK = World(used=Used.CHARGED, lost=Lost.COMMITS)
FORGOTTEN = World(used=Used.REFUSED, lost=Lost.STATE, has_receipts=False, judges_alike=True)

MUTANTS = [
    (WritesNothingFirst, PLAIN, Harm.PAID_TWICE),
    (SendsAtOnce, PLAIN, Harm.PAID_TWICE),
    (NewIdInDoubt, REFUSING, Harm.PAID_TWICE),
    (TakesServerErrorsForUnsent, PLAIN, Harm.PAID_TWICE),
    (TakesServerErrorsForUnsent, REFUSING, Harm.ENDLESS),
    (LooksAtOnce, PLAIN, Harm.PAID_TWICE),
    (LooksAtOnce, LATE, Harm.PAID_TWICE),
    (ReadsTheClock, PLAIN, Harm.PAID_TWICE),
    (TrustsAnyAbsence, BLIND, Harm.PAID_TWICE),
    (TakesSilenceForAbsence, PLAIN, Harm.PAID_TWICE),
    (TakesAnyGeneration, World(finds=Finds.ANYTHING), Harm.PHANTOM),
    (NewIdForUsed, BLIND_REFUSING, Harm.PAID_TWICE),
    (RotatesBurned, replace(BLIND_REFUSING, burns=True), Harm.PAID_TWICE),
    (NewIdForInvalid, DOUBLING, Harm.PAID_TWICE),
    (BelievesInvalid, DOUBLING, Harm.LOST),
    (BelievesInvalidBeforeTheWindow, DOUBLING, Harm.LOST),
    (NewIdAfterLoss, FORGOTTEN, Harm.PAID_TWICE),
    (ForgetsTheDead, PLAIN, Harm.PAID_TWICE),
    (TakesAllKeysForOne, replace(PLAIN, is_anothers=True), Harm.PAID_TWICE),
    (LeavesAsNew, PLAIN, Harm.PAID_TWICE),
    (WritesNoReceipt, ROLLED_BACK, Harm.PAID_TWICE),
    (WritesNoReceipt, replace(PLAIN, lost=Lost.STATE), Harm.PAID_TWICE),
    (CountsReceipts, ROLLED_BACK, Harm.PAID_TWICE),
    (LeavesWhatIsInFlight, replace(BLIND, lost=Lost.COMMITS, attempts=2), Harm.PAID_TWICE),
]


@pytest.mark.parametrize(("mutant", "world", "harm"), MUTANTS, ids=str)
def test_a_protocol_with_one_rule_less_is_caught(mutant, world, harm):
    assert harm in Model(world, mutant()).explore(until=harm).harms


@pytest.mark.parametrize("world", sorted({world for _, world, _ in MUTANTS}, key=str), ids=str)
def test_the_whole_protocol_does_no_harm_there(world):
    model = Model(world).explore()
    assert not model.harms, [model.story(harm) for harm in model.harms]


@pytest.mark.parametrize(
    "mutant",
    [
        SendsAtOnce,
        TakesServerErrorsForUnsent,
        LooksAtOnce,
        ReadsTheClock,
        TrustsAnyAbsence,
        TakesSilenceForAbsence,
        ForgetsTheDead,
        LeavesAsNew,
        WritesNothingFirst,
        WritesNoReceipt,
    ],
)
def test_a_single_mistake_costs_no_money_where_used_ids_are_refused(mutant):
    """All but a new id."""
    for finds in (Finds.LATE, Finds.NEVER):
        assert Harm.PAID_TWICE not in Model(World(finds=finds, used=Used.REFUSED), mutant(), luck=0).explore().harms


def test_receipts_alone_make_up_for_a_row_that_was_never_written():
    """And rows for receipts, as long as none comes back older than it was: two records, either of which is enough."""
    for finds in (Finds.LATE, Finds.NEVER):
        assert not Model(World(finds=finds), WritesNoRow()).explore().harms
        assert not Model(World(finds=finds), WritesNoReceipt()).explore().harms


def test_a_harm_is_told_by_its_shortest_story():
    story = Model(PLAIN, SendsAtOnce()).story(Harm.PAID_TWICE)
    assert story == f"{PLAIN}: claimed; post: taken, answer lost; post: taken: paid twice"
