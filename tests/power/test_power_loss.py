"""The power goes at any moment of a recorded job: whatever the disk kept, nothing is paid twice, no clip is lost."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from power.cut import cut_the_power, dying_in
from power.judge import Judge
from power.platter import LOSSES, NAMES, NOTHING, PAGES, SECTORS, STRICT, Platter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def judged(plain):
    """Makes judges of the recorded job, or of one that forgets some syncs."""
    record, storm, met = plain

    def make(**platter):
        return Judge(Platter(record, **platter), storm, met=met)

    return make


def test_claim_and_receipt_are_on_disk_before_the_first_byte_of_a_create_call(judged):
    """Of three create calls: what nothing but a sync has saved holds the claim, the receipt and the namespace."""
    judge = judged()
    posts = [op for op in judge.platter.ops if op.kind == "post"]
    assert len({op.event["id"] for op in posts}) == len(posts) == 3
    for op in posts:
        assert judge.problems(op.began, STRICT) == []
        found = judge.findings(op.began, STRICT)
        assert found.statuses[op.event["id"]] == "submitting"
        assert op.event["id"] in found.receipts
        assert found.has_namespaces


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_no_cut_breaks_a_promise(judged, loss):
    judge = judged()
    moments = judge.platter.moments()
    few = sorted(random.Random(loss.name).sample(moments, 30))
    assert judge.first_problem(loss, moments if loss in (STRICT, NAMES) else few) == ""


@pytest.mark.parametrize(("state", "out"), [(STRICT, NOTHING), (NOTHING, STRICT), (SECTORS, STRICT), (STRICT, PAGES)])
def test_no_cut_breaks_a_promise_where_state_and_outputs_are_on_two_disks(judged, state, out):
    judge = judged()
    few = sorted(random.Random(state.name).sample(judge.platter.moments(), 30))
    assert judge.first_problem({"state": state, "out": out}, few) == ""


FORGOTTEN = {
    "of the state's log (synchronous=NORMAL)": lambda op: op.what.endswith("state.db-wal"),
    "of the state when its log is moved into it": lambda op: op.what.endswith(" state.db"),
    "of a new state": lambda op: op.what.endswith("state.db.new"),
    "of the receipts": lambda op: op.what.endswith("receipts.jsonl"),
    "of the namespaces": lambda op: op.what.endswith("batcher.json.part"),
    "of a clip": lambda op: op.what.endswith(".mp4.part"),
    "of a sidecar": lambda op: op.what.endswith("t1.json.part"),
    "of a poster": lambda op: op.what.endswith(".jpg.part"),
    "of the folder of clips": lambda op: op.what.endswith(" out/storm"),
    "of the output folder": lambda op: op.what.endswith(" out"),
    "of the state's folder": lambda op: op.what.endswith(" ."),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_each_sync_is_missed_where_it_is_forgotten(judged, what):
    """The same job without one kind of sync breaks a promise in some image: none is for nothing, and we would see."""
    judge = judged(without=FORGOTTEN[what])
    assert judge.first_problem(STRICT, judge.platter.moments()) != ""


WAITED_FOR = {
    "claim": lambda found, external_id: found.statuses.get(external_id) == "submitting",
    "receipt": lambda found, external_id: external_id in found.receipts,
}


@pytest.mark.parametrize("what", WAITED_FOR)
def test_a_create_call_that_does_not_wait_for_the_sync_is_noticed(plain, judged, what):
    """Its first byte put before the sync that makes the claim, or the receipt, durable."""
    ops = plain[0].ops
    for post in [op for op in ops if op.kind == "post"]:
        judge = judged()
        early = first_durable(judge, ops, post.event["id"], WAITED_FOR[what]) - 1
        judge.platter.ops = [replace(op, began=early) if op is post else op for op in ops]
        assert any(f"{post.event['id']} was sent" in each for each in judge.problems(early, STRICT))


def first_durable(judge, ops, external_id, proof):
    """The line of the log from which on no power cut can take it."""
    ends = (op.ended for op in ops if op.kind == "sync")
    return next(at for at in ends if proof(judge.findings(at, STRICT), external_id))


def test_the_next_run_goes_on_from_what_is_left(storm):
    """The power goes when the provider has taken the first task and nobody has written that down."""
    weather = storm(2, "--time-scale", "0.005")
    assert cut_the_power(weather, STRICT, plant=dying_in("accepted"))
    assert weather.ledger["totals"]["charged"] == 1
    weather.finish()
    weather.assert_each_paid_once_and_whole()
