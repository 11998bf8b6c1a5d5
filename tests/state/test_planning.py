"""Manifests change; what was planned and paid for stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.errors import StateError
from batcher.identity import content_hash, external_task_id
from batcher.tasks import Status
from state.samples import ALL, AT, NAMESPACE, NOW, SCOPE, add, bring, planned, used, want


def hash_of(wanted, *, scope=SCOPE):
    return content_hash(wanted.spec, scope=scope)


def refresh(store, *wanted, job="autumn", edition=""):
    with planned(store, *wanted, job=job, edition=edition) as plan, store.transaction():
        store.refresh(plan)


def orphaned(store):
    return {task.name for task in store.tasks(ALL) if task.orphaned}


# ---- adding -------------------------------------------------------------------------------------------------------


def test_a_new_task_waits_with_its_request_its_id_and_its_price(store):
    request = {"prompt": "Ein Fuchs — 狐", "model_name": "kling-v1-6", "duration": "5", "flags": [True, None]}
    wanted = want(request=request, source="jobs/autumn.yaml:14", priority=3, edition="2026", take="2")
    [task] = add(store, wanted)
    assert task == store.task(task.id)
    assert (task.status, task.request, task.prompt) == (Status.PENDING, request, "Ein Fuchs — 狐")
    assert (task.source, task.priority, task.edition, task.take) == ("jobs/autumn.yaml:14", 3, "2026", "2")
    assert (task.cost_usd, task.cost_is_estimate, task.created_at) == (0.5, True, AT)
    assert task.external_task_id == external_task_id(
        job="autumn", content=hash_of(wanted), namespace=NAMESPACE, attempt=1
    )
    assert store.attempts(task) == []


def test_what_is_known_is_left_alone(store):
    """The request is frozen at the first plan, and so are its price and place."""
    [task] = add(store, want())
    done = bring(store, task, Status.DOWNLOADED)
    assert add(store, want(name="renamed", output="autumn/elsewhere", price_usd=9.0)) != [task]
    assert add(store, want(output="autumn/elsewhere", price_usd=9.0)) == []
    assert store.task(task.id) == done


def test_the_same_request_on_another_account_is_another_task(store):
    assert len(add(store, want()) + add(store, want(), scope="simulator")) == 2


def test_two_tasks_of_one_path_get_six_digits_to_tell_them_apart(store):
    """Never an error, and the same digits in every run."""
    first, second = want("fox", output="autumn/clip"), want("owl", output="autumn/clip")
    assert [task.output for task in add(store, first, second)] == [
        "autumn/clip",
        f"autumn/clip-{hash_of(second)[:6]}",
    ]


def test_a_clash_is_found_again_as_what_it_is(store):
    """The next run plans the same two tasks, and adds none."""
    both = want("fox", output="autumn/clip"), want("owl", output="autumn/clip")
    add(store, *both)
    assert add(store, *both) == []
    assert add(store, *reversed(both)) == []


def test_paths_that_differ_in_case_only_are_one_path(store):
    """They are one file on a Mac."""
    [_, second] = add(store, want("fox", output="autumn/Clip"), want("owl", output="autumn/clip"))
    assert second.output != "autumn/clip"


def test_a_path_that_cannot_be_told_apart_is_an_error(store):
    third = want("owl", output="autumn/clip")
    taken = f"autumn/clip-{hash_of(third)[:6]}"
    add(store, want("fox", output="autumn/clip"), want("elk", output=taken))
    with pytest.raises(StateError, match="want the file autumn/clip"):
        add(store, third)


def test_a_plan_is_added_whole_or_not_at_all(store):
    with pytest.raises(TypeError):
        add(store, want(), want("owl", request={"prompt": {1, 2}}))
    assert store.tasks(ALL) == []


@pytest.mark.parametrize("number", [1, 3])
def test_what_a_receipt_names_was_submitted_whatever_the_state_knows(store, number):
    """Its state is gone: it starts in `submitting`, with its price reserved, under the very id that was sent.

    That id may be of another namespace, or of a job that was called otherwise; its calls count as made.
    """
    before = used(f"summer-elsewhere-a{number}", attempt=number, posts=2, account="k2")
    [task] = add(store, want(), used={hash_of(want()): before})
    assert (task.status, task.attempt, task.attempts_allowed) == (Status.SUBMITTING, number, number)
    assert task.external_task_id == before.external_task_id
    attempt = store.attempt(task.external_task_id)
    assert (attempt.inherited, attempt.posts, attempt.number, attempt.key_fingerprint) == (True, 2, number, "k2")
    assert store.spent(job="autumn", edition="", scope=SCOPE, day=AT[:10]).usd == 0.5


# ---- an edited manifest -------------------------------------------------------------------------------------------


def test_what_the_manifest_no_longer_names_is_orphaned_and_kept(store):
    fox, owl = want("fox"), want("owl")
    bring(store, add(store, fox, owl)[0], Status.SUBMITTED)
    refresh(store, owl)
    assert orphaned(store) == {"fox"}
    assert store.orphans(job="autumn", edition="", scope=SCOPE) == 1
    assert store.in_flight(SCOPE, overdue_before=0) == 1


def test_what_it_names_again_is_wanted_again(store):
    fox, owl = want("fox"), want("owl")
    add(store, fox, owl)
    refresh(store, owl)
    refresh(store, fox, owl)
    assert orphaned(store) == set()


def test_a_new_name_place_or_priority_makes_no_new_task(store):
    [task] = add(store, want("fox"))
    moved = want("fox", request={"prompt": "A fox"}, source="jobs/autumn.yaml:99", priority=7)
    refresh(store, replace(moved, spec=replace(moved.spec, name="red-fox")))
    now = store.task(task.id)
    assert (now.name, now.priority, now.source, now.external_task_id) == (
        "red-fox",
        7,
        "jobs/autumn.yaml:99",
        task.external_task_id,
    )


def test_only_this_job_and_edition_are_held_against_the_manifest(store):
    others = want(edition="2", output="a/2"), want(job="spring", output="a/3"), want("roe", take="r1", output="a/4")
    add(store, want(), *others)
    add(store, want(), scope="simulator")
    refresh(store)
    assert [(t.job, t.edition, t.scope, t.take) for t in store.tasks(ALL) if t.orphaned] == [
        ("autumn", "", SCOPE, "1")
    ]


# ---- a renamed job, a lost state ----------------------------------------------------------------------------------


def test_a_renamed_job_keeps_its_tasks_and_their_ids(store):
    [task] = add(store, want())
    bring(store, task, Status.DOWNLOADED)
    new = want(job="winter")
    refresh(store)
    store.take_over(store.task(task.id), job="winter", content=hash_of(new))
    taken = store.task(task.id)
    assert (taken.job, taken.content_hash, taken.orphaned) == ("winter", hash_of(new), False)
    assert taken.external_task_id == task.external_task_id
    assert add(store, new) == []
    assert len(store.assets(taken)) == 1


def test_a_pending_task_that_a_receipt_knows_was_sent_before(store):
    """An old backup came back: the task must not be taken for new."""
    [task] = add(store, want())
    inherited = store.inherit(task, used("autumn-elsewhere-a2", attempt=2, posts=3), now=NOW)
    assert (inherited.status, inherited.attempt, inherited.attempts_allowed) == (Status.SUBMITTING, 2, 2)
    assert inherited.external_task_id == "autumn-elsewhere-a2"
    attempt = store.attempt(inherited.external_task_id)
    assert (attempt.inherited, attempt.posts, attempt.key_fingerprint) == (True, 3, "k1")


def test_a_failure_that_was_retried_since_is_in_doubt_again(store):
    """Nothing of the old failure sticks to it, and both attempts count against the budget."""
    [task] = add(store, want())
    bought = bring(store, task, Status.PROCESSING)
    failed = store.failed(bought, failure=("provider", "500", "no"), bought=True, now=NOW)
    again = store.inherit(failed, used("autumn-elsewhere-a2", attempt=2), now=NOW)
    assert (again.status, again.generation_id, again.submitted_at, again.finished_at) == (
        "submitting",
        None,
        None,
        None,
    )
    assert (again.error_class, again.error_code, again.error_message) == (None, None, None)
    assert store.spent(job="autumn", edition="", scope=SCOPE, day=AT[:10]).tasks == 2


def test_the_calls_of_a_known_attempt_are_those_that_the_folder_counted(store):
    """Never fewer than the state has counted itself, one more included: each may have been charged."""
    [task] = add(store, want())
    released = store.released(store.claim(task, now=NOW), reason="busy", wait_s=0, refused=True, now=NOW)
    inherited = store.inherit(released, used(task.external_task_id, posts=5, account="k2"), now=NOW)
    attempt = store.attempt(inherited.external_task_id)
    assert (attempt.posts, attempt.key_fingerprint) == (5, "k2")


def test_what_is_home_or_given_up_inherits_nothing(store):
    [fox, owl] = add(store, want(), want("owl"))
    for end in (bring(store, fox, Status.DOWNLOADED), store.dropped(owl, now=NOW)):
        with pytest.raises(StateError, match="cannot go back to submitting"):
            store.inherit(end, used(attempt=2), now=NOW)
