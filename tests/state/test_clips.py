"""What becomes of a generation in the state: at the provider, on the disk, and gone from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.generations import Video
from batcher.identity import content_hash
from batcher.tasks import Status
from batcher.times import iso, unix
from state.samples import AT, DAY, NOW, SCOPE, URL, add, attempt_row, bring, clip, generation, spent, used, want


def test_a_signed_url_is_kept_until_the_clip_is_home_and_no_longer(store, task):
    video = Video(url=URL, expires_at=NOW + 30 * DAY)
    done = store.succeeded(bring(store, task, Status.SUBMITTED), generation(videos=(video,), units=2.0), now=NOW)
    assert (attempt_row(store, task)["asset_url"], attempt_row(store, task)["units"]) == (URL, 2.0)
    assert store.expiring(job="autumn", scope=SCOPE) == [("fox", Status.SUCCEEDED, NOW + 30 * DAY)]
    store.downloaded(done, [clip(done)], now=NOW)
    assert attempt_row(store, task)["asset_url"] == "https://cdn.example/clips/fox.mp4"
    assert store.expiring(job="autumn", scope=SCOPE) == []
    assert not [row for row in store._rows("SELECT * FROM attempts, events, tasks") if "secret" in str(row)]


def test_what_is_submitted_may_be_finished_and_dies_30_days_later(store, task):
    """Nobody looked since, so no end was told; the provider clears its files all the same. The first comes first."""
    other = add(store, want(name="elk"))[0]
    video = Video(url=URL, expires_at=NOW + 3 * DAY)
    bring(store, task, Status.SUBMITTED)
    store.succeeded(bring(store, other, Status.SUBMITTED), generation(videos=(video,)), now=NOW)
    assert store.expiring(job="autumn", scope=SCOPE) == [
        ("elk", Status.SUCCEEDED, NOW + 3 * DAY),
        ("fox", Status.SUBMITTED, NOW + 30 * DAY),
    ]
    assert store.expiring(job="winter", scope=SCOPE) == []


@pytest.mark.parametrize(
    "end",
    [
        lambda s, t: s.failed(t, failure=("asset", "expired", "cleared"), bought=True, now=NOW),
        lambda s, t: s.dropped(t, now=NOW),
        lambda s, t: s.given_back(t, reason="cleared", now=NOW),
    ],
    ids=["failed", "dropped", "given back"],
)
def test_no_end_keeps_the_signature(store, task, end):
    end(store, bring(store, task, Status.SUCCEEDED))
    assert attempt_row(store, task)["asset_url"] == "https://cdn.example/clips/fox.mp4"


def test_a_url_without_a_query_is_kept_as_it_is(store, task):
    done = store.succeeded(
        bring(store, task, Status.SUBMITTED), generation(videos=(Video(url="https://a/b"),)), now=NOW
    )
    store.downloaded(done, [], now=NOW)
    assert attempt_row(store, task)["asset_url"] == "https://a/b"


def test_a_generation_without_a_file_still_frees_its_slot(store, task):
    done = store.succeeded(bring(store, task, Status.SUBMITTED), generation(), now=NOW)
    assert (done.status, attempt_row(store, task)["asset_url"]) == (Status.SUCCEEDED, None)
    assert store.in_flight(SCOPE, overdue_before=0) == 0


def test_a_clip_that_vanished_comes_back_without_a_new_purchase(store, task):
    home = bring(store, task, Status.DOWNLOADED)
    gone = store.missing(home, now=NOW)
    assert gone.status is Status.SUCCEEDED
    back = store.downloaded(gone, [clip(gone)], now=NOW)
    assert [(asset.kind, asset.path) for asset in store.assets(back)] == [("video", "autumn/fox.mp4")]
    assert spent(store).tasks == 1


def test_a_clip_that_is_elsewhere_is_home_all_the_same(store, task):
    """Moved with its folder: its new place is noted, and nothing else of it changes."""
    home = bring(store, task, Status.DOWNLOADED)
    store.refound(home, [replace(clip(home), path="autumn-moved/fox.mp4")])
    assert [asset.path for asset in store.assets(home)] == ["autumn-moved/fox.mp4"]
    assert store.task(task.id) == home


def test_a_clip_that_cannot_come_back_was_home_all_the_same(store, task):
    """It was delivered: it is not a failure, and keeps its price, its proof and the reason."""
    gone = store.missing(bring(store, task, Status.DOWNLOADED), now=NOW)
    left = store.given_back(gone, reason="cleared after 30 days", now=NOW)
    assert (left.status, left.error_code, left.error_message) == ("downloaded", "gone", "cleared after 30 days")
    assert (left.finished_at, len(store.assets(left))) == (gone.finished_at, 1)
    assert (attempt_row(store, task)["status"], spent(store).usd) == ("downloaded", 0.5)
    assert [row["what"] for row in store.events(task)][-2:] == ["missing", "gone"]


@pytest.mark.parametrize("generation_id", ["900", None])
def test_an_adopted_clip_is_home_and_paid_for(store, generation_id):
    """With the provider's id, where its sidecar says it: it can be fetched again should it vanish."""
    [task] = add(store, want(), used={content_hash(want().spec, scope=SCOPE): used()})
    adopted = store.adopted(task, [clip(task)], generation_id=generation_id, now=NOW)
    assert (adopted.status, len(store.assets(adopted)), spent(store).usd) == (Status.DOWNLOADED, 1, 0.5)
    assert (adopted.generation_id, attempt_row(store, task)["task_id"]) == (generation_id, generation_id)


def test_overdue_is_a_flag_and_ends_with_the_generation(store, task):
    late = store.overdue(bring(store, task, Status.PROCESSING), now=NOW)
    assert (late.status, late.overdue) == (Status.PROCESSING, True)
    assert not store.succeeded(late, generation(), now=NOW).overdue


def test_an_overdue_task_holds_its_slot_for_a_while(store, task):
    """For twice the time-out; then it no longer keeps others waiting."""
    store.overdue(bring(store, task, Status.PROCESSING), now=NOW)
    assert store.in_flight(SCOPE, overdue_before=NOW - 1) == 1
    assert store.in_flight(SCOPE, overdue_before=NOW + 1) == 0


def test_a_submission_holds_its_slot_before_any_answer(store, task):
    store.claim(task, now=NOW)
    assert store.in_flight(SCOPE, overdue_before=NOW + 1) == 1


def test_each_step_is_told_in_order(store, task):
    store.run_id = "run-1"
    bring(store, task, Status.DOWNLOADED)
    assert [(row["what"], row["run"]) for row in store.events(task)] == [
        ("submitted", "run-1"),
        ("succeeded", "run-1"),
        ("done", "run-1"),
    ]


def test_looks_are_counted(store, task):
    store.claim(task, now=NOW)
    store.polled({task.external_task_id: 3, "nobody": 9})
    store.polled({task.external_task_id: 2})
    assert attempt_row(store, task)["polls"] == 5


def test_times_are_sortable_text_and_come_back():
    assert iso(NOW) == AT
    assert unix(AT) == pytest.approx(NOW)
    assert iso(0) < iso(0.5) < iso(NOW)
