from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from batcher.simulator import Settings, World
from batcher.simulator.faults import FAULTS

from .conftest import NOON


def test_a_generation_walks_from_submitted_to_succeed_by_the_clock_alone(api):
    _, created = api.post("fox-1")
    ident = created["data"]["task_id"]
    generation = api.world.generation(ident)
    seen = []
    for api.now in (NOON, generation.starts_at, generation.ends_at - 0.001, generation.ends_at):
        seen.append(api.look(ident)[1]["data"]["task_status"])
    assert seen == ["submitted", "processing", "processing", "succeed"]


def test_ids_are_18_digits_that_grow_and_times_are_milliseconds(api):
    replies = [api.post(f"fox-{number}")[1]["data"] for number in range(5)]
    ids = [reply["task_id"] for reply in replies]
    assert all(re.fullmatch(r"\d{18}", ident) for ident in ids)
    assert ids == sorted(set(ids))
    assert replies[0]["created_at"] == NOON * 1000


def test_one_above_the_limit_is_refused_and_creates_nothing_until_a_slot_is_free(make_api):
    api = make_api(limit=2)
    first = api.post("one")[1]["data"]["task_id"]
    api.post("two")
    status, refusal = api.post("three")
    assert (status, refusal["code"], refusal["message"]) == (429, 1303, "parallel task over resource pack limit")
    assert api.look("three")[0] == 400
    api.ended(first)
    assert api.post("three")[0] == 200
    assert (api.ledger["max_in_flight"], api.ledger["charged"], api.ledger["creates"]) == (2, 3, 4)


def test_a_used_id_is_refused_in_the_real_words_and_not_charged(api):
    api.post("fox-1")
    status, refusal = api.post("fox-1", prompt="another prompt")
    assert (status, refusal["code"]) == (400, 1201)
    assert refusal["message"] == "External_task_id fox-1 already exists"
    assert api.ledger["charged"] == 1


@pytest.mark.parametrize(
    ("used_ids", "status", "charged", "twice"),
    [("reword", 400, 1, []), ("return", 200, 1, []), ("create", 200, 2, ["fox-1"])],
)
def test_other_gateways_treat_a_used_id_otherwise(make_api, used_ids, status, charged, twice):
    api = make_api(used_ids=used_ids)
    first = api.post("fox-1")[1]["data"]["task_id"]
    again, reply = api.post("fox-1")
    assert (again, api.ledger["charged"], api.ledger["twice"]) == (status, charged, twice)
    if used_ids == "return":
        assert reply["data"]["task_id"] == first


def test_an_unknown_id_is_400_code_1201_in_the_real_words(api):
    status, refusal = api.look("nobody")
    assert (status, refusal["code"]) == (400, 1201)
    assert refusal["message"] == "Task not found by id/external id: nobody"


def test_accounts_do_not_see_each_other(api):
    ident = api.post("fox-1")[1]["data"]["task_id"]
    api.key = "sk-other"
    assert api.look(ident)[0] == api.look("fox-1")[0] == 400
    assert api.post("fox-1")[0] == 200
    assert api.list()[1]["data"] != []


def test_an_external_id_may_become_visible_late_while_the_task_id_is_there_at_once(make_api):
    api = make_api(visible_after_s=5)
    ident = api.post("fox-1")[1]["data"]["task_id"]
    assert (api.look(ident)[0], api.look("fox-1")[0], api.list()[1]["data"]) == (200, 400, [])
    api.now += 5
    assert (api.look("fox-1")[0], len(api.list()[1]["data"])) == (200, 1)


def test_the_list_is_newest_first_and_its_pages_have_limits(make_api):
    api = make_api(limit=50)
    for number in range(35):
        api.post(f"fox-{number}")
    names = [task["task_info"]["external_task_id"] for task in api.list()[1]["data"]]
    assert names == [f"fox-{number}" for number in range(34, 4, -1)]
    assert len(api.list(pageNum=2)[1]["data"]) == 5
    assert len(api.list(pageSize=500)[1]["data"]) == 35
    assert api.list(pageNum=1000)[1]["data"] == []
    for bad in ({"pageNum": 0}, {"pageNum": 1001}, {"pageSize": 501}, {"pageSize": "x"}, {"pageSize": -1}):
        assert api.list(**bad)[1]["code"] == 1201


