"""What replies mean. The samples are the providers' own where a source and date is named."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.generations import Fate, GenerationStatus, RefusalKind, Sight
from batcher.http import Reply
from batcher.providers.kling import KINDS, classify, is_invalid_field, parse_create, parse_find, parse_list

OUR_ID = "demo-0123456789abcdef01234567-a1"

# Live official create reply, kling-v3, 2026-03-29.
CREATED = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "c0656403-1e6e-4b7e-b8f8-2cdd2595f2b9",
    "data": {
        "task_id": "867283741759111202",
        "task_status": "submitted",
        "task_info": {"external_task_id": "text2video_kling_v3_final-1774805076"},
        "created_at": 1774805076166,
        "updated_at": 1774805076166,
    },
}
# CometAPI's documentation of the query call, seen 2026-11.
PROCESSING = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "9ab376fc-9059-487f-9e2a-c9c89f1a344f",
    "data": {
        "task_id": "878106242831892487",
        "task_info": {},
        "created_at": 1777385361501,
        "updated_at": 1777385363321,
        "task_result": {},
        "task_status": "processing",
    },
}
# Official payload of a failed task, 2025-12-26, in new-api's pull request 2532; masked digits replaced by zeros.
FAILED = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "ace7625a-3e18-49aa-abc4-000000000000",
    "data": {
        "task_id": "833446756000000000",
        "task_info": {},
        "created_at": 1766737710125,
        "updated_at": 1766737711775,
        "task_result": {},
        "task_status": "failed",
        "task_status_msg": "Image pixel is invalid",
    },
}
URL = (
    "https://v16-kling-fdl.klingai.com/bs2/upload-ylab-stunt-sgp/muse/1/VIDEO/20260107/x.mp4"
    "?cacheKey=1&x-kcdn-pid=112781&ksSecret=s3cret&ksTime=6984d018"
)
# Composed from the official schema and fragments of real results, 2026-01.
SUCCEEDED = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "9984d27b-0000-0000-0000-000000000000",
    "data": {
        "task_id": "842250903629086785",
        "task_info": {"external_task_id": OUR_ID},
        "task_status": "succeed",
        "task_result": {"videos": [{"id": "842250903708762200", "url": URL, "duration": "5.1"}]},
        "final_unit_deduction": "2",
        "created_at": 1722769557708,
        "updated_at": 1722769629708,
    },
}


def make_reply(payload, status=200, **headers):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Reply(status=status, headers={"content-type": "application/json", **headers}, body=body)


def changed(sample, **data):
    return {**sample, "data": {**sample["data"], **data}}


def wrapped(native, **changes):
    """The second shape: a gateway's own record around the native reply. new-api's dto/task.go, 2026-07."""
    return {
        "code": "success",
        "message": "",
        "data": {
            "id": 4711,
            "task_id": "task_abc",
            "platform": "kling",
            "action": "textGenerate",
            "status": "IN_PROGRESS",
            "fail_reason": "",
            "submit_time": 1775872087,
            "start_time": 1775872090,
            "finish_time": 0,
            "progress": "30%",
            "data": native,
            **changes,
        },
    }


def video(**changes):
    """The third shape, as newer gateways answer on the Kling route."""
    return {
        "id": "task_abc",
        "task_id": "task_abc",
        "object": "video",
        "model": "kling-v1-6",
        "status": "queued",
        "progress": 0,
        "created_at": 1775872087,
        **changes,
    }


class TestAccepted:
    def test_a_native_reply(self):
        posted = parse_create(make_reply(CREATED))
        assert posted.fate is Fate.ACCEPTED
        assert posted.request_id == "c0656403-1e6e-4b7e-b8f8-2cdd2595f2b9"
        generation = posted.generation
        assert generation.id == "867283741759111202"
        assert generation.status is GenerationStatus.SUBMITTED
        assert generation.external_task_id == "text2video_kling_v3_final-1774805076"
        assert generation.created_at == 1774805076.166

    @pytest.mark.parametrize(
        ("payload", "generation_id"),
        [
            ({**CREATED, "code": "0"}, "867283741759111202"),
            ({"data": CREATED["data"]}, "867283741759111202"),
            (changed(CREATED, task_id=867283741759111202), "867283741759111202"),
            (changed(CREATED, task_info={}), "867283741759111202"),
            ({**CREATED, "data": [CREATED["data"]]}, "867283741759111202"),
            ({**CREATED, "task_id": "867283741759111202"}, "867283741759111202"),
            (wrapped(CREATED), "task_abc"),
            (video(), "task_abc"),
            ({"id": "task_abc", "status": "queued"}, "task_abc"),
        ],
        ids=[
            "code as text",
            "no code",
            "id as a number",
            "no echo",
            "array",
            "hybrid",
            "task",
            "video",
            "bare video",
        ],
    )
    def test_every_other_shape(self, payload, generation_id):
        posted = parse_create(make_reply(payload))
        assert posted.fate is Fate.ACCEPTED
        assert posted.generation.id == generation_id
        assert posted.generation.status is GenerationStatus.SUBMITTED

    def test_any_success_status_will_do(self):
        assert parse_create(make_reply(CREATED, 201)).fate is Fate.ACCEPTED


class TestRefused:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            # Kling's error table, 2026-09.
            (401, 1000, "key"),
            (401, 1001, "key"),
            (401, 1002, "key"),
            (401, 1003, "key"),
            (401, 1004, "key"),
            (429, 1100, "funds"),
            (429, 1101, "funds"),
            (429, 1102, "funds"),
            (403, 1103, "invalid"),
            (400, 1200, "invalid"),
            (404, 1202, "invalid"),
            (404, 1203, "invalid"),
            (400, 1300, "content"),
            (400, 1301, "content"),
            (429, 1302, "busy"),
            (429, 1303, "busy"),
            (429, 1304, "key"),
        ],
    )
    def test_kling_says_no(self, status, code, kind):
        payload = {"code": code, "message": "no", "request_id": "r-1"}
        gateway = {"code": "fail_to_fetch_task", "message": json.dumps(payload), "data": None}
        comet = {
            "error": {"message": f"{json.dumps(payload)} (request id: 2026)", "type": "comet_api_error", "code": ""}
        }
        for body in (payload, payload | {"code": str(code)}, gateway, comet):
            posted = parse_create(make_reply(body, status), retry_after_s=7)
            assert posted.fate is Fate.REFUSED
            assert (posted.refusal.kind.value, posted.refusal.code, posted.refusal.message) == (kind, str(code), "no")
            assert (posted.refusal.http_status, posted.refusal.retry_after_s) == (status, 7)
        assert parse_create(make_reply(payload, status)).request_id == "r-1"

    def test_a_code_under_http_200_is_a_refusal_too(self):
        posted = parse_create(make_reply({"code": 1301, "message": "risk"}))
        assert (posted.fate, posted.refusal.kind) == (Fate.REFUSED, RefusalKind.CONTENT)

    @pytest.mark.parametrize(
        "code", ["insufficient_user_quota", "quota_not_enough", "pre_consume_token_quota_failed"]
    )
    def test_an_empty_account_at_the_gateway(self, code):
        for body in (
            {"error": {"message": "user quota is not enough", "code": code}},
            {"code": code, "message": "m"},
        ):
            posted = parse_create(make_reply(body, 403))
            assert (posted.fate, posted.refusal.kind, posted.refusal.code) == (Fate.REFUSED, RefusalKind.FUNDS, code)

    def test_a_key_the_gateway_does_not_know(self):
        posted = parse_create(make_reply({"error": {"message": "Invalid token", "type": "comet_api_error"}}, 401))
        assert (posted.fate, posted.refusal.kind) == (Fate.REFUSED, RefusalKind.KEY)
        assert posted.refusal.message == "Invalid token"

    @pytest.mark.parametrize(
        ("text", "fate", "code"),
        [
            ("parallel task over resource pack limit", Fate.REFUSED, "1303"),
            ("Account balance not enough", Fate.REFUSED, "1102"),
            ("Failure to pass the risk control system", Fate.REFUSED, "1301"),
            (f"External_task_id {OUR_ID} already exists", Fate.EXISTS, "1201"),
            ("mode value 'std' is invalid", Fate.CHECK, "1201"),
            ("kling-v1-6 is not supported with motion brush", Fate.CHECK, "1201"),
            ("context deadline exceeded", Fate.AMBIGUOUS, "task_failed"),
        ],
    )
    def test_a_gateway_that_drops_the_code_is_believed_only_where_the_text_is_klings(self, text, fate, code):
        posted = parse_create(make_reply({"code": "task_failed", "message": text, "data": None}, 400))
        assert (posted.fate, posted.refusal.code) == (fate, code)


class TestUsedIds:
    def test_already_exists(self):
        body = {"code": 1201, "message": f"External_task_id {OUR_ID} already exists", "request_id": "r"}
        assert parse_create(make_reply(body, 400)).fate is Fate.EXISTS

    @pytest.mark.parametrize(
        "message", ["duration value '99' is invalid", "Duplicate request", "", "Voice id not found"]
    )
    def test_every_other_1201_is_to_be_checked(self, message):
        posted = parse_create(make_reply({"code": 1201, "message": message}, 400))
        assert (posted.fate, posted.refusal.kind) == (Fate.CHECK, RefusalKind.INVALID)

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ("mode value 'std' is invalid", True),
            ("duration value '99' is invalid", True),
            ("External_task_id value 'x' is invalid", False),
            ("external_task_id x already exists", False),
            ("invalid", False),
        ],
    )
    def test_a_complaint_about_one_field_is_told_from_one_about_the_id(self, message, expected):
        assert is_invalid_field(message) is expected


class TestAmbiguous:
    @pytest.mark.parametrize("status", [100, 301, 302, 307, 408, 409, 425, 499, 500, 502, 503, 504, 524])
    def test_these_statuses_say_nothing_whatever_the_body_says(self, status):
        for body in (
            CREATED,
            {"code": 1303, "message": "no"},
            {"code": 1201, "message": "already exists"},
            b"<html>",
        ):
            posted = parse_create(make_reply(body, status))
            assert (posted.fate, posted.generation) == (Fate.AMBIGUOUS, None)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b""),
            (200, b"null"),
            (200, b"<html>Sign in to the hotel's network</html>"),
            (200, json.dumps(CREATED).encode()[:-2]),
            (200, {"code": 0, "message": "SUCCEED"}),
            (200, {"code": 0, "data": None}),
            (200, changed(CREATED, task_id="")),
            (200, changed(CREATED, task_id=8.67e17)),
            (200, changed(CREATED, task_id=True)),
            (200, changed(CREATED, task_id="..")),
            (200, {**CREATED, "data": [CREATED["data"], PROCESSING["data"]]}),
            (200, {**CREATED, "size": float("nan")}),
            (200, {**CREATED, "code": 5000}),
            (200, {**CREATED, "code": 9999}),
            (200, {**CREATED, "code": False}),
            (200, {"error": {"message": "x", "code": "quota_not_enough"}}),
            (400, {"error": {"message": "model name is required (request id: 1)", "code": ""}}),
            (400, {"code": "fail_to_fetch_task", "message": "<html>", "data": None}),
            (400, {"code": 5002, "message": "timeout"}),
            (400, {"code": "bad_response", "message": "parallel task over resource pack limit"}),
            (403, b"<html>WAF</html>"),
            (401, b"<html>WAF</html>"),
            (404, {"error": {"message": "Invalid URL", "type": "invalid_request_error"}}),
            # new-api's words for every 429 from upstream, 2026.
            (429, {"error": {"message": "当前分组上游负载已饱和", "code": ""}}),
            # CometAPI, live, 2026-02-05.
            (503, {"error": {"message": "no available channel for group default", "code": "model_not_found"}}),
        ],
    )
    def test_what_proves_neither_is_neither(self, status, body):
        posted = parse_create(make_reply(body, status))
        assert (posted.fate, posted.generation) == (Fate.AMBIGUOUS, None)
        assert str(status) in posted.detail

    def test_a_crowded_gateway_is_seen_as_busy_all_the_same(self):
        refusal = parse_create(make_reply({"error": {"message": "later"}}, 429)).refusal
        assert (refusal.kind, refusal.code) == (RefusalKind.BUSY, "http-429")


class TestFound:
    def test_processing(self):
        look = parse_find(make_reply(PROCESSING), "878106242831892487")
        assert look.sight is Sight.FOUND
        assert (look.generation.status, look.generation.videos) == (GenerationStatus.PROCESSING, ())
        assert look.generation.updated_at == 1777385363.321

    def test_failed_under_http_200_and_code_0(self):
        generation = parse_find(make_reply(FAILED), "833446756000000000").generation
        assert (generation.status, generation.message) == (GenerationStatus.FAILED, "Image pixel is invalid")

    def test_succeeded(self):
        generation = parse_find(make_reply(SUCCEEDED), "842250903629086785").generation
        assert generation.status is GenerationStatus.SUCCEEDED
        assert (generation.units, generation.message) == (2.0, "")
        (clip,) = generation.videos
        assert (clip.url, clip.id, clip.duration_s) == (URL, "842250903708762200", 5.1)
        assert clip.expires_at == 1770311704  # 2026-02-05 17:15:04 UTC

    @pytest.mark.parametrize(
        ("query", "expires_at"),
        [
            ({"Expires": "1768489077", "Signature": "s", "Key-Pair-Id": "k"}, 1768489077),
            ({"ksTime": "6984d018", "Expires": "1768489077"}, 1768489077),
            ({"Expires": "99999999999999999"}, None),  # no date has so many digits
            ({"Expires": "-1"}, None),
            ({"Expires": "soon"}, None),
            ({}, None),
        ],
    )
    def test_a_signed_url_tells_when_it_dies(self, query, expires_at):
        url = f"https://v15-kling-fdl.klingai.com/x.mp4?{urlencode(query)}"
        sample = changed(SUCCEEDED, task_result={"videos": [{"url": url}]})
        assert parse_find(make_reply(sample), "842250903629086785").generation.videos[0].expires_at == expires_at

    @pytest.mark.parametrize(
        ("word", "status"),
        [
            ("succeed", "succeeded"),
            ("succeeded", "succeeded"),
            ("SUCCESS", "succeeded"),
            ("completed", "succeeded"),
            ("failed", "failed"),
            ("FAILURE", "failed"),
            ("submitted", "submitted"),
            ("QUEUED", "submitted"),
            ("NOT_START", "submitted"),
            ("IN_PROGRESS", "processing"),
            ("UNKNOWN", "unknown"),
            ("moderating", "unknown"),
            ("", "unknown"),
        ],
    )
    def test_every_word_for_a_status(self, word, status):
        generation = parse_find(make_reply(changed(PROCESSING, task_status=word)), "878106242831892487").generation
        assert (generation.status.value, generation.raw_status) == (status, word)

    def test_a_gateways_record_around_the_native_reply(self):
        generation = parse_find(make_reply(wrapped(SUCCEEDED, status="IN_PROGRESS")), "task_abc").generation
        assert (generation.id, generation.status, generation.videos[0].url) == ("task_abc", "succeeded", URL)
        assert (generation.external_task_id, generation.created_at) == (OUR_ID, 1722769557.708)

    def test_a_gateway_that_gave_up_is_believed_over_what_it_last_saw(self):
        body = wrapped(PROCESSING, status="FAILURE", fail_reason="task timeout")
        generation = parse_find(make_reply(body), "task_abc").generation
        assert (generation.status, generation.message) == (GenerationStatus.FAILED, "task timeout")

    @pytest.mark.parametrize("field", ["fail_reason", "result_url"])
    def test_a_result_url_may_stand_in_the_gateways_record(self, field):
        body = wrapped(None, status="SUCCESS", **{field: URL})
        generation = parse_find(make_reply(body), "task_abc").generation
        assert (generation.videos[0].url, generation.message) == (URL, "")
        assert generation.created_at == 1775872087.0

    def test_a_url_in_the_record_of_a_failure_is_no_video(self):
        body = wrapped(None, status="FAILURE", fail_reason=URL)
        assert parse_find(make_reply(body), "task_abc").generation.videos == ()

    @pytest.mark.parametrize(
        ("created_at", "seconds"),
        [
            (99_999_999_999, 99_999_999_999.0),
            (100_000_000_000, 100_000_000.0),
            ("1775872087", 1775872087.0),
            (0, None),
            (-1, None),
            ("soon", None),
            (True, None),
        ],
    )
    def test_times_are_seconds_or_milliseconds(self, created_at, seconds):
        sample = changed(PROCESSING, created_at=created_at)
        assert parse_find(make_reply(sample), "878106242831892487").generation.created_at == seconds

    def test_a_video_object(self):
        body = video(status="completed", metadata={"url": URL}, seconds="5", completed_at=1775872100)
        generation = parse_find(make_reply(body), "task_abc").generation
        assert (generation.videos[0].url, generation.videos[0].duration_s) == (URL, 5.0)
        assert (generation.created_at, generation.updated_at) == (1775872087.0, 1775872100.0)

    def test_a_video_object_that_failed(self):
        body = video(status="failed", error={"message": "nsfw", "code": "x"})
        generation = parse_find(make_reply(body), "task_abc").generation
        assert (generation.status, generation.message) == (GenerationStatus.FAILED, "nsfw")

    def test_an_array_is_searched_for_the_one_that_was_asked_for(self):
        body = {"code": 0, "data": [PROCESSING["data"], SUCCEEDED["data"], FAILED["data"]]}
        assert parse_find(make_reply(body), "842250903629086785").generation.videos
        assert parse_find(make_reply(body), OUR_ID, external=True).generation.id == "842250903629086785"
        assert parse_find(make_reply(body), "1").sight is Sight.SILENT

    def test_an_array_of_one(self):
        body = {"code": 0, "data": [PROCESSING["data"]]}
        assert parse_find(make_reply(body), "878106242831892487").sight is Sight.FOUND

    def test_several_videos_and_none(self):
        videos = [{"url": URL}, {"url": "javascript:alert(1)"}, {"url": None}, "x", {"url": URL, "duration": "inf"}]
        sample = changed(SUCCEEDED, task_result={"videos": videos})
        assert [each.duration_s for each in parse_find(make_reply(sample), OUR_ID).generation.videos] == [None, None]
        sample = changed(SUCCEEDED, task_result={})
        assert parse_find(make_reply(sample), OUR_ID).generation.videos == ()

    def test_a_message_keeps_its_words_but_no_signature_of_a_url(self):
        sample = changed(FAILED, task_status_msg=f"cannot store {URL} \x1b[31m" + "x" * 1000)
        message = parse_find(make_reply(sample), "833446756000000000").generation.message
        assert "s3cret" not in message
        assert "x.mp4 \x1b[31m" in message
        assert len(message) == 500

    def test_a_lone_surrogate_does_not_reach_anything_that_encodes(self):
        body = json.dumps(changed(FAILED, task_status_msg="X")).replace('"X"', '"\\ud800"').encode()
        assert parse_find(make_reply(body), "833446756000000000").generation.message.encode() == b"?"


class TestWhoseGeneration:
    def test_an_answer_about_another_id_is_no_answer(self):
        look = parse_find(make_reply(SUCCEEDED), "1")
        assert (look.sight, look.generation) == (Sight.SILENT, None)
        assert parse_find(make_reply(PROCESSING), "1").sight is Sight.SILENT
        assert parse_find(make_reply(SUCCEEDED), "other-a1", external=True).sight is Sight.SILENT

    def test_our_id_is_found_by_its_echo(self):
        look = parse_find(make_reply(SUCCEEDED), OUR_ID, external=True)
        assert (look.sight, look.generation.external_task_id) == (Sight.FOUND, OUR_ID)

    def test_a_gateway_that_drops_the_echo_is_believed_and_the_lack_is_shown(self):
        look = parse_find(make_reply(changed(SUCCEEDED, task_info={})), OUR_ID, external=True)
        assert (look.sight, look.generation.external_task_id) == (Sight.FOUND, None)


class TestAbsent:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            # Official, live, 2026-09-22.
            (400, {"code": 1201, "message": f"Task not found by id/external id: {OUR_ID}", "request_id": "r"}),
            (200, {"code": 1201, "message": f"Task not found by id/external id: {OUR_ID}"}),
            (
                400,
                {
                    "code": "fail_to_fetch_task",
                    "message": '{"code":1201,"message":"Task not found by id/external id: x"}',
                },
            ),
            # new-api, relay/relay_task.go.
            (400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}),
        ],
    )
    def test_only_the_providers_own_words_mean_absent(self, status, body):
        look = parse_find(make_reply(body, status), OUR_ID, external=True)
        assert (look.sight, look.generation) == (Sight.ABSENT, None)

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (404, b"<html>404</html>", "unavailable"),
            (404, {"error": {"message": "Invalid URL", "code": ""}}, "unavailable"),
            (400, {"code": 1201, "message": "task_id value 'x' is invalid"}, "invalid"),
            (500, {"code": 1201, "message": "Task not found by id/external id: x"}, "invalid"),
            (500, {"code": 5000, "message": "internal"}, "unavailable"),
            (502, b"<html>", "unavailable"),
            (200, b"<html>", "unavailable"),
            (302, b"", "unavailable"),
            (401, {"code": 1002, "message": "no"}, "key"),
            (401, {"error": {"message": "Invalid token"}}, "key"),
            (401, b"<html>", "unavailable"),
            (429, {"code": 1102, "message": "Account balance not enough"}, "funds"),
            (403, {"error": {"message": "m", "code": "insufficient_user_quota"}}, "funds"),
            (429, {"code": 1302, "message": "m"}, "busy"),
            (429, b"slow down", "busy"),
        ],
    )
    def test_an_error_is_silence_and_tells_why(self, status, body, kind):
        look = parse_find(make_reply(body, status), OUR_ID, external=True, retry_after_s=3)
        assert (look.sight, look.refusal.kind.value, look.refusal.retry_after_s) == (Sight.SILENT, kind, 3)

    @pytest.mark.parametrize("body", [{"code": 0, "data": []}, {"code": 0, "data": None}, {"code": 0}, []])
    def test_an_empty_success_is_silence(self, body):
        assert parse_find(make_reply(body), OUR_ID, external=True).sight is Sight.SILENT


class TestList:
    def test_a_page(self):
        listing = parse_list(make_reply({"code": 0, "data": [PROCESSING["data"], {"no": "id"}, SUCCEEDED["data"]]}))
        assert listing.supported is True
        assert [each.id for each in listing.generations] == ["878106242831892487", "842250903629086785"]

    def test_an_empty_page_is_a_page(self):
        assert parse_list(make_reply({"code": 0, "data": []})).supported is True

    @pytest.mark.parametrize(
        ("status", "body", "supported"),
        [
            (404, b"<html>", False),
            (404, {"error": {"message": "Invalid URL"}}, False),
            (405, b"", False),
            (400, {"code": 1202, "message": "wrong method"}, False),
            (200, b"<html>", None),
            (200, {"code": 0, "data": None}, None),
            (200, {"code": 0, "data": PROCESSING["data"]}, None),
            (400, {"code": 1201, "message": "pageSize value '501' is invalid"}, None),
            (401, {"code": 1002, "message": "no"}, None),
            (502, b"", None),
        ],
    )
    def test_only_a_missing_path_means_unsupported(self, status, body, supported):
        listing = parse_list(make_reply(body, status))
        assert (listing.supported, listing.generations) == (supported, ())


class TestClassify:
    def test_a_page_is_named_for_what_it_is(self):
        refusal = classify(502, None, {"content-type": "text/html", "x-request-id": "cf-1"})
        assert (refusal.code, refusal.request_id) == ("http-502", "cf-1")
        assert refusal.message == "an answer that is not JSON (text/html)"

    def test_a_redirect_hints_at_the_base_url(self):
        assert "base URL" in classify(301, None, {}).message

    def test_a_json_message_is_unpacked_only_so_deep(self):
        message = {"code": 1303, "message": "deep"}
        for _ in range(6):
            message = {"code": "fail_to_fetch_task", "message": json.dumps(message)}
        assert classify(429, message, {}).code == "fail_to_fetch_task"


KEYS = """code message request_id data task_id id status task_status task_status_msg task_info external_task_id
task_result videos url duration metadata error fail_reason result_url created_at submit_time object"""
keys = st.sampled_from(KEYS.split())
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0", "1201", URL, OUR_ID]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=6),
    max_leaves=25,
)
statuses = st.sampled_from([100, 200, 201, 204, 302, 400, 401, 403, 404, 408, 409, 429, 499, 500, 502, 503, 524])
bombs = [
    b"[" * 100_000,
    b'{"data":' * 100_000,
    b'{"code":0,"data":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"code":0,"data":{"task_id":' + b"9" * 5000 + b"}}",
    b'{"code":0,"data":{"task_id":' + b"9" * 4000 + b',"created_at":' + b"9" * 4000 + b"}}",
    b'{"code":0,"data":{"task_id":"1","created_at":' + b"9" * 4000 + b"}}",
    b'{"code":0,"data":{"task_id":"1","created_at":NaN,"updated_at":1e999}}',
    b'{"code":' + b"1" * 4000 + b"}",
    b'{"message":"' + b"{" * 100_000 + b'"}',
    b'{"message":"' + b'{\\"message\\":' * 50_000 + b'"}',
    b"\xff\xfe\x00",
    b'{"code":0,"data":{"task_id":"\\ud800"}}',
    json.dumps(changed(SUCCEEDED, task_result={"videos": [{"url": "https://[::1?Expires=" + "9" * 5000}]})).encode(),
    json.dumps(changed(SUCCEEDED, task_result={"videos": [{"url": "https://x?ksTime=" + "f" * 5000}]})).encode(),
]


def parse_all(reply):
    posted = parse_create(reply)
    look = parse_find(reply, OUR_ID, external=True)
    parse_find(reply, "842250903629086785")
    listing = parse_list(reply)
    repr((posted, look, listing)).encode()
    assert (posted.generation is not None) == (posted.fate is Fate.ACCEPTED)
    assert (look.generation is not None) == (look.sight is Sight.FOUND)
    return posted


class TestGarbage:
    @pytest.mark.parametrize("body", bombs, ids=range(len(bombs)))
    @pytest.mark.parametrize("status", [200, 400, 500])
    def test_no_bomb_goes_off(self, body, status):
        parse_all(make_reply(body, status))

    @given(st.binary(), statuses)
    def test_no_bytes_make_it_raise(self, body, status):
        parse_all(make_reply(body, status))

    @given(json_values, statuses)
    def test_no_json_makes_it_raise_or_say_more_than_is_proved(self, payload, status):
        posted = parse_all(make_reply(json.dumps(payload).encode(), status))
        if posted.fate is Fate.ACCEPTED:
            assert 200 <= status < 300
            assert posted.generation.id
        elif posted.fate is not Fate.AMBIGUOUS:
            assert status == 200 or (400 <= status < 500 and status not in (408, 409, 499))
            assert posted.refusal.code in KINDS or status == 401
