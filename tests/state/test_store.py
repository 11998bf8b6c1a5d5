"""The life of a task in the state, and the money that goes with it."""

from __future__ import annotations

from contextlib import closing

import pytest

from batcher.errors import StateError
from batcher.policy.budget import Spent
from batcher.state.store import Store
from batcher.tasks import NEXT, Status
from batcher.times import iso
from state.samples import AT, DAY, NAMESPACE, NOW, SCOPE, add, attempt_row, bring, clip, generation, spent, want

FAILURE = ("provider", "500", "internal error")


# ---- guarded ------------------------------------------------------------------------------------------------------

MOVES = {
    "claim": (Status.PENDING, lambda s, t: s.claim(t, now=NOW)),
    "accepted": (Status.SUBMITTING, lambda s, t: s.accepted(t, generation(), request_id=None, how="found", now=NOW)),
    "released": (Status.SUBMITTING, lambda s, t: s.released(t, reason="busy", wait_s=1, refused=True, now=NOW)),
    "parked": (Status.SUBMITTING, lambda s, t: s.parked(t, reason="no answer", now=NOW)),
    "adopted": (Status.SUBMITTING, lambda s, t: s.adopted(t, [], generation_id="845", now=NOW)),
    "processing": (Status.SUBMITTED, lambda s, t: s.processing(t, now=NOW)),
    "overdue": (Status.PROCESSING, lambda s, t: s.overdue(t, now=NOW)),
    "succeeded": (Status.PROCESSING, lambda s, t: s.succeeded(t, generation(), now=NOW)),
    "downloaded": (Status.SUCCEEDED, lambda s, t: s.downloaded(t, [clip(t)], now=NOW)),
    "missing": (Status.DOWNLOADED, lambda s, t: s.missing(t, now=NOW)),
    "failed": (Status.PROCESSING, lambda s, t: s.failed(t, failure=FAILURE, bought=True, now=NOW)),
    "troubled": (Status.SUCCEEDED, lambda s, t: s.troubled(t, code="403", message="expired")),
    "dropped": (Status.DOWNLOADED, lambda s, t: s.dropped(t, now=NOW)),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_move_from_a_row_that_has_moved_on_is_refused_and_writes_nothing(store, task, name):
    """Somebody else wrote: neither the task, its attempt nor its history changes."""
    status, move = MOVES[name]
    task = bring(store, task, status)
    store._execute("UPDATE tasks SET status = 'cancelled'")
    before = [store._rows(f"SELECT * FROM {table}") for table in ("tasks", "attempts", "events", "assets")]
    with pytest.raises(StateError, match=f"fox is no longer {status}"):
        move(store, task)
    assert [store._rows(f"SELECT * FROM {table}") for table in ("tasks", "attempts", "events", "assets")] == before


@pytest.mark.parametrize("name", MOVES)
def test_a_move_returns_the_row_as_it_is_on_disk(store, task, name):
    status, move = MOVES[name]
    moved = move(store, bring(store, task, status))
    assert moved == store.task(task.id)
    assert moved.status is status or moved.status in NEXT[status]


def test_a_stale_value_cannot_claim_twice(store, task):
    """Two walks that both read the task as pending: one gets it."""
    store.claim(task, now=NOW)
    with pytest.raises(StateError, match="no longer pending"):
        store.claim(task, now=NOW)
    assert attempt_row(store, task)["posts"] == 1


def test_a_walk_on_an_older_attempt_cannot_move_the_new_one(store, task):
    old = bring(store, task, Status.PROCESSING)
    failed = store.failed(old, failure=FAILURE, bought=True, now=NOW)
    again = store.next_attempt(failed, namespace=NAMESPACE, wait_s=0, now=NOW)
    new = bring(store, again, Status.PROCESSING)
    with pytest.raises(StateError, match="no longer processing"):
        store.succeeded(old, generation(), now=NOW)
    assert store.task(task.id) == new


@pytest.mark.parametrize(
    ("status", "move"),
    [
        (Status.PENDING, "accepted"),
        (Status.PENDING, "downloaded"),
        (Status.SUCCEEDED, "missing"),
        (Status.DOWNLOADED, "claim"),
        (Status.SUBMITTED, "dropped"),
    ],
)
def test_what_may_not_follow_is_refused(store, task, status, move):
    with pytest.raises(StateError, match="cannot go from"):
        MOVES[move][1](store, bring(store, task, status))


@pytest.mark.parametrize(
    ("status", "free"),
    [
        (Status.SUBMITTED, lambda s, t: s.released(t, reason="busy", wait_s=1, refused=True, now=NOW)),
        (Status.PROCESSING, lambda s, t: s.released(t, reason="busy", wait_s=1, refused=True, now=NOW)),
        (Status.SUBMITTED, lambda s, t: s.resubmit(t, now=NOW)),
        (Status.PROCESSING, lambda s, t: s.resubmit(t, now=NOW)),
        (Status.FAILED, lambda s, t: s.resubmit(t, now=NOW)),
    ],
)
def test_a_price_is_set_free_from_one_status_alone(store, task, status, free):
    """These tasks may wait again, but only to be paid for again: what the last attempt cost stays."""
    bought = bring(store, task, Status.PROCESSING if status is Status.FAILED else status)
    if status is Status.FAILED:
        bought = store.failed(bought, failure=FAILURE, bought=True, now=NOW)
    with pytest.raises(StateError, match=f"fox is {status}, not"):
        free(store, bought)
    assert (store.task(task.id), spent(store).usd) == (bought, 0.5)


def test_a_failure_half_way_leaves_nothing_behind(store, task):
    """A move and its record are one commit."""
    claimed = store.claim(task, now=NOW)
    store._execute("DROP TABLE events")
    with pytest.raises(StateError):
        store.released(claimed, reason="busy", wait_s=1, refused=True, now=NOW)
    assert store.task(task.id) == claimed
    assert attempt_row(store, task)["status"] == "submitting"


# ---- the intent and its price -------------------------------------------------------------------------------------


def test_a_claim_puts_intent_price_and_call_on_disk(store, task, path):
    """All before a byte leaves: another process sees it when the call returns."""
    claimed = store.claim(task, account="k1", now=NOW)
    with closing(Store(path)) as other:
        assert other.task(task.id) == claimed
        row = attempt_row(other, task)
        assert (row["external_task_id"], row["posts"], row["cost_usd"]) == (task.external_task_id, 1, 0.5)
        assert (row["status"], row["claimed_at"], row["inherited"]) == ("submitting", AT, 0)
        assert row["key_fingerprint"] == "k1"
    assert claimed.status is Status.SUBMITTING
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)