def test_moderation_refuses_at_once_or_fails_later_under_a_reply_that_says_succeed(api):
    status, refusal = api.post("one", prompt="Simulate REFUSAL of a fox")
    assert (status, refusal["code"]) == (400, 1301)
    ident = api.post("two", prompt="simulate failure of a fox")[1]["data"]["task_id"]
    task = api.ended(ident)
    assert (task["task_status"], task["task_status_msg"]) == ("failed", "Failure to pass the risk control system")
    assert api.look(ident)[1]["message"] == "SUCCEED"
    assert api.ledger["charged"] == 1


def test_an_empty_balance_is_429_code_1102(make_api):
    api = make_api(balance_units=3)
    assert api.post("one")[0] == 200
    assert api.post("two")[1]["code"] == 1102


def test_the_order_of_checks_is_a_setting(make_api):
    api = make_api(limit=1, checks=("slots", "duplicate", "parameters"))
    api.post("one")
    assert api.post("one", mode="bad")[1]["code"] == 1303


def test_a_zombie_is_created_after_its_client_gave_up(make_api):
    api = make_api(script=("zombie",), late_s=30)
    assert api.reply("POST", "/kling/v1/videos/text2video", b'{"prompt":"a","external_task_id":"z"}').status == 504
    api.now += 29
    assert api.look("z")[0] == 400
    api.now += 1
    assert api.look("z")[0] == 200
    assert api.ledger["charged"] == 1


def test_a_zombie_that_meets_its_own_repetition_is_refused(make_api):
    api = make_api(script=("zombie",), late_s=30)
    api.reply("POST", "/kling/v1/videos/text2video", b'{"prompt":"a","external_task_id":"z"}')
    assert api.post("z")[0] == 200
    api.now += 31
    assert (api.ledger["charged"], api.ledger["twice"]) == (1, [])


def test_the_same_seed_gives_the_same_faults_in_whatever_order_the_calls_come(make_api):
    names = [f"fox-{number}" for number in range(200)]
    outcomes = []
    for order in (names, names[::-1]):
        api = make_api(limit=1000, seed=7, faults={"html-502": 0.2, "reset-after": 0.2, "never-ends": 0.1})
        outcomes.append({name: api.reply("POST", "/v1/videos/text2video", _body(name)).hang for name in order})
    assert outcomes[0] == outcomes[1]
    assert 15 < sum(hang == "reset" for hang in outcomes[0].values()) < 65


def _body(name):
    return json.dumps({"prompt": "a fox", "external_task_id": name}).encode()


def test_durations_follow_the_model_and_the_time_scale(make_api):
    def median(**changes):
        api = make_api(limit=1000, time_scale=changes.pop("time_scale", 1.0))
        for number in range(201):
            api.post(f"fox-{number}", **changes)
        spans = sorted(g.ends_at - g.created_at for a in api.world._accounts.values() for g in a.generations.values())
        return spans[100]

    slow = median(model_name="kling-v1-6")
    assert 130 < slow < 190
    assert median(model_name="kling-v1-6", time_scale=0.02) == pytest.approx(slow * 0.02)
    assert 1.4 < median(duration="10") / slow < 1.7
    assert median(model_name="kling-v2-5-turbo") < 70


def test_for_comparisons_every_generation_takes_the_same_time(make_api):
    api = make_api(limit=1000, generation_s=2.0, script=("ok", "ok", "slow-tail"))
    for number, model in enumerate(("kling-v1", "kling-v3", "kling-v3")):
        api.post(f"fox-{number}", model_name=model)
    (account,) = api.world._accounts.values()
    spans = [made.ends_at - made.created_at for made in account.generations.values()]
    assert spans == pytest.approx([2.0, 2.0, 16.0])


# The file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "world.jsonl"


