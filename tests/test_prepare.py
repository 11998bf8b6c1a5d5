"""A manifest held against the state: what is new, what was bought before, and under which ids."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest

from batcher.assets import Folder, sidecar
from batcher.environment import Environment
from batcher.errors import UsageError
from batcher.generations import Generation, GenerationStatus
from batcher.identity import derive_namespace
from batcher.manifest import ManifestError, load
from batcher.prepare import commit, folder_name, open_account, prepare, refuse_rename, root_of, stored_root
from batcher.state.store import Store
from batcher.tasks import Asset, Status

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 23, 13, tzinfo=UTC)
KEY = "sk-test-0001"
PAID = Environment(process={"COMETAPI_KEY": KEY}).endpoint("cometapi")
SIMULATED = Environment(process={}).endpoint("simulator")
FOX, OWL, ELK = ({"id": name, "prompt": f"A {name}"} for name in ("fox", "owl", "elk"))
NIGHTLY = 'edition: "{{ today }}"'


class Desk:
    """A folder with one manifest, a state and the output folder: what one command after another sees."""

    def __init__(self, home):
        self.home = home
        self.path = home / "jobs" / "autumn.yaml"
        self.out = home / "out"
        self.state = home / "state.db"
        self.store = Store(self.state)
        self.environment = Environment(process={"COMETAPI_KEY": KEY})
        self.endpoint = PAID

    def write(self, *prompts, more="", path=None):
        """Write the manifest anew, and load it."""
        path = path or self.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"prompts: [{', '.join(map(_flow, prompts))}]\n{more}\n")
        return load(path)

    def prepare(self, manifest, *, now=NOW, **options):
        return prepare(manifest, endpoint=self.endpoint, state=self.store, now=now, **options)

    def folder(self, prepared):
        return Folder(self.out, folder_name(prepared.job, simulated=self.endpoint.is_simulated), inline=True)

    def account(self, prepared):
        return open_account(
            self.store, self.endpoint, self.folder(prepared), self.environment, job=prepared.job, now=NOW.timestamp()
        )

    def commit(self, prepared):
        """Write the plan down as a run does. Returns the adopted tasks."""
        account, _ = self.account(prepared)
        folder = self.folder(prepared)
        return anyio.run(lambda: commit(prepared, self.store, folder, account, root=self.out, now=NOW.timestamp()))

    def plan(self, manifest, **options):
        """Prepare and commit. Returns the tasks by name."""
        prepared = self.prepare(manifest, **options)
        self.commit(prepared)
        return {task.name: task for task in self.store.known(prepared.hashes).values()}

    def send(self, task):
        """As a run does it, to the moment when the provider took it."""
        claimed = self.store.claim(task, now=NOW.timestamp())
        folder = Folder(self.out, task.output.split("/")[0], inline=True)
        anyio.run(lambda: folder.receipts.append(task.external_task_id, task.content_hash, now=NOW.timestamp()))
        made = Generation(id="845", status=GenerationStatus.SUBMITTED)
        return self.store.accepted(claimed, made, request_id=None, how="create", now=NOW.timestamp())

    def bring_home(self, task, *, clip=b"the pictures"):
        """... and to the clip and its sidecar on the disk."""
        done = self.store.succeeded(self.send(task), Generation(id="845", status=GenerationStatus.SUCCEEDED), now=0.0)
        video = Asset(
            task_id=task.id,
            kind="video",
            path=f"{task.output}.mp4",
            size_bytes=len(clip),
            sha256=hashlib.sha256(clip).hexdigest(),
        )
        stem = self.out / task.output
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_name(stem.name + ".mp4").write_bytes(clip)
        stem.with_name(stem.name + ".json").write_bytes(sidecar.render(done, video, version="0"))
        return self.store.downloaded(done, [video], now=NOW.timestamp())

    def lose_state(self):
        self.store.close()
        for file in self.home.glob("state.db*"):
            file.unlink()
        self.store = Store(self.state)

    def restore(self, backup):
        """Put an older copy of the state back."""
        self.store.close()
        for file in self.home.glob("state.db*"):
            file.unlink()
        self.state.write_bytes(backup)
        self.store = Store(self.state)

    def backup(self):
        copy = self.home / "copy.db"
        copy.unlink(missing_ok=True)
        self.store._execute("VACUUM INTO ?", (str(copy),))
        return copy.read_bytes()


def _flow(prompt):
    return "{" + ", ".join(f"{key}: {value}" for key, value in prompt.items()) + "}"


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


# ---- what is new --------------------------------------------------------------------------------------------------


def test_without_a_state_everything_is_new_and_nothing_is_written(desk):
    prepared = prepare(desk.write(FOX, OWL), endpoint=PAID, state=None, now=NOW)
    assert [w.spec.name for w in prepared.new()] == ["fox-t1", "owl-t1"]
    assert prepared.to_buy() == [0.13, 0.13]
    assert (prepared.known, prepared.orphans, prepared.in_flight) == ({}, (), 0)
    assert not desk.out.exists()


def test_known_new_and_orphaned_are_told_apart(desk):
    desk.send(desk.plan(desk.write(FOX, OWL))["fox-t1"])
    prepared = desk.prepare(desk.write(FOX, ELK))
    assert [w.spec.name for w in prepared.new()] == ["elk-t1"]
    assert [t.name for t in prepared.by_status(Status.SUBMITTED)] == ["fox-t1"]
    assert [t.name for t in prepared.orphans] == ["owl-t1"]
    assert (prepared.in_flight, prepared.to_buy()) == (1, [0.13])


def test_a_reroll_is_no_orphan(desk):
    """It was never in the manifest: a person asked for another take."""
    prepared = desk.prepare(desk.write(FOX))
    desk.commit(prepared)
    reroll = replace(prepared.wanted[0], spec=replace(prepared.wanted[0].spec, take="r1"), output="autumn/fox-r1")
    with desk.store.transaction():
        desk.store.add([reroll], scope="cometapi", namespace="north", attempts=1, used={}, now=0.0)
    assert desk.prepare(load(desk.path)).orphans == ()


def test_a_plan_counts_what_waits_and_what_is_new(desk):
    desk.plan(desk.write(FOX))
    prepared = desk.prepare(desk.write(FOX, {**OWL, "model_name": "kling-v3"}))
    assert sorted(prepared.to_buy()) == [0.13, 0.3948]
    assert prepared.prices_are_estimates()


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
    assert [t.name for t in desk.prepare(load(desk.path)).by_status(Status.PENDING)] == ["fox-t1"]


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


# ---- a renamed job ------------------------------------------------------------------------------------------------

RENAMED = "job: winter"


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
    assert {t.name: t.status for t in after.known.values()} == {"fox-t1": "submitted", "elk-t1": "pending"}
    assert desk.store.task(paid.id).external_task_id == paid.external_task_id
    assert after.renamed == {}
    assert refuse_rename(after) is None


def test_a_renamed_job_can_be_bought_again(desk):
    desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    desk.commit(replace(desk.prepare(desk.write(FOX, more=RENAMED)), renamed={}))
    assert len(desk.prepare(load(desk.path)).by_status(Status.PENDING)) == 1


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


# ---- the namespace ------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(desk):
    return desk.prepare(desk.write(FOX))


def test_the_namespace_comes_from_the_key_and_is_kept_in_both_places(desk, prepared):
    account, warnings = desk.account(prepared)
    assert (account.namespace, warnings) == (derive_namespace(KEY), [])
    assert desk.store.account("cometapi").namespace == account.namespace
    assert desk.folder(prepared).namespaces() == {"cometapi": account.namespace}


def test_a_setting_goes_before_the_key(desk, prepared):
    desk.environment = Environment(process={"COMETAPI_KEY": KEY, "BATCHER_NAMESPACE": "north-of-here"})
    assert desk.account(prepared)[0].namespace == "north-of-here"


def test_the_stored_namespace_goes_before_a_setting_and_says_so(desk, prepared):
    first, _ = desk.account(prepared)
    desk.environment = Environment(process={"COMETAPI_KEY": KEY, "BATCHER_NAMESPACE": "north-of-here"})
    again, warnings = desk.account(prepared)
    assert (again.namespace, warnings) == (
        first.namespace,
        ["BATCHER_NAMESPACE differs from the stored namespace, which wins"],
    )


def test_a_new_key_goes_on_under_the_old_namespace_and_says_so_once(desk, prepared):
    """Else every id would change under paid clips."""
    first, _ = desk.account(prepared)
    desk.environment = Environment(process={"COMETAPI_KEY": "sk-test-0002"})
    desk.endpoint = desk.environment.endpoint("cometapi")
    again, warnings = desk.account(prepared)
    assert (again.namespace, again.key_fingerprint) == (first.namespace, desk.endpoint.fingerprint)
    assert "new key for cometapi" in warnings[0]
    assert desk.account(prepared)[1] == []


def test_a_lost_state_finds_its_namespace_in_the_folder(desk, prepared):
    """Though the key was changed since."""
    first, _ = desk.account(prepared)
    desk.lose_state()
    desk.environment = Environment(process={"COMETAPI_KEY": "sk-test-0002"})
    desk.endpoint = desk.environment.endpoint("cometapi")
    assert desk.account(prepared)[0].namespace == first.namespace


def test_two_accounts_have_two_namespaces(desk, prepared):
    paid, _ = desk.account(prepared)
    desk.endpoint = SIMULATED
    simulated, _ = desk.account(desk.prepare(load(desk.path)))
    assert simulated.namespace != paid.namespace


# ---- a lost state, an old backup ----------------------------------------------------------------------------------


def test_what_was_sent_is_never_taken_for_new_after_the_state_is_lost(desk):
    before = desk.plan(desk.write(FOX, OWL))
    desk.send(before["fox-t1"])
    desk.lose_state()
    after = desk.plan(load(desk.path))
    assert {name: task.status for name, task in after.items()} == {"fox-t1": "submitting", "owl-t1": "pending"}
    assert after["fox-t1"].external_task_id == before["fox-t1"].external_task_id
    assert desk.store.attempt(after["fox-t1"].external_task_id).inherited


def test_the_newest_attempt_is_the_one_that_counts(desk):
    task = desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    failed = desk.store.failed(task, failure=("provider", "500", "no"), bought=True, now=0.0)
    again = desk.store.next_attempt(failed, namespace=derive_namespace(KEY), allowed=2, wait_s=0, now=0.0)
    desk.send(again)
    desk.lose_state()
    assert desk.plan(load(desk.path))["fox-t1"].external_task_id == again.external_task_id


def test_a_clip_on_the_disk_is_adopted_without_a_word_to_the_provider(desk):
    home = desk.bring_home(desk.plan(desk.write(FOX, OWL))["fox-t1"])
    desk.lose_state()
    prepared = desk.prepare(load(desk.path))
    adopted = desk.commit(prepared)
    assert [(t.name, t.status, t.external_task_id) for t in adopted] == [
        ("fox-t1", "downloaded", home.external_task_id)
    ]
    assert [asset.path for asset in desk.store.assets(adopted[0])] == ["autumn/fox-t1.mp4", "autumn/fox-t1.json"]


def test_a_damaged_clip_is_not_adopted_but_was_sent(desk):
    desk.bring_home(desk.plan(desk.write(FOX))["fox-t1"])
    (desk.out / "autumn" / "fox-t1.mp4").write_bytes(b"cut")
    desk.lose_state()
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.SUBMITTING


def test_sidecars_tell_where_the_receipts_are_lost_too(desk):
    desk.bring_home(desk.plan(desk.write(FOX))["fox-t1"])
    (desk.out / "autumn" / ".batcher-receipts.jsonl").unlink()
    (desk.out / "autumn" / "fox-t1.mp4").unlink()
    desk.lose_state()
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.SUBMITTING


def test_an_old_backup_does_not_forget_what_was_sent_since(desk):
    tasks = desk.plan(desk.write(FOX, OWL))
    backup = desk.backup()
    sent = desk.send(tasks["fox-t1"])
    desk.restore(backup)
    after = desk.plan(load(desk.path))
    assert {name: task.status for name, task in after.items()} == {"fox-t1": "submitting", "owl-t1": "pending"}
    assert after["fox-t1"].external_task_id == sent.external_task_id


def test_a_backup_from_before_a_prompt_was_added_does_not_either(desk):
    desk.plan(desk.write(OWL))
    backup = desk.backup()
    desk.send(desk.plan(desk.write(FOX, OWL))["fox-t1"])
    desk.restore(backup)
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.SUBMITTING


def test_a_refused_task_stays_what_the_state_says(desk):
    """Its receipt is on disk, but the state remembers that nothing was bought."""
    task = desk.plan(desk.write(FOX))["fox-t1"]
    anyio.run(
        lambda: Folder(desk.out, "autumn", inline=True).receipts.append(task.external_task_id, task.content_hash)
    )
    claimed = desk.store.claim(task, now=0.0)
    desk.store.released(claimed, reason="busy", wait_s=0, refused=True, now=0.0)
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.PENDING


def test_another_jobs_receipts_say_nothing(desk):
    desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    other = desk.plan(desk.write(FOX, path=desk.path.with_name("copy.yaml")))
    assert other["fox-t1"].status is Status.PENDING


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
