from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.errors import UsageError
from batcher.policy.polling import Durations
from batcher.state.rows import Account, Job, Run
from batcher.state.selection import Selection
from batcher.tasks import Status
from batcher.times import iso
from state.samples import ALL, NOW, SCOPE, add, bring, generation, want

EDITION = "2026-11-22"


@pytest.fixture
def zoo(store):
    """Five tasks in different places: one home, one at the provider, one failed, two waiting."""
    names = ("fox-16x9", "fox-9x16", "owl-16x9", "owl-9x16", "elk")
    tasks = {task.name: task for task in add(store, *map(want, names))}
    home = bring(store, tasks["fox-16x9"], Status.SUBMITTING)
    home = store.accepted(home, generation(id="900"), request_id=None, how="create", now=NOW)
    bring(store, home, Status.DOWNLOADED)
    bring(store, tasks["fox-9x16"], Status.PROCESSING)
    failed = bring(store, tasks["owl-16x9"], Status.SUBMITTING)
    store.failed(failed, failure=("content", "1301", "no"), bought=False, now=NOW)
    return {name: store.task(task.id) for name, task in tasks.items()}


def named(store, **selection):
    return {task.name for task in store.tasks(Selection(**selection))}


# ---- selecting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), {"fox-16x9", "fox-9x16", "owl-16x9", "owl-9x16", "elk"}),
        (("fox-*",), (), {"fox-16x9", "fox-9x16"}),
        (("*-16x9", "elk"), (), {"fox-16x9", "owl-16x9", "elk"}),
        (("FOX-*",), (), set()),
        (("status:failed",), (), {"owl-16x9"}),
        (("status:pending", "fox-16x9"), (), {"owl-9x16", "elk", "fox-16x9"}),
        (("id:900",), (), {"fox-16x9"}),
        (("id:elk",), (), set()),
        (("fox-*",), ("*-9x16",), {"fox-16x9"}),
        ((), ("status:pending", "fox-*"), {"owl-16x9"}),
        ((), ("id:900",), {"fox-9x16", "owl-16x9", "owl-9x16", "elk"}),
        (("e?k", "o[vw]l-9*"), (), {"elk", "owl-9x16"}),
        (("x' OR 1=1 --",), (), set()),
        (("shape:round",), (), set()),
    ],
)
def test_a_selection_is_any_of_these_and_none_of_those(store, zoo, include, exclude, expected):
    assert named(store, include=include, exclude=exclude) == expected


def test_an_id_of_ours_selects_too(store, zoo):
    elk = zoo["elk"]
    assert named(store, include=(f"id:{elk.external_task_id}",)) == {"elk"}
    assert named(store, exclude=(f"id:{elk.external_task_id}",)) == set(zoo) - {"elk"}


def test_rows_may_be_named(store, zoo):
    assert named(store, ids=(zoo["elk"].id, zoo["owl-9x16"].id, 99)) == {"elk", "owl-9x16"}
    assert named(store, ids=()) == set()


def test_an_unknown_status_is_refused_with_those_there_are(store):
    with pytest.raises(UsageError, match="-s status:done: no such status") as refused:
        named(store, include=("status:done",))
    assert "downloaded" in refused.value.hint


def test_orphans_count_only_where_they_are_asked_for(store, zoo):
    store._execute("UPDATE tasks SET orphaned = 1 WHERE name = 'elk'")
    assert set(zoo) - named(store) == {"elk"}
    assert named(store, orphaned=True) == set(zoo)


def test_the_highest_priority_goes_first_then_the_order_of_the_plan(store):
    add(store, want("a"), want("b", priority=5), want("c"), want("d", priority=5))
    assert [task.name for task in store.tasks(ALL)] == ["b", "d", "a", "c"]
    assert [task.name for task in store.ready(ALL, now=NOW, limit=3)] == ["b", "d", "a"]