def test_what_was_accepted_outlives_the_process_and_goes_on_by_the_wall_clock(path, open_api):
    api = open_api(path)
    ident = api.post("fox-1")[1]["data"]["task_id"]
    created = api.world.generation(ident)
    api.world.close()

    again = open_api(path, seed=99, now=NOON + 3600)
    assert again.world.generation(ident) == created
    assert again.look("fox-1")[1]["data"]["task_status"] == "succeed"
    assert again.post("fox-1")[1]["code"] == 1201
    assert int(again.post("fox-2")[1]["data"]["task_id"]) > int(ident)
    assert (again.ledger["creates"], again.ledger["charged"]) == (3, 2)


def test_a_line_torn_by_a_kill_is_forgotten_and_the_file_goes_on(path, open_api):
    api = open_api(path)
    api.post("fox-1")
    api.post("fox-2")
    api.world.close()
    whole = path.read_bytes()
    for cut in (1, 40, len(whole.splitlines(keepends=True)[1]) - 1):
        path.write_bytes(whole[:-cut])
        again = open_api(path)
        assert (again.look("fox-1")[0], again.look("fox-2")[0]) == (200, 400)
        again.post("x", mode="bad")  # a short line: nothing of the torn one may stick out behind it
        again.world.close()
        third = open_api(path)
        third.post("fox-3")
        assert third.look("fox-3")[0] == 200
        third.world.close()


def test_a_zombie_survives_a_restart_too(path, open_api):
    api = open_api(path, script=("zombie",))
    api.reply("POST", "/kling/v1/videos/text2video", b'{"prompt":"a","external_task_id":"z"}')
    api.world.close()
    for _ in range(2):
        again = open_api(path, now=NOON + 60)
        assert again.look("z")[0] == 200
        assert (again.ledger["charged"], again.ledger["creates"]) == (1, 2)
        again.world.close()


def test_a_world_has_one_process_at_a_time(path):
    world = World.open(path)
    with pytest.raises(BlockingIOError, match="in use by another simulator"):
        World.open(path)
    world.close()
    World.open(path).close()


def test_a_file_that_is_no_world_is_refused_by_name_and_line(path):
    path.write_text('{"hello": 1}\n')
    with pytest.raises(ValueError, match="world"):
        World.open(path)
    path.write_text("hello\n")
    with pytest.raises(ValueError, match=r"world\.jsonl:1"):
        World.open(path)


def test_the_key_is_not_in_the_file(path, open_api):
    api = open_api(path, key="sk-very-secret")
    api.post("fox-1")
    api.world.close()
    assert b"very-secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_killed_at_the_moment_of_its_reply_has_written_what_it_accepted(path, open_api):
    """The line is on disk before the reply leaves: SIGKILL in between loses nothing."""
    script = f"""
import json, os, pathlib, signal
from batcher.simulator import World
from batcher.simulator.wire import Request, answer
world = World.open(pathlib.Path({str(path)!r}))
body = json.dumps({{"prompt": "a fox", "external_task_id": "fox-1"}}).encode()
headers = {{"authorization": "Bearer k"}}
answer(world, Request(method="POST", path="/v1/videos/text2video", headers=headers, body=body), now={NOON})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    api = open_api(path, key="k")
    assert api.look("fox-1")[0] == 200


def test_every_fault_that_creates_nothing_has_an_answer():
    for fault in FAULTS.values():
        if not fault.reaches_the_rules:
            assert fault.refusal or fault.reply or fault.hang, fault.name


@pytest.mark.parametrize(
    "bad",
    [
        {"faults": {"nonsense": 0.1}},
        {"faults": {"html-502": 1.5}},
        {"faults": {"html-502": 0.6, "reset-after": 0.6}},
        {"script": ("nonsense",)},
        {"limit": 0},
        {"generation_s": 0},
        {"generation_s": float("nan")},
        {"checks": ("slots",)},
        {"checks": ("moderation", "parameters")},
        {"callback_moods": {"lost": 2}},
    ],
)
def test_settings_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match=r"\w"):
        Settings(**bad)
