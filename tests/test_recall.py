"""What an output folder remembers when the state does not: no task that was sent is ever taken for new."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from desk import FOX, KEY, OWL, RENAMED, SIMULATED, Desk

from batcher.assets import Folder
from batcher.environment import Environment
from batcher.generations import Generation, GenerationStatus
from batcher.identity import derive_namespace, external_task_id
from batcher.manifest import load
from batcher.recall import is_behind, sent_before
from batcher.state.planning import Used
from batcher.tasks import Status


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


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


def test_a_folders_namespace_is_never_overwritten(desk, prepared):
    """Clips were paid for under it: another state that meets this folder goes on under it, and says so."""
    desk.folder(prepared).store_namespace(job="autumn", scope="cometapi", namespace="north-of-here")
    desk.plan(desk.write(OWL, path=desk.path.with_name("other.yaml")))
    account, warnings = desk.account(prepared)
    assert account.namespace == desk.store.account("cometapi").namespace == derive_namespace(KEY)
    assert warnings == ["autumn goes on under its own namespace, not the one of state.db"]
    assert desk.folder(prepared).namespaces() == {"cometapi": "north-of-here"}
    task = desk.plan(load(desk.path))["fox-t1"]
    assert task.external_task_id == external_task_id(
        job="autumn", content=task.content_hash, namespace="north-of-here", attempt=1
    )
    assert desk.folder(prepared).namespaces() == {"cometapi": "north-of-here"}


def test_a_state_on_a_network_folder_is_told(desk, prepared):
    desk.store.lies_on = "nfs4"
    assert "keep it on a local disk" in desk.account(prepared)[1][0]


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
    again = desk.store.next_attempt(failed, namespace=derive_namespace(KEY), wait_s=0, now=0.0)
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
    desk.refuse(task)
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.PENDING


def test_what_was_sent_under_another_namespace_is_not_new_either(desk):
    """Receipts are matched by what was asked for: the id is only a name of it."""
    desk.environment = Environment(process={"COMETAPI_KEY": KEY, "BATCHER_NAMESPACE": "north-of-here"})
    before = desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    desk.lose_state()
    (desk.out / "autumn" / ".batcher.json").unlink()
    desk.environment = Environment(process={"COMETAPI_KEY": KEY})
    after = desk.plan(load(desk.path))["fox-t1"]
    assert desk.store.account("cometapi").namespace != "north-of-here"
    assert (after.status, after.external_task_id) == ("submitting", before.external_task_id)


def test_a_renamed_job_remembers_what_its_old_name_sent(desk):
    """Taken over, then the state is lost: the receipts lie in the new folder too."""
    before = desk.send(desk.plan(desk.write(FOX, OWL))["fox-t1"])
    desk.plan(desk.write(FOX, OWL, more=RENAMED))
    desk.lose_state()
    after = desk.plan(load(desk.path))
    assert {name: task.status for name, task in after.items()} == {"fox-t1": "submitting", "owl-t1": "pending"}
    assert after["fox-t1"].external_task_id == before.external_task_id


def test_what_it_takes_over_is_not_behind(desk):
    """The copied receipt is no call that the state does not know."""
    desk.refuse(desk.plan(desk.write(FOX))["fox-t1"])
    desk.plan(desk.write(FOX, more=RENAMED))
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.PENDING


def test_what_was_sent_with_another_key_is_remembered_with_it(desk):
    """So that what this key cannot see is not taken for unbought."""
    desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    first = desk.endpoint
    desk.lose_state()
    desk.environment = Environment(process={"COMETAPI_KEY": "sk-test-0002"})
    desk.endpoint = desk.environment.endpoint("cometapi")
    again = desk.plan(load(desk.path))["fox-t1"]
    assert desk.store.attempt(again.external_task_id).key_fingerprint == first.fingerprint


def test_every_call_that_was_made_is_counted(desk):
    """A second one under an id is no first use, whatever a refusal says of it."""
    task = desk.plan(desk.write(FOX))["fox-t1"]
    desk.send(desk.refuse(task))
    desk.lose_state()
    desk.plan(load(desk.path))
    assert desk.store.attempt(task.external_task_id).posts == 2


def test_an_old_backup_that_knows_an_attempt_does_not_forget_a_later_call(desk):
    """Refused, saved, and taken under the same id since: pending it may not stay."""
    waiting = desk.refuse(desk.plan(desk.write(FOX))["fox-t1"])
    backup = desk.backup()
    desk.send(waiting)
    desk.restore(backup)
    after = desk.plan(load(desk.path))["fox-t1"]
    assert (after.status, after.external_task_id) == ("submitting", waiting.external_task_id)
    assert desk.store.attempt(after.external_task_id).posts == 2


def test_a_claim_that_was_let_go_of_hides_no_later_call(desk):
    """It counts as a call in the state and has no receipt: the receipt of the next one says that it is the second."""
    waiting = desk.call_off(desk.plan(desk.write(FOX))["fox-t1"])
    backup = desk.backup()
    desk.send(waiting)
    desk.restore(backup)
    assert desk.plan(load(desk.path))["fox-t1"].status is Status.SUBMITTING


@pytest.mark.parametrize("status", ["submitted", "processing", "unclear"])
def test_an_old_backup_that_has_an_attempt_in_flight_does_not_forget_the_next(desk, status):
    """The first has failed since and another was bought: that one is looked for, and no third is."""
    task = desk.plan(desk.write(FOX))["fox-t1"]
    task = desk.store.claim(task, account=desk.endpoint.fingerprint, now=0.0)
    desk.receive(task)
    if status == "unclear":
        task = desk.store.parked(task, reason="lost", now=0.0)
    if status in ("submitted", "processing"):
        made = Generation(id="845", status=GenerationStatus.SUBMITTED)
        task = desk.store.accepted(task, made, request_id=None, how="create", now=0.0)
    if status == "processing":
        task = desk.store.processing(task, now=0.0)
    backup = desk.backup()
    if status != "unclear":
        task = desk.store.failed(task, failure=("provider", "500", "no"), bought=True, now=0.0)
    again = desk.store.next_attempt(task, namespace=derive_namespace(KEY), wait_s=0, now=0.0)
    desk.send(again)
    desk.restore(backup)
    after = desk.plan(load(desk.path))["fox-t1"]
    assert (after.status, after.external_task_id) == ("submitting", again.external_task_id)


@pytest.mark.parametrize("bought", [True, False], ids=["bought", "never bought"])
def test_an_old_backup_that_knows_a_failure_does_not_forget_its_retry(desk, bought):
    """What was bought is retried under the next id, what never was under its own: both are found."""
    failed = desk.fail(desk.plan(desk.write(FOX))["fox-t1"], bought=bought)
    backup = desk.backup()
    again = desk.send(desk.retry(failed))
    desk.restore(backup)
    after = desk.plan(load(desk.path))["fox-t1"]
    assert (after.status, after.external_task_id, after.attempt) == (
        "submitting",
        again.external_task_id,
        again.attempt,
    )


@pytest.mark.parametrize("bought", [True, False], ids=["bought", "never bought"])
def test_a_failure_that_nobody_retried_stays_one(desk, bought):
    failed = desk.fail(desk.plan(desk.write(FOX))["fox-t1"], bought=bought)
    assert desk.plan(load(desk.path))["fox-t1"] == failed


@pytest.mark.parametrize("bought", [True, False], ids=["bought", "never bought"])
def test_a_retry_that_was_interrupted_before_its_call_is_not_undone(desk, bought):
    """It waits under its new id; the receipt of the old attempt does not bring that one back."""
    again = desk.retry(desk.fail(desk.plan(desk.write(FOX))["fox-t1"], bought=bought))
    assert desk.plan(load(desk.path))["fox-t1"] == again


def test_another_jobs_receipts_say_nothing(desk):
    desk.send(desk.plan(desk.write(FOX))["fox-t1"])
    other = desk.plan(desk.write(FOX, path=desk.path.with_name("copy.yaml")))
    assert other["fox-t1"].status is Status.PENDING


# ---- the folder's word against the state's ------------------------------------------------------------------------


def receive(folder, task_id, content, *, account="k1"):
    anyio.run(lambda: folder.receipts.append(task_id, content, account=account, now=0.0))


def known(folder, *, has_history=True):
    return anyio.run(lambda: sent_before(folder, has_history=has_history))


def test_the_newest_attempt_of_each_request_is_known_with_its_calls(tmp_path):
    folder = Folder(tmp_path, "autumn", inline=True)
    for task_id in ("fox-a1", "fox-a10", "fox-a10", "fox-a9", "owl-without-a-number"):
        receive(folder, task_id, task_id[:3])
    assert known(folder) == {
        "fox": Used(external_task_id="fox-a10", attempt=10, posts=2, account="k1"),
        "owl": Used(external_task_id="owl-without-a-number", attempt=1, posts=1, account="k1"),
    }


def test_of_two_ids_for_one_request_the_later_one_counts(tmp_path):
    """Two namespaces, one after the other."""
    folder = Folder(tmp_path, "autumn", inline=True)
    receive(folder, "north-a1", "fox")
    receive(folder, "south-a1", "fox", account="k2")
    assert known(folder)["fox"] == Used(external_task_id="south-a1", attempt=1, posts=1, account="k2")


def test_sidecars_are_read_only_where_the_state_knows_nothing(desk):
    """Thousands of files, at every run."""
    home = desk.bring_home(desk.plan(desk.write(FOX))["fox-t1"])
    (desk.out / "autumn" / ".batcher-receipts.jsonl").unlink()
    folder = Folder(desk.out, "autumn", inline=True)
    assert known(folder, has_history=True) == {}
    assert list(known(folder, has_history=False)) == [home.content_hash]


@pytest.mark.parametrize(
    ("status", "number", "told", "is_it"),
    [
        pytest.param("pending", 1, {"posts": 3}, True, id="a call more than counted"),
        pytest.param("pending", 1, {"posts": 2}, False, id="as many"),
        pytest.param("pending", 1, {"posts": 1}, False, id="fewer: its receipt could not be written"),
        pytest.param("pending", 1, {"external_task_id": "north-a1"}, True, id="under another id"),
        pytest.param("pending", 2, {}, False, id="an earlier attempt"),
        pytest.param("pending", 1, {"external_task_id": "fox-a2", "attempt": 2}, True, id="a later attempt"),
        pytest.param("failed", 1, {"posts": 3}, True, id="failed, and retried under its id"),
        pytest.param("failed", 1, {"posts": 2}, False, id="failed, and not retried"),
        pytest.param("failed", 1, {"external_task_id": "north-a1"}, False, id="failed, under another id"),
        pytest.param("failed", 1, {"external_task_id": "fox-a2", "attempt": 2}, True, id="failed, and bought again"),
        pytest.param("failed", 2, {}, False, id="failed again"),
        *(
            pytest.param(status, 1, {"posts": 9}, False, id=f"{status}, and called again under its id")
            for status in Status
            if status not in ("pending", "failed")
        ),
        *(
            pytest.param(
                status,
                1,
                {"external_task_id": "fox-a2", "attempt": 2},
                status not in ("downloaded", "cancelled"),
                id=f"{status}, and a later attempt",
            )
            for status in Status
        ),
    ],
)
def test_a_state_is_behind_where_the_folder_knows_a_call_that_it_does_not(desk, status, number, told, is_it):
    """Under its own id only what waits or has failed would be sent again; a later attempt goes before an open one."""
    task = desk.send(desk.refuse(desk.plan(desk.write(FOX))["fox-t1"]))
    attempt = replace(desk.store.attempt(task.external_task_id), posts=2)
    task = replace(task, status=Status(status), attempt=number, external_task_id=f"fox-a{number}")
    used = Used(**({"external_task_id": "fox-a1", "attempt": 1, "posts": 2, "account": "k1"} | told))
    assert is_behind(task, attempt, used) is is_it