def test_a_task_that_waits_is_ready_when_its_time_has_come(store):
    [task] = add(store, want())
    store.released(store.claim(task, now=NOW), reason="busy", wait_s=30, refused=True, now=NOW)
    assert store.ready(ALL, now=NOW + 29, limit=9) == []
    assert len(store.ready(ALL, now=NOW + 30, limit=9)) == 1
    assert store.waiting(ALL) == (1, iso(NOW + 30))


def test_a_clock_set_back_makes_no_years_of_a_wait(store):
    """No wait is longer than the longest there is: what seems to be further away goes at once."""
    [task] = add(store, want())
    store.released(store.claim(task, now=NOW), reason="busy", wait_s=300, refused=True, now=NOW)
    assert store.ready(ALL, now=NOW, limit=9) == []
    assert len(store.ready(ALL, now=NOW - 1, limit=9)) == 1


def test_counts_are_by_status(store, zoo):
    assert store.counts(ALL) == {"downloaded": 1, "processing": 1, "failed": 1, "pending": 2}


def test_what_an_earlier_run_left_is_found_over_all_jobs_of_the_account(store, zoo):
    [other] = add(store, want(job="spring", output="spring/fox"))
    bring(store, other, Status.SUBMITTING)
    assert [(t.job, t.name) for t in store.open_tasks(SCOPE)] == [("autumn", "fox-9x16"), ("spring", "fox")]
    assert store.open_tasks("simulator") == []
    assert store.in_flight(SCOPE, overdue_before=0) == 2


def test_clips_come_with_their_tasks(store, zoo):
    assert [(task.name, asset.path) for task, asset in store.videos(ALL)] == [("fox-16x9", "autumn/fox-16x9.mp4")]


def test_many_hashes_are_known_at_once(store):
    tasks = add(store, *(want(f"clip-{n}") for n in range(1200)))
    assert len(store.known([task.content_hash for task in tasks] + ["nobody"])) == 1200


# ---- the task a person means --------------------------------------------------------------------------------------


@pytest.fixture
def editions(store):
    """One name in two editions of one job; the younger one sorts first as text."""
    [v9] = add(store, want(edition="v9", output="a/v9"))
    [v10] = add(store, want(edition="v10", output="a/v10"))
    return v9, v10


def test_a_name_is_that_of_the_newest_edition(store, editions):
    assert store.find_task("fox") == editions[1]


def test_an_edition_can_be_named(store, editions):
    assert store.find_task("fox@v9") == editions[0]
    with pytest.raises(UsageError, match="'fox@v8'"):
        store.find_task("fox@v8")


def test_an_id_of_ours_names_one_task(store, editions):
    assert store.find_task(editions[0].external_task_id) == editions[0]


@pytest.mark.parametrize("edition", ["", EDITION])
def test_a_name_that_several_jobs_have_is_refused(store, edition):
    """Whatever their editions: `resolve --drop` must not hit another job's clip."""
    [mine] = add(store, want())
    [other] = add(store, want(job="spring", edition=edition, output="spring/fox"))
    with pytest.raises(UsageError, match="'fox' is a task of several jobs") as refused:
        store.find_task("fox")
    for task in (mine, other):
        assert f"{task.job} (cometapi): {task.external_task_id}" in refused.value.hint
    assert store.find_task("fox", job="autumn") == mine
    assert store.find_task(other.external_task_id) == other


def test_a_rehearsal_does_not_hide_the_real_thing(store):
    """Rehearsed after or before: the clip that money was paid for is meant."""
    add(store, want("owl"), scope="simulator")
    [fox, owl] = add(store, want("fox"), want("owl"))
    [rehearsed] = add(store, want("fox"), scope="simulator")
    assert (store.find_task("fox"), store.find_task("owl")) == (fox, owl)
    assert store.find_task(rehearsed.external_task_id) == rehearsed


