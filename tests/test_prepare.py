"""A manifest held against the state: what is new, what is known, what is chosen, and what is orphaned."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace

import pytest
from desk import ELK, FOX, NIGHTLY, NOW, OWL, PAID, RENAMED, SIMULATED, TOMORROW, Desk

from batcher.bill import is_chosen
from batcher.choices import Choices
from batcher.errors import UsageError
from batcher.manifest import ManifestError, load
from batcher.prepare import prepare, refuse_rename, root_of, stored_root
from batcher.state.plan import Plan
from batcher.state.queries import Queries
from batcher.state.selection import Selection
from batcher.state.store import Store
from batcher.tasks import Status


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


def costs(prepared, choices=None):
    """What each task that would be submitted costs, as far as the bill tells."""
    each = sorted(line.usd for line in prepared.lines(choices).elements())
    bill = prepared.bill(choices)
    assert (bill.tasks, bill.usd, bill.unknown) == (len(each), pytest.approx(sum(each)), 0)
    return each


# ---- what is new --------------------------------------------------------------------------------------------------


def test_without_a_state_everything_is_new_and_nothing_is_written(desk):
    with closing(Queries.empty()) as nothing:
        prepared = prepare(desk.write(FOX, OWL), endpoint=PAID, state=nothing, now=NOW)
        assert [w.spec.name for w in prepared.new()] == ["fox-t1", "owl-t1"]
        assert costs(prepared) == [0.13, 0.13]
        assert (prepared.known(), prepared.orphans(), prepared.in_flight) == ([], [], 0)
    assert not desk.out.exists()


def test_known_new_and_orphaned_are_told_apart(desk):
    desk.send(desk.plan(desk.write(FOX, OWL))["fox-t1"])
    prepared = desk.prepare(desk.write(FOX, ELK))
    assert [w.spec.name for w in prepared.new()] == ["elk-t1"]
    assert [t.name for t in prepared.known(Status.SUBMITTED)] == ["fox-t1"]
    assert [t.name for t in prepared.orphans()] == ["owl-t1"]
    assert (prepared.in_flight, costs(prepared)) == (1, [0.13])


def test_a_reroll_is_no_orphan(desk):
    """It was never in the manifest: a person asked for another take."""
    prepared = desk.prepare(desk.write(FOX))
    [fox] = prepared.new()
    desk.commit(prepared)
    plan = Plan(desk.store, job="autumn", edition="", scope="cometapi")
    plan.extend([replace(fox, spec=replace(fox.spec, take="r1"), output="autumn/fox-r1")])
    with desk.store.transaction():
        desk.store.add(plan, namespace="north", attempts=1, used={}, now=0.0)
    assert desk.prepare(load(desk.path)).orphans() == []


def test_a_plan_counts_what_waits_and_what_is_new(desk):
    desk.plan(desk.write(FOX))
    prepared = desk.prepare(desk.write(FOX, {**OWL, "model_name": "kling-v3"}))
    assert costs(prepared) == [0.13, 0.3948]
    assert prepared.bill().is_estimate


def test_preparing_changes_nothing(desk):
    desk.plan(desk.write(FOX))
    before = desk.backup()
    desk.prepare(desk.write(OWL))
    assert desk.backup() == before


def test_moving_renaming_and_reordering_prompts_costs_nothing(desk):
    before = desk.plan(desk.write(FOX, OWL))
    after = desk.plan(desk.write({**OWL, "id": "night-owl"}, {**FOX, "priority": 5}))
    assert {t.external_task_id for t in before.values()} == {t.external_task_id for t in after.values()}
    assert set(after) == {"night-owl-t1", "fox-t1"}
    assert [t.name for t in desk.store.tasks(desk.prepare(load(desk.path)).selection)] == ["fox-t1", "night-owl-t1"]


def test_an_edited_prompt_is_a_new_task_and_the_paid_one_stays(desk):
    paid = desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    desk.plan(desk.write({**FOX, "prompt": "Another fox"}))
    assert desk.store.task(paid.id) == replace(paid, orphaned=True)
    assert [t.name for t in desk.prepare(load(desk.path)).known(Status.PENDING)] == ["fox-t1"]


def test_a_broken_manifest_is_refused_before_anything_is_written(desk):
    manifest = desk.write(FOX, {"id": "owl", "prompt": '"An owl by {{ nobody }}"'})
    with pytest.raises(ManifestError):
        desk.prepare(manifest)


def test_simulated_and_paid_are_apart(desk):
    paid = desk.plan(desk.write(FOX))["fox-t1"]
    desk.endpoint = SIMULATED
    simulated = desk.plan(load(desk.path))["fox-t1"]
    assert (paid.output, simulated.output) == ("autumn/fox-t1", "autumn-simulated/fox-t1")
    assert simulated.external_task_id != paid.external_task_id
    assert {job.folder for job in desk.store.jobs()} == {"autumn", "autumn-simulated"}


# ---- editions -----------------------------------------------------------------------------------------------------


def test_an_unfinished_edition_is_finished_first(desk):
    nightly = desk.write(FOX, more=NIGHTLY)
    task = desk.plan(nightly)["fox-t1"]
    prepared = desk.prepare(nightly, now=TOMORROW)
    assert (prepared.edition, prepared.unfinished_edition) == ("2026-11-22", True)
    desk.bring_home(task)
    prepared = desk.prepare(nightly, now=TOMORROW)
    assert (prepared.edition, prepared.unfinished_edition) == ("2026-11-23", False)
    assert len(prepared.new()) == 1


def test_todays_own_edition_is_nothing_to_speak_of(desk):
    nightly = desk.write(FOX, more=NIGHTLY)
    desk.plan(nightly)
    assert not desk.prepare(nightly).unfinished_edition


def test_an_edition_can_be_asked_for(desk):
    nightly = desk.write(FOX, more=NIGHTLY)
    desk.plan(nightly)
    prepared = desk.prepare(nightly, now=TOMORROW, edition="2026-11-23")
    assert (prepared.edition, prepared.unfinished_edition, len(prepared.new())) == ("2026-11-23", False, 1)


def test_an_edition_of_failures_only_holds_nobody_up(desk):
    nightly = desk.write(FOX, more=NIGHTLY)
    claimed = desk.store.claim(desk.plan(nightly)["fox-t1"], now=0.0)
    desk.store.failed(claimed, failure=("content", "1301", "no"), bought=False, now=0.0)
    assert desk.prepare(nightly, now=TOMORROW).edition == "2026-11-23"


def test_another_account_has_editions_of_its_own(desk):
    nightly = desk.write(FOX, more=NIGHTLY)
    desk.plan(nightly)
    desk.endpoint = SIMULATED
    assert desk.prepare(nightly, now=TOMORROW).edition == "2026-11-23"


def test_a_manifest_without_an_edition_is_always_about_all_of_it(desk):
    desk.plan(desk.write(FOX, more="edition: v1"))
    assert desk.prepare(desk.write(FOX)).edition == ""


# ---- an earlier edition is finished as it was frozen --------------------------------------------------------------


def test_what_was_edited_since_belongs_to_the_next_edition(desk):
    """Nothing is added to the unfinished one, nothing of it is orphaned, renamed or moved up."""
    fox = desk.plan(desk.write(FOX, OWL, more=NIGHTLY))["fox-t1"]
    edited = desk.write({**FOX, "id": "red-fox", "priority": 5}, ELK, more=NIGHTLY)
    prepared = desk.prepare(edited, now=TOMORROW)
    assert (prepared.new(), prepared.orphans(), prepared.renamed) == ([], [], {})
    assert sorted(task.name for task in prepared.known()) == ["fox-t1", "owl-t1"]
    assert costs(prepared) == [0.13, 0.13]
    desk.commit(prepared)
    assert desk.store.tasks(prepared.selection) == desk.store.tasks(Selection(job="autumn", orphaned=True))
    assert desk.store.task(fox.id) == fox


def test_when_it_is_finished_the_edited_one_is_next(desk):
    for task in desk.plan(desk.write(FOX, OWL, more=NIGHTLY)).values():
        desk.bring_home(task)
    prepared = desk.prepare(desk.write(ELK, more=NIGHTLY), now=TOMORROW)
    assert prepared.edition == "2026-11-23"
    assert [w.spec.name for w in prepared.new()] == ["elk-t1"]
    assert prepared.orphans() == []


def test_orphans_of_an_unfinished_edition_are_not_bought(desk):
    """Taken out of the manifest on the same day: they stay out on the next."""
    desk.plan(desk.write(FOX, OWL, more=NIGHTLY))
    desk.plan(desk.write(FOX, more=NIGHTLY))
    prepared = desk.prepare(load(desk.path), now=TOMORROW)
    assert [task.name for task in prepared.known()] == ["fox-t1"]


def test_the_renamed_job_of_an_unfinished_edition_is_still_noticed(desk):
    """The new name has no editions yet, so all of it is held against the old name."""
    desk.plan(desk.write(FOX, more=NIGHTLY))
    assert len(desk.prepare(desk.write(FOX, more=f"{NIGHTLY}\n{RENAMED}")).renamed) == 1


# ---- only some of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "prices"),
    [
        pytest.param(Choices(), [0.3948, 0.13, 0.13], id="all"),
        pytest.param(Choices(include=("elk-*",)), [0.3948], id="a new one"),
        pytest.param(Choices(include=("fox-t1",)), [0.13], id="one that waits"),
        pytest.param(Choices(include=("f*", "elk-t?")), [0.3948, 0.13], id="any of these"),
        pytest.param(Choices(exclude=("elk-*",)), [0.13, 0.13], id="not these"),
        pytest.param(Choices(include=("*",), exclude=("owl-*", "fox-*")), [0.3948], id="none of those"),
        pytest.param(Choices(limit=1), [0.3948], id="so many"),
        pytest.param(Choices(limit=0), [], id="none"),
        pytest.param(Choices(include=("status:pending",)), [0.3948, 0.13, 0.13], id="what waits, or will"),
        pytest.param(Choices(include=("status:failed",)), [], id="what does not"),
        pytest.param(Choices(exclude=("status:pending",)), [], id="nothing that waits"),
        pytest.param(Choices(include=("id:845",)), [0.3948, 0.13, 0.13], id="an id may be any of them"),
        pytest.param(Choices(exclude=("id:845",)), [0.3948, 0.13, 0.13], id="and none"),
    ],
)
def test_consent_is_asked_for_what_is_chosen(desk, choices, prices):
    desk.plan(desk.write(FOX, OWL))
    prepared = desk.prepare(desk.write({**ELK, "model_name": "kling-v3"}, FOX, OWL))
    assert costs(prepared, choices) == sorted(prices)


@pytest.mark.parametrize(
    "pattern", ["fox-t1", "f*", "?ox-t1", "[fe]*", "[!f]*", "[^f]*", "[a-f]*", "FOX-t1", "fox", "[f", "*-t[!2]"]
)
def test_a_selector_means_the_same_tasks_to_the_consent_and_to_the_run(desk, pattern):
    tasks = desk.plan(desk.write(FOX, OWL, ELK))
    run = {task.name for task in desk.store.tasks(Selection(include=(pattern,)))}
    assert {name for name in tasks if is_chosen(name, (pattern,), ())} == run


def test_a_choice_of_nothing_is_a_typing_mistake(desk):
    prepared = desk.prepare(desk.write(FOX, OWL))
    with pytest.raises(UsageError, match="-s fix-t1 -s fix-t2 matches none of the 2 tasks of autumn") as refused:
        prepared.refuse_empty_choice(Choices(include=("fix-t1", "fix-t2")))
    assert "names look like fox-t1" in refused.value.hint


@pytest.mark.parametrize(
    "include", [(), ("fox-*",), ("fix-t1", "fox-t1"), ("status:failed",), ("id:845",), ("fix-t1", "status:failed")]
)
def test_a_choice_that_may_be_empty_in_earnest_is_none(desk, include):
    """`status:failed` of a job without failures is no mistake."""
    assert desk.prepare(desk.write(FOX, OWL)).refuse_empty_choice(Choices(include=include)) is None


def test_what_is_home_can_be_named_too(desk):
    desk.bring_home(desk.plan(desk.write(FOX))["fox-t1"])
    choices = Choices(include=("fox-t1",))
    prepared = desk.prepare(load(desk.path))
    assert (prepared.refuse_empty_choice(choices), costs(prepared, choices)) == (None, [])


# ---- a renamed job ------------------------------------------------------------------------------------------------


def test_a_renamed_job_is_stopped_before_it_pays_again(desk):
    desk.send(desk.plan(desk.write(FOX, OWL))["fox-t1"])
    prepared = desk.prepare(desk.write(FOX, OWL, ELK, more=RENAMED))
    assert sorted(task.name for task in prepared.renamed.values()) == ["fox-t1", "owl-t1"]
    with pytest.raises(UsageError, match="2 tasks of winter are the same requests as those of autumn") as refused:
        refuse_rename(prepared)
    assert "--adopt-orphans" in refused.value.hint
    assert "--buy-again" in refused.value.hint


def test_a_renamed_job_can_take_its_tasks_over(desk):
    paid = desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    prepared = desk.prepare(desk.write(FOX, ELK, more=RENAMED))
    desk.commit(prepared)
    after = desk.prepare(load(desk.path))
    assert {t.name: t.status for t in after.known()} == {"fox-t1": "submitted", "elk-t1": "pending"}
    assert desk.store.task(paid.id).external_task_id == paid.external_task_id
    assert after.renamed == {}
    assert refuse_rename(after) is None


def test_a_renamed_job_can_be_bought_again(desk):
    desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    desk.commit(replace(desk.prepare(desk.write(FOX, more=RENAMED)), renamed={}))
    assert len(desk.prepare(load(desk.path)).known(Status.PENDING)) == 1


def test_a_manifest_named_by_another_path_is_the_same_manifest(desk, monkeypatch):
    """`jobs/autumn.yaml` today, its absolute path in tonight's crontab."""
    monkeypatch.chdir(desk.home)
    desk.write(FOX)
    desk.plan(load(desk.path.relative_to(desk.home)))
    desk.write(FOX, more=RENAMED)
    assert len(desk.prepare(load(desk.path)).renamed) == 1


