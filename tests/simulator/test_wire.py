from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.simulator import Settings, World
from batcher.simulator.wire import File

from .conftest import CREATE, NOON, Api


def test_native_replies_have_the_documented_fields_and_no_more(api):
    _, created = api.post("fox-1")
    assert list(created) == ["code", "message", "request_id", "data"]
    assert created["data"] == {
        "task_id": created["data"]["task_id"],
        "task_status": "submitted",
        "task_info": {"external_task_id": "fox-1"},
        "created_at": int(NOON * 1000),
        "updated_at": int(NOON * 1000),
    }
    assert api.look("fox-1")[1]["data"]["task_result"] == {}
    task = api.ended(created["data"]["task_id"])
    (video,) = task["task_result"]["videos"]
    assert (video["duration"], task["final_unit_deduction"]) == ("5.041", "2")
    assert video["url"].startswith("http://localhost/assets/")


def test_without_an_external_id_task_info_is_empty(api):
    assert api.post()[1]["data"]["task_info"] == {}


def test_the_official_paths_without_kling_are_the_same_api(api):
    api.post("fox-1")
    assert api.send("GET", "/v1/videos/text2video/fox-1")[0] == 200
    assert api.send("GET", "/v1/videos/text2video")[1]["data"][0]["task_info"] == {"external_task_id": "fox-1"}


def test_taskdto_wraps_the_native_reply_and_keeps_the_url_in_fail_reason(make_api):
    api = make_api(shape="taskdto")
    ident = api.post("fox-1")[1]["data"]["task_id"]
    dto = api.look(ident)[1]
    assert (dto["code"], dto["data"]["status"], dto["data"]["data"]["data"]["task_status"]) == (
        "success",
        "SUBMITTED",
        "submitted",
    )
    over = api.ended(ident)
    assert over["status"] == "SUCCESS"
    assert over["fail_reason"] == over["data"]["data"]["task_result"]["videos"][0]["url"]


def test_openai_replies_are_flat_with_times_in_seconds(make_api):
    api = make_api(shape="openai")
    created = api.post("fox-1")[1]
    assert (created["object"], created["status"], created["created_at"]) == ("video", "queued", int(NOON))
    api.now = api.world.generation(created["task_id"]).ends_at
    over = api.send("GET", f"/v1/videos/{created['id']}")[1]
    assert over["status"] == "completed"
    assert isinstance(api.fetch(over["metadata"]["url"]), File)


def test_hybrid_is_native_with_the_id_on_top_and_times_in_seconds(make_api):
    created = make_api(shape="hybrid").post("fox-1")[1]
    assert created["task_id"] == created["data"]["task_id"]
    assert created["data"]["created_at"] == int(NOON)