def test_what_was_only_rehearsed_is_found_too(store):
    [rehearsed] = add(store, want(), scope="simulator")
    assert store.find_task("fox") == rehearsed


def test_two_paid_accounts_are_told_apart_by_the_id(store):
    """Two gateways are two purchases."""
    [here] = add(store, want())
    [there] = add(store, want(), scope="cometapi@https://gateway.example")
    with pytest.raises(UsageError, match="several jobs") as refused:
        store.find_task("fox")
    assert here.external_task_id in refused.value.hint
    assert store.find_task(there.external_task_id) == there


def test_a_task_that_the_manifest_names_goes_before_an_orphan(store, editions):
    store._execute("UPDATE tasks SET orphaned = 1 WHERE edition = 'v10'")
    assert store.find_task("fox").edition == "v9"
    store._execute("UPDATE tasks SET orphaned = 1")
    assert store.find_task("fox").edition == "v10"


def test_an_unknown_name_is_answered_with_near_ones(store, zoo):
    with pytest.raises(UsageError, match="no task is called 'fox-1x1'") as refused:
        store.find_task("fox-1x1")
    assert refused.value.hint == "there are: fox-16x9, fox-9x16"
    with pytest.raises(UsageError) as refused:
        store.find_task("zebra")
    assert "batcher status" in refused.value.hint


# ---- editions, jobs, accounts, runs -------------------------------------------------------------------------------


def test_editions_are_told_newest_first_with_what_is_left_to_do(store, editions):
    bring(store, editions[0], Status.DOWNLOADED)
    assert store.editions(job="autumn", scope=SCOPE) == [("v10", 1), ("v9", 0)]
    assert store.editions(job="autumn", scope="simulator") == []


@pytest.mark.parametrize(
    ("status", "left"), [(Status.SUCCEEDED, 1), (Status.SUBMITTING, 1), (Status.PENDING, 1), (Status.DOWNLOADED, 0)]
)
def test_an_edition_is_unfinished_until_its_clips_are_home(store, status, left):
    bring(store, *add(store, want(edition=EDITION)), status)
    assert store.editions(job="autumn", scope=SCOPE) == [(EDITION, left)]


def test_the_control_is_the_newest_submission_accepted_under_this_key(store, zoo):
    """What another key bought, this one may not see: it would prove the look-up broken."""
    assert store.control("simulator", "k1") is None
    [later] = add(store, want("later"))
    later = store.claim(later, account="k1", now=NOW + 5)
    assert store.control(SCOPE, "k1")[1] in {"900", "845"}
    store.accepted(later, generation(id="901"), request_id=None, how="create", now=NOW + 5)
    assert store.control(SCOPE, "k1") == (later.external_task_id, "901")
    assert store.control(SCOPE, "k2")[1] in {"900", "845"}, "of which nobody knows the key"
    store._execute("UPDATE attempts SET key_fingerprint = 'k1'")
    assert store.control(SCOPE, "k2") is None


def test_a_generation_has_one_owner(store, zoo):
    """A person who adopts by hand is told when the id is another task's, whichever attempt of it."""
    assert store.owner_of("900", scope=SCOPE) == "fox-16x9"
    assert store.owner_of("900", scope="simulator") is None
    assert store.owner_of("901", scope=SCOPE) is None
    failed = store.failed(store.task(zoo["fox-9x16"].id), failure=("provider", "500", "no"), bought=True, now=NOW)
    store.next_attempt(failed, namespace="north", wait_s=0, now=NOW)
    assert store.owner_of("845", scope=SCOPE) == "fox-9x16"


ACCOUNT = Account(scope=SCOPE, key_fingerprint="k1", base_url="https://a", namespace="north")