def test_every_further_call_of_the_same_walk_is_counted(store, task):
    claimed = store.claim(task, now=NOW)
    store.count_post(claimed)
    assert attempt_row(store, task)["posts"] == 2
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)


def test_a_released_task_costs_nothing_keeps_its_id_and_waits(store, task):
    released = store.released(store.claim(task, now=NOW), reason="busy", wait_s=30, refused=True, now=NOW)
    assert (released.status, released.external_task_id) == (Status.PENDING, task.external_task_id)
    assert released.not_before == iso(NOW + 30)
    assert (attempt_row(store, task)["refusals"], spent(store)) == (1, Spent())
    again = store.claim(released, account="k2", now=NOW + 31)
    assert (again.not_before, attempt_row(store, task)["posts"]) == (None, 2)
    assert store.attempt(task.external_task_id).key_fingerprint == "k2"
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)


def test_a_price_counts_on_the_day_of_its_last_claim(store, task):
    """Refused before midnight, bought after it."""
    released = store.released(store.claim(task, now=NOW), reason="busy", wait_s=DAY, refused=True, now=NOW)
    store.claim(released, now=NOW + DAY)
    assert spent(store, now=NOW).usd_today == 0
    assert spent(store, now=NOW + DAY).usd_today == 0.5


@pytest.mark.parametrize(
    ("bought", "left"), [(False, Spent()), (True, Spent(usd=0.5, usd_today=0.5, tasks=1))], ids=["unbought", "bought"]
)
def test_a_failure_costs_what_was_bought(store, task, bought, left):
    """Failed at the provider counts until a refund is known; a refused one never cost anything."""
    task = bring(store, task, Status.PROCESSING if bought else Status.SUBMITTING)
    failed = store.failed(task, failure=FAILURE, bought=bought, now=NOW)
    assert spent(store) == left
    assert (failed.error_class, failed.error_code, failed.error_message) == FAILURE
    assert failed.finished_at == AT


def test_an_unclear_task_keeps_its_price_until_a_person_says_otherwise(store, task):
    parked = store.parked(store.claim(task, now=NOW), reason="no answer", now=NOW)
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)
    assert store.spend(job="autumn", edition="", scope=SCOPE) == {"unclear": 0.5}
    sent_again = store.resubmit(parked, now=NOW)
    assert (sent_again.status, sent_again.external_task_id) == (Status.PENDING, task.external_task_id)
    assert spent(store) == Spent()


def test_an_unclear_task_that_turns_up_is_paid_for(store, task):
    parked = store.parked(store.claim(task, now=NOW), reason="no answer", now=NOW)
    found = store.accepted(parked, generation(), request_id=None, how="resolve", now=NOW)
    assert (found.status, found.generation_id, found.error_message) == (Status.SUBMITTED, "845", None)
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)


def test_giving_an_unclear_task_up_does_not_give_its_price_back(store, task):
    store.dropped(store.parked(store.claim(task, now=NOW), reason="no answer", now=NOW), now=NOW)
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)


def test_every_attempt_counts(store, task):
    failed = store.failed(bring(store, task, Status.PROCESSING), failure=FAILURE, bought=True, now=NOW)
    again = store.next_attempt(failed, namespace=NAMESPACE, wait_s=0, now=NOW)
    assert spent(store) == Spent(usd=0.5, usd_today=0.5, tasks=1)
    bring(store, again, Status.DOWNLOADED, now=NOW + DAY)
    assert spent(store) == Spent(usd=1.0, usd_today=0.5, tasks=2)
    assert spent(store, now=NOW + DAY) == Spent(usd=1.0, usd_today=0.5, tasks=2)