def test_a_renamed_file_is_a_renamed_job(desk):
    """Without a `job:` the job is called as the file."""
    desk.plan(desk.write(FOX))
    prepared = desk.prepare(load(desk.path.rename(desk.path.with_name("winter.yaml"))))
    assert (prepared.job, len(prepared.renamed)) == ("winter", 1)


def test_a_job_whose_file_is_gone_may_be_this_one(desk):
    desk.plan(desk.write(FOX))
    desk.path.unlink()
    other = desk.path.with_name("winter.yaml")
    assert desk.prepare(desk.write(OWL, path=other)).renamed == {}
    assert len(desk.prepare(desk.write(FOX, path=other)).renamed) == 1


def test_a_copy_of_a_manifest_is_a_job_of_its_own(desk):
    desk.plan(desk.write(FOX))
    assert desk.prepare(desk.write(FOX, path=desk.path.with_name("copy.yaml"))).renamed == {}


# ---- places -------------------------------------------------------------------------------------------------------


def test_a_state_and_its_clips_can_be_moved_together(desk):
    desk.plan(desk.write(FOX))
    [job] = desk.store.jobs()
    assert job.root == "out"
    assert root_of(job, desk.home / "elsewhere" / "state.db") == desk.home / "elsewhere" / "out"


def test_a_root_elsewhere_is_kept_as_it_is(tmp_path):
    assert stored_root(tmp_path / "clips", tmp_path / "states" / "state.db") == (tmp_path / "clips").as_posix()
    assert stored_root(tmp_path, tmp_path / "state.db") == "."


def test_a_job_is_kept_with_its_manifest_and_its_limits(desk):
    desk.plan(desk.write(FOX, more="budget: {max_usd: 3}\nrun: {concurrency: 2}"))
    job = desk.store.job("autumn", "cometapi")
    assert (job.manifest, job.folder) == (str(desk.path), "autumn")
    assert job.manifest_sha256 == hashlib.sha256(desk.path.read_bytes()).hexdigest()
    assert (job.settings["max_usd"], job.settings["concurrency"]) == (3, 2)
    with closing(Store(desk.state)) as other:
        assert other.jobs() == [job]
