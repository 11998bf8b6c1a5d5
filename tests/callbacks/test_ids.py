"""Only ids are read of a body, whatever else it says; and no body is an error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.callbacks.ids import MAX_IDS, ids_in, is_id

FLAT = {
    "task_id": "867283741759111202",
    "task_status": "succeed",
    "task_info": {"external_task_id": "birds-00ff-a1"},
    "task_result": {"videos": [{"id": "1", "url": "https://evil.example/x.mp4"}]},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["task_id", "id", "data", "task_info", "external_task_id", "x"]), inner)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "payload", [FLAT, {"code": 0, "data": FLAT}, {"code": 0, "data": {"data": FLAT}}, [FLAT], {"data": [FLAT, FLAT]}]
)
def test_flat_wrapped_or_in_a_list_the_ids_are_found(payload):
    assert ids_in(json.dumps(payload).encode()) == ("867283741759111202", "birds-00ff-a1")


@pytest.mark.parametrize("word", ["submitted", "processing", "IN_PROGRESS"])
def test_a_generation_that_is_under_way_is_passed_over(word):
    """A callback for each change of status comes; only the last one is worth a look."""
    assert ids_in(json.dumps(FLAT | {"task_status": word}).encode()) == ()
    assert ids_in(json.dumps([FLAT | {"task_status": word}, {"task_id": "2", "task_status": "odd"}]).encode()) == (
        "2",
    )


def test_the_newer_api_and_gateways_that_make_a_number_of_an_id():
    assert ids_in(b'{"id":"1234567890","status":"succeeded"}') == ("1234567890",)
    assert ids_in(b'{"task_id":867283741759111202}') == ("867283741759111202",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"task_id": 8.6e17, "id": true}',
        b'{"task_id": ["x"], "task_info": "y", "data": 3}',
        b'{"task_id": "two words", "id": "", "external_task_id": "\\u202e"}',
        b'{"task_id": ' + b"9" * 5_000 + b"}",
        b"[" * 60_000,
        b'{"data":' * 8_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_names_nothing_is_nothing(body):
    assert ids_in(body) == ()


def test_a_body_names_only_so_many():
    assert len(ids_in(json.dumps([{"task_id": str(n)} for n in range(1_000)]).encode())) == MAX_IDS


@settings(deadline=None)
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_an_error_and_what_is_found_is_an_id(body):
    assert all(is_id(each) for each in ids_in(body))