@pytest.mark.parametrize("shape", ["taskdto", "openai"])
def test_gateways_know_neither_external_ids_nor_a_list_and_nest_refusals(make_api, shape):
    api = make_api(shape=shape, limit=1)
    api.post("fox-1")
    assert api.look("fox-1") == (400, {"code": "task_not_exist", "message": "task_not_exist", "data": None})
    assert api.list()[0] == 404
    status, refusal = api.post("fox-2")
    assert (status, refusal["code"], json.loads(refusal["message"])["code"]) == (429, "fail_to_fetch_task", 1303)


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        ({"mode": "ultra"}, 400, 1201, "mode value 'ultra' is invalid"),
        ({"mode": ["std"]}, 400, 1201, "mode value '['std']' is invalid"),
        ({"duration": 5}, 400, 1201, "duration value '5' is invalid"),
        ({"duration": "99"}, 400, 1201, "duration value '99' is invalid"),
        ({"duration": "3", "model_name": "kling-v3"}, 200, 0, "SUCCEED"),
        ({"aspect_ratio": "21:9"}, 400, 1201, "aspect_ratio value '21:9' is invalid"),
        ({"aspect_ratio": "2:3"}, 200, 0, "SUCCEED"),
        ({"prompt": ""}, 400, 1201, "prompt value '' is invalid"),
        ({"cfg_scale": 2}, 400, 1201, "cfg_scale value '2' is invalid"),
        ({"cfg_scale": True}, 400, 1201, "cfg_scale value 'True' is invalid"),
        ({"sound": "on"}, 400, 1201, "sound value 'on' is invalid"),
        ({"sound": "on", "model_name": "kling-v2-6", "mode": "pro"}, 200, 0, "SUCCEED"),
        ({"model_name": "kling-v9"}, 404, 1203, "The model kling-v9 does not exist"),
        ({"model_name": ["x"]}, 404, 1203, "The model ['x'] does not exist"),
        ({"model_name": "kling-v2-1"}, 400, 1201, "model_name value 'kling-v2-1' is invalid"),
        ({"camera_control": {"type": "down_back"}}, 400, 1201, "kling-v1-6 is not supported with camera control"),
        ({"camera_control": {"type": "down_back"}, "model_name": "kling-v1"}, 200, 0, "SUCCEED"),
        ({"model_name": "", "mode": "pro"}, 200, 0, "SUCCEED"),
        ({"something_new": 1}, 200, 0, "SUCCEED"),
    ],
)
def test_parameters_are_checked_with_the_real_words(api, changes, status, code, message):
    got, reply = api.post("fox-1", **changes)
    assert (got, reply["code"], reply["message"]) == (status, code, message)


@pytest.mark.parametrize(
    "config", [None, {}, {"zoom": 0}, {"zoom": 1, "pan": 1}, {"zoom": 11}, {"warp": 1}, {"zoom": "1"}]
)
def test_a_simple_camera_moves_in_exactly_one_of_six_ways(api, config):
    camera = {"type": "simple", "config": config}
    assert api.post("x", model_name="kling-v1", camera_control=camera)[1]["code"] == 1201
    good = {"type": "simple", "config": {"zoom": 5, "pan": 0}}
    assert api.post("y", model_name="kling-v1", camera_control=good)[0] == 200


def test_keys_and_their_errors(make_api):
    api = make_api(keys=frozenset({"good"}))
    codes = {}
    for key in ("good", "bad", "", _jwt(iss="good", exp=NOON + 1), _jwt(iss="good", exp=NOON)):
        api.key = key
        codes[key] = api.look("nobody")[1]["code"]
    api.key = _jwt(iss="good", exp=NOON + 9, nbf=NOON + 5)
    assert [*codes.values(), api.look("nobody")[1]["code"]] == [1201, 1002, 1001, 1201, 1004, 1003]


def test_a_jwt_opens_the_account_of_its_access_key(api):
    api.key = _jwt(iss="ak", exp=NOON + 1)
    api.post("fox-1")
    api.key = _jwt(iss="ak", exp=NOON + 2)
    assert api.look("fox-1")[0] == 200


def _jwt(**claims):
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({}, claims, "s"))


def test_wrong_methods_wrong_paths_and_bad_bodies_are_refused(api):
    assert api.send("PUT", CREATE)[1]["code"] == 1202
    assert api.send("POST", f"{CREATE}/fox-1")[1]["code"] == 1202
    assert api.send("GET", "/v1/chat")[1]["error"]["type"] == "comet_api_error"
    for body in (b"", b"{", b"[1]", b"[" * 100_000, b"\xff"):
        assert api.send("POST", CREATE, body)[1]["code"] == 1200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = "prompt model_name mode duration cfg_scale aspect_ratio camera_control external_task_id callback_url sound"


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS.split()), json_values))
def test_no_body_breaks_it(body):
    """Whatever JSON comes, the answer is a reply: taken, or refused with a code."""
    api = Api(World(Settings()))
    status, reply = api.send("POST", CREATE, json.dumps({"prompt": "a", **body}).encode())
    assert (status == 200) is (reply["code"] == 0)