def test_an_account_is_known_by_its_key_or_as_the_newest_of_its_scope(store):
    other = replace(
        ACCOUNT, key_fingerprint="k2", finds_ids=False, has_list=True, refuses_ids=True, lag_s=1.5, used=True
    )
    store.save_account(other, now=NOW)
    store.save_account(ACCOUNT, now=NOW + 1)
    assert store.account(SCOPE, "k2") == other
    assert store.account(SCOPE) == ACCOUNT
    store.save_account(other, now=NOW + 2)
    assert store.account(SCOPE) == other
    assert store.account(SCOPE, "k3") is None
    assert store.account("simulator") is None


def test_an_account_is_updated_in_place(store):
    store.save_account(ACCOUNT, now=NOW)
    learnt = replace(ACCOUNT, finds_ids=True, lag_s=0.5, used=True)
    store.save_account(learnt, now=NOW)
    assert store.account(SCOPE, "k1") == learnt


def test_a_job_is_kept_with_what_it_needs_without_its_manifest(store):
    job = Job(
        job="autumn",
        scope=SCOPE,
        root="out",
        folder="autumn",
        manifest="jobs/autumn.yaml",
        manifest_sha256="ab",
        settings={"concurrency": 4, "max_usd": None},
    )
    store.save_job(replace(job, root="elsewhere", settings={}), now=NOW)
    store.save_job(job, now=NOW + 1)
    assert store.jobs() == [job]
    assert store.job("autumn", SCOPE) == job
    assert store.job("autumn", "simulator") is None


def test_what_was_learnt_is_kept_and_bounded(store):
    assert store.learnt(SCOPE) == (None, {})
    learnt = Durations()
    for n in range(3000):
        learnt = learnt.with_finished(float(n))
    store.save_learnt(SCOPE, limit=7, durations={"v1": learnt}, now=NOW)
    limit, durations = store.learnt(SCOPE)
    assert limit == 7
    assert durations["v1"].expected_s == pytest.approx(learnt.expected_s, rel=0.01)
    assert all(len(row["durations"] or "") < 2000 for row in store._rows("SELECT durations FROM limits"))


def test_the_times_that_an_older_version_kept_are_read(store):
    """It kept the newest two hundred as a list."""
    store.save_learnt(SCOPE, limit=None, durations={"v1": Durations()}, now=NOW)
    store._execute("UPDATE limits SET durations = '[60.0, 60.0]' WHERE class = 'v1'", {})
    assert store.learnt(SCOPE)[1]["v1"].expected_s == pytest.approx(60.0, rel=0.1)


def test_a_run_is_recorded_from_its_begin_to_its_end(store):
    run = Run(id="r1", command="run", job="autumn", provider=SCOPE, started_at=iso(NOW), manifest="jobs/autumn.yaml")
    store.begin_run(run)
    assert store.last_run("autumn")["finished_at"] is None
    store.end_run("r1", outcome="done", exit_code=0, now=NOW + 9)
    store.begin_run(replace(run, id="r2", job="spring", manifest=None, started_at=iso(NOW + 10)))
    last = store.last_run("autumn")
    assert (last["outcome"], last["exit_code"], last["finished_at"]) == ("done", 0, iso(NOW + 9))
    assert store.last_run()["id"] == "r2"
    assert store.last_manifest() == "jobs/autumn.yaml"
    assert store.last_run("winter") is None


@pytest.mark.parametrize("view", ["progress", "failures", "gallery", "spend_by_day", "slowest", "expiring"])
def test_each_view_can_be_read_by_anybody(store, zoo, view):
    assert isinstance(store._rows(f"SELECT * FROM {view}"), list)


def test_the_views_say_what_came_of_the_tasks(store, zoo):
    assert {(row["status"], row["tasks"]) for row in store._rows("SELECT * FROM progress")} == {
        ("downloaded", 1),
        ("processing", 1),
        ("failed", 1),
        ("pending", 2),
    }
    assert [row["name"] for row in store._rows("SELECT * FROM failures")] == ["owl-16x9"]
    assert [row["path"] for row in store._rows("SELECT * FROM gallery")] == ["autumn/fox-16x9.mp4"]
