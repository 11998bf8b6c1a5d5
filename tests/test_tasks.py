from __future__ import annotations

import pytest

from batcher.tasks import IN_FLIGHT, NEXT, Status


def reachable(start: Status) -> set[Status]:
    reached, ends = set(), {start}
    while ends:
        reached |= ends
        ends = set().union(*(NEXT[status] for status in ends)) - reached
    return reached


def test_every_status_is_reached_from_pending_and_says_what_may_follow():
    assert reachable(Status.PENDING) == set(NEXT) == set(Status)


def test_every_task_can_still_be_brought_home_or_given_up():
    """No status is a trap, and the only end without a way out is the one a person chose."""
    assert {status for status in Status if Status.CANCELLED not in reachable(status)} == set()
    assert [status for status in Status if not NEXT[status]] == [Status.CANCELLED]
    assert {s for s in Status if Status.DOWNLOADED not in reachable(s)} == {Status.CANCELLED}


def test_nothing_is_bought_without_an_intent_on_disk():
    assert {status for status in Status if Status.SUBMITTED in NEXT[status]} == {Status.SUBMITTING, Status.UNCLEAR}
    assert {status for status in Status if Status.SUBMITTING in NEXT[status]} == {
        Status.PENDING,
        Status.FAILED,  # in an old backup: a receipt tells of a later attempt
        Status.UNCLEAR,  # `recover`, or a person, knows the id that it was sent with
    }


def test_a_submission_ends_in_what_is_known_or_in_a_question():
    """Failed: believed not created. Downloaded: the whole clip of this very id lies on the disk."""
    assert NEXT[Status.SUBMITTING] == {
        Status.PENDING,
        Status.SUBMITTED,
        Status.FAILED,
        Status.UNCLEAR,
        Status.DOWNLOADED,
    }


def test_a_doubt_never_becomes_a_failure():
    """A failed row invites `retry`, which pays again; only a person settles an unclear one."""
    assert NEXT[Status.UNCLEAR] == {Status.SUBMITTED, Status.SUBMITTING, Status.PENDING, Status.CANCELLED}


def test_what_is_paid_for_is_not_dropped_while_the_provider_works_on_it():
    assert all(Status.CANCELLED not in NEXT[status] for status in IN_FLIGHT)


def test_a_clip_is_home_only_after_it_was_finished_there():
    assert {status for status in Status if Status.DOWNLOADED in NEXT[status]} == {
        Status.SUBMITTING,  # adopted from the disk after the state was lost
        Status.SUCCEEDED,
    }


@pytest.mark.parametrize("status", Status)
def test_a_slot_is_held_from_the_intent_to_the_end_at_the_provider(status):
    assert status.is_in_flight is (status in {"submitting", "submitted", "processing"})


def test_nothing_follows_itself():
    assert [status for status in Status if status in NEXT[status]] == []
