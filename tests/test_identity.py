from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.identity import IDENTITY_VERSION, canonical_json, content_hash, derive_namespace, external_task_id
from batcher.tasks import TaskSpec

FOX = TaskSpec(job="autumn-launch", name="fox-t1", request={"prompt": "A red fox", "duration": "5"})


def digest(request=None, *, scope="simulator", **changes):
    spec = replace(FOX, **changes)
    return content_hash(spec if request is None else replace(spec, request=request), scope=scope)


# ---- promises for ever: a change here makes every user pay again --------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "scope", "expected"),
    [
        pytest.param(
            FOX, "simulator", "0453554ad68aa91a5de66c807807905e2e455d35eb31cf666d33df50d3ad0469", id="plain"
        ),
        pytest.param(
            replace(FOX, edition="2026-11-22", take="2"),
            "cometapi",
            "b3eb84ef0dcd09a58585c39610b445ef450b2b7872033feee0e8e133e49179c9",
            id="edition and take",
        ),
        pytest.param(
            TaskSpec(
                job="herbst",
                name="x",
                request={
                    "prompt": "Ein Fuchs springt über den Bach — 狐",
                    "model_name": "kling-v1",
                    "cfg_scale": 0.35,
                    "duration": 5,
                    "camera_control": {"type": "simple", "config": {"zoom": -3.5, "pan": 0}},
                    "flags": [True, None, "on"],
                },
            ),
            "cometapi@http://127.0.0.1:8080",
            "df125cc8c381bf3cf098e278e7482c84398b38842bbd42c922657e9fb4810aa5",
            id="nested values",
        ),
    ],
)
def test_the_content_hash_of_version_1_never_changes(spec, scope, expected):
    assert content_hash(spec, scope=scope) == expected


def test_the_ids_of_version_1_never_change():
    assert IDENTITY_VERSION == 1
    assert derive_namespace("sk-example-0001") == "a1961be691535a3d319c8c17e494c705"
    ids = [
        external_task_id(job="autumn-launch", content="c0ffee", namespace="north", attempt=1),
        external_task_id(job="Größe 16:9 / Nacht", content="c0ffee", namespace="north", attempt=12),
        external_task_id(job="狐", content="decade", namespace="north", attempt=1),
    ]
    assert ids == [
        "autumn-launc-67e14f942134112d4468dca2-a1",
        "gr-e-16-9-na-67e14f942134112d4468dca2-a12",
        "job-d37adb07342e383e9f8365b9-a1",
    ]


# ---- what counts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [5, 5.0, "5"])
def test_a_number_and_its_text_are_one_value(seconds):
    assert digest({"prompt": "A red fox", "duration": seconds}) == digest()


def test_text_is_compared_as_people_see_it():
    """A file saved on a Mac may spell é in two characters."""
    composed, decomposed = ({"prompt": unicodedata.normalize(form, "Café"), "é": 1} for form in ("NFC", "NFD"))
    assert composed["prompt"] != decomposed["prompt"]
    assert digest(composed) == digest(decomposed)


@pytest.mark.parametrize(
    "more", [{"mode": None}, {"callback_url": "https://a.example/x"}, {"external_task_id": "autumn-1-a1"}]
)
def test_nothing_and_how_it_is_reported_are_no_content(more):
    assert digest({**FOX.request, **more}) == digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "elsewhere"},
        {"source": "jobs/other.yaml:1"},
        {"priority": 9},
        {"output": "autumn/other"},
        {"variables": {"light": "dawn"}},
    ],
)
def test_names_places_and_order_are_no_content(changes):
    assert digest(**changes) == digest()


@pytest.mark.parametrize(
    "changes",
    [{"scope": "cometapi"}, {"job": "other"}, {"edition": "2"}, {"take": "2"}, {"request": {"prompt": "A red  fox"}}],
)
def test_scope_job_edition_take_and_request_are_content(changes):
    assert digest(**changes) != digest()


def test_true_is_not_the_text_true_and_not_one():
    assert len({digest({"sound": sound}) for sound in (True, "True", "true", 1, False, 0)}) == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", object()])
def test_what_has_no_one_spelling_is_refused(value):
    with pytest.raises(TypeError):
        digest({"prompt": value})


# ---- properties ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(max_codepoint=0x7F), max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
requests = st.dictionaries(st.sampled_from(["prompt", "mode", "duration", "cfg_scale", "x"]), values)


def seen(value):
    """The value as the rules see it, worked out in another way than by writing JSON."""
    match value:
        case bool() | None:
            return (type(value), value)
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case str():
            return unicodedata.normalize("NFC", value)
        case dict():
            return frozenset((seen(key), seen(item)) for key, item in value.items())
        case list():
            return ("list", *map(seen, value))
    raise AssertionError(value)


@given(requests, st.randoms(use_true_random=False))
def test_the_order_of_keys_is_irrelevant(request, random):
    keys = list(request)
    random.shuffle(keys)
    assert digest({key: request[key] for key in keys}) == digest(request)


@given(requests, requests)
def test_distinct_requests_have_distinct_hashes(one, other):
    same = seen({k: v for k, v in one.items() if v is not None}) == seen(
        {k: v for k, v in other.items() if v is not None}
    )
    assert (digest(one) == digest(other)) is same


@given(values)
def test_the_canonical_form_is_its_own_canonical_form(value):
    """Reading it back and writing it again changes nothing: a state may store either."""
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


@given(st.text(max_size=40), st.text(max_size=80), st.text(max_size=40), st.integers(1, 99_999_999))
def test_an_id_has_48_characters_at_most_of_the_plainest_alphabet(job, content, namespace, attempt):
    made = external_task_id(job=job, content=content, namespace=namespace, attempt=attempt)
    assert len(made) <= 48
    assert re.fullmatch(r"[a-z0-9](-?[a-z0-9])*-[0-9a-f]{24}-a[1-9][0-9]*", made)


def test_an_id_tells_tasks_namespaces_and_attempts_apart():
    """Another customer of the account cannot guess it, and an attempt is one purchase."""
    known = {"job": "autumn", "content": "c0ffee", "namespace": "north", "attempt": 1}
    changed = [{}, {"content": "decade"}, {"namespace": "south"}, {"attempt": 2}]
    assert len({external_task_id(**(known | change)) for change in changed}) == len(changed)


def test_a_namespace_does_not_tell_the_key():
    key = "sk-example-0001"
    namespace = derive_namespace(key)
    assert re.fullmatch(r"[0-9a-f]{32}", namespace)
    assert key not in namespace
    assert derive_namespace(key + "x") != namespace