def test_a_url_is_fresh_at_each_look_and_dies_at_its_time(make_api):
    api = make_api(url_life_s=60)
    ident = api.post("fox-1")[1]["data"]["task_id"]
    first = api.ended(ident)["task_result"]["videos"][0]["url"]
    assert isinstance(api.fetch(first), File)
    api.now += 61
    assert api.fetch(first).status == 403
    fresh = api.look(ident)[1]["data"]["task_result"]["videos"][0]["url"]
    assert isinstance(api.fetch(fresh), File)
    for forged in (fresh[:-1] + "x", fresh.replace("Signature=", "Signature=0"), fresh.split("?")[0]):
        assert api.fetch(forged).status == 403
    assert api.fetch(fresh.replace(ident, str(int(ident) + 1))).status == 403


def test_a_key_sent_to_the_file_host_is_in_the_ledger(api):
    ident = api.post("fox-1")[1]["data"]["task_id"]
    url = api.ended(ident)["task_result"]["videos"][0]["url"]
    api.fetch(url)
    assert (api.ledger["leaks"], api.ledger["downloads"]) == (0, 1)
    api.fetch(url, authorization="Bearer k")
    assert (api.ledger["leaks"], api.ledger["downloads"]) == (1, 2)


def odd(make_api, mark, share):
    """Look at a generation with that mark, `share` of the way through its rendering."""
    api = make_api(script=(mark,))
    created = api.post("fox-1")[1]["data"]
    generation = api.world.generation(str(created["task_id"]))
    api.now = generation.starts_at + share * ((generation.ends_at or 1e10) - generation.starts_at)
    return created, *api.look(generation.id)


def test_odd_generations_are_odd_in_the_way_their_name_says(make_api):
    assert odd(make_api, "unknown-status", 0.5)[2]["data"]["task_status"] == "rendering_stage_2"
    assert odd(make_api, "backwards", 0.5)[2]["data"]["task_status"] == "submitted"
    assert odd(make_api, "vanishes", 0.5)[1] == 400
    assert odd(make_api, "never-ends", 1)[2]["data"]["task_status"] == "processing"
    assert odd(make_api, "fails", 1)[2]["data"]["task_status_msg"] == "Internal error"
    assert odd(make_api, "array-data", 0.5)[2]["data"][0]["task_status"] == "processing"
    assert isinstance(odd(make_api, "numeric-id", 0)[0]["task_id"], int)
    assert "url" not in odd(make_api, "no-url", 1)[2]["data"]["task_result"]["videos"][0]
    assert "url" not in odd(make_api, "late-url", 1)[2]["data"]["task_result"]["videos"][0]
    assert len(odd(make_api, "two-videos", 1)[2]["data"]["task_result"]["videos"]) == 2
    assert "169.254" in odd(make_api, "hostile-url", 1)[2]["data"]["task_result"]["videos"][0]["url"]


def test_a_fault_at_a_look_or_a_file_changes_nothing_but_that_answer(make_api):
    api = make_api(script=("look-502", "asset-403"))
    ident = api.post("fox-1")[1]["data"]["task_id"]
    assert api.reply("GET", f"{CREATE}/{ident}").status == 502
    url = api.ended(ident)["task_result"]["videos"][0]["url"]
    assert api.fetch(url).status == 403
    assert isinstance(api.fetch(url), File)


@pytest.mark.parametrize(
    ("fault", "charged"),
    [
        ("reset-after", 1),
        ("5000-created", 1),
        ("5002-created", 1),
        ("524-created", 1),
        ("no-id-created", 1),
        ("html-502", 0),
        ("1102", 0),
        ("1303-as-200", 0),
        ("gateway-envelope", 0),
        ("rewritten-429", 0),
        ("reset-before", 0),
    ],
)
def test_a_lost_reply_is_charged_and_a_refusal_is_not(make_api, fault, charged):
    api = make_api(script=(fault,))
    api.reply("POST", CREATE, b'{"prompt": "a", "external_task_id": "x"}')
    assert api.ledger["charged"] == charged
    assert api.look("x")[0] == (200 if charged else 400)