def test_budgets_are_apart_by_job_edition_and_account_and_a_day_is_the_accounts(store):
    for wanted, scope in [
        (want(), SCOPE),
        (want(edition="2", output="a/2"), SCOPE),
        (want(job="spring", output="a/3"), SCOPE),
        (want(), "simulator"),
    ]:
        bring(store, *add(store, wanted, scope=scope), Status.SUBMITTED)
    assert spent(store) == Spent(usd=0.5, usd_today=1.5, tasks=1)
    assert spent(store, scope="simulator") == Spent(usd=0.5, usd_today=0.5, tasks=1)
    assert spent(store, day="2026-11-21") == Spent(usd=0.5, usd_today=0, tasks=1)


def test_the_days_spending_can_be_read_by_anybody(store, task):
    [other] = add(store, want("owl"))
    store.failed(bring(store, task, Status.PROCESSING), failure=FAILURE, bought=True, now=NOW)
    store.parked(store.claim(other, now=NOW + DAY), reason="no answer", now=NOW + DAY)
    assert [tuple(row.values()) for row in store._rows("SELECT * FROM spend_by_day ORDER BY day")] == [
        ("2026-11-22", SCOPE, "autumn", 1, 0.5, 0.5, 0.0),
        ("2026-11-23", SCOPE, "autumn", 1, 0.5, 0.0, 0.5),
    ]


# ---- another attempt ----------------------------------------------------------------------------------------------


def test_what_was_never_bought_is_tried_again_under_its_id(store, task):
    """Refused or unanswered: the id burns with a purchase only, so a late surprise is still recognised."""
    failed = store.failed(store.claim(task, now=NOW), failure=FAILURE, bought=False, now=NOW)
    again = store.next_attempt(failed, namespace=NAMESPACE, wait_s=0, now=NOW)
    assert (again.external_task_id, again.attempt) == (task.external_task_id, 1)
    assert store.claim(again, now=NOW)
    assert (attempt_row(store, task)["posts"], spent(store).tasks) == (2, 1)


def test_what_was_never_bought_keeps_its_id_though_its_job_was_renamed(store, task):
    failed = store.failed(store.claim(task, now=NOW), failure=FAILURE, bought=False, now=NOW)
    store.take_over(failed, job="winter", content="c0ffee")
    again = store.next_attempt(store.task(task.id), namespace=NAMESPACE, wait_s=0, now=NOW)
    assert again.external_task_id == task.external_task_id


def test_what_was_bought_is_bought_again_under_the_next_id(store, task):
    failed = store.failed(bring(store, task, Status.PROCESSING), failure=FAILURE, bought=True, now=NOW)
    again = store.next_attempt(failed, namespace=NAMESPACE, wait_s=5, now=NOW)
    assert again.external_task_id == task.external_task_id.removesuffix("-a1") + "-a2"
    assert (again.attempt, again.attempts_allowed, again.status) == (2, 2, Status.PENDING)
    assert (again.generation_id, again.submitted_at, again.finished_at) == (None, None, None)
    assert again.not_before == iso(NOW + 5)


@pytest.mark.parametrize("bought", [True, False])
def test_one_retry_is_one_attempt(store, bought):
    """A person who asks for one more gets one: its failure is not followed by others of itself."""
    [task] = add(store, want())
    task = bring(store, task, Status.PROCESSING if bought else Status.SUBMITTING)
    failed = store.failed(task, failure=FAILURE, bought=bought, now=NOW)
    again = store.next_attempt(failed, namespace=NAMESPACE, wait_s=0, now=NOW)
    assert again.attempts_allowed == again.attempt == 1 + bought


def test_a_retry_takes_no_attempt_away(store):
    [task] = add(store, want(), attempts=3)
    failed = store.failed(bring(store, task, Status.PROCESSING), failure=FAILURE, bought=True, now=NOW)
    assert store.next_attempt(failed, namespace=NAMESPACE, wait_s=0, now=NOW).attempts_allowed == 3


@pytest.mark.parametrize("status", [Status.UNCLEAR, Status.PROCESSING])
def test_paying_again_by_name_is_a_new_id(store, task, status):
    """The old one may still bring a clip; its price stays."""
    if status is Status.UNCLEAR:
        left = store.parked(store.claim(task, now=NOW), reason="no answer", now=NOW)
    else:
        left = store.overdue(bring(store, task, status), now=NOW)
    again = store.next_attempt(left, namespace=NAMESPACE, wait_s=0, now=NOW)
    assert (again.attempt, again.overdue) == (2, False)
    store.claim(again, now=NOW)
    assert spent(store) == Spent(usd=1.0, usd_today=1.0, tasks=2)


def test_an_old_trouble_does_not_stick_to_a_new_attempt(store, task):
    failed = store.failed(bring(store, task, Status.PROCESSING), failure=FAILURE, bought=True, now=NOW)
    claimed = store.claim(store.next_attempt(failed, namespace=NAMESPACE, wait_s=0, now=NOW), now=NOW)
    assert (claimed.error_class, claimed.error_code, claimed.error_message) == (None, None, None)
