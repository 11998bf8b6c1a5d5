from __future__ import annotations

import pytest

from batcher.catalog import (
    MODELS,
    NOT_TEXT_TO_VIDEO,
    USUAL_OF_ALL_S,
    class_of,
    findings,
    usual_s,
)


def broken(**request):
    return {(f.field, f.code) for f in findings({"prompt": "a fox", **request})}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, set()),
        ({"mode": "std", "duration": "5"}, set()),
        ({"duration": "7"}, {("duration", "E303")}),
        ({"mode": "4k"}, {("mode", "E302")}),
        ({"model_name": "kling-v3", "mode": "4k", "duration": "15", "sound": "on"}, set()),
        ({"model_name": "kling-v3", "duration": "2"}, {("duration", "E303")}),
        ({"model_name": "kling-v2-master", "mode": "std"}, {("mode", "E302")}),
        ({"model_name": "kling-v2-master"}, set()),
        ({"model_name": "kling-v2-6", "sound": "on"}, {("sound", "E304")}),
        ({"model_name": "kling-v2-6", "sound": "on", "mode": "pro"}, set()),
        ({"model_name": "kling-v1-6", "sound": "on"}, {("sound", "E304")}),
        ({"model_name": "kling-v1-6", "sound": "off"}, set()),
        ({"model_name": "kling-v2-5-turbo", "cfg_scale": 0.5}, {("cfg_scale", "E305")}),
        ({"camera_control": {"type": "down_back"}}, set()),
        ({"camera_control": {"type": "down_back"}, "duration": "10"}, {("camera_control", "E306")}),
        ({"camera_control": {}, "model_name": "kling-v1-6"}, {("camera_control", "E306")}),
        ({"model_name": "kling-v9", "mode": "4k", "duration": "42"}, {("model_name", "W401")}),
        ({"aspect_ratio": "4:3"}, {("aspect_ratio", "W402")}),
        ({"multi_shot": True, "shot_type": "intelligence"}, {("multi_shot", "E307")}),
        ({"model_name": "kling-v3", "multi_shot": True, "shot_type": "intelligence"}, set()),
        ({"model_name": "kling-v3", "multi_shot": True}, {("multi_shot", "E307")}),
        ({"model_name": "kling-v3", "multi_shot": True, "shot_type": "customize"}, {("shot_type", "E307")}),
        ({"shot_type": "intelligence"}, {("shot_type", "E307")}),
    ],
)
def test_each_model_is_held_to_its_own_rules(request_, expected):
    assert broken(**request_) == expected


def test_the_shots_of_a_clip_add_up_to_its_duration():
    clip = {"model_name": "kling-v3", "multi_shot": True, "shot_type": "customize", "duration": "6"}
    shots = [{"index": i, "prompt": "x", "duration": d} for i, d in ((1, "2"), (2, "4"))]
    assert broken(**clip, multi_prompt=shots) == set()
    assert broken(**clip, multi_prompt=shots[:1]) == {("multi_prompt", "E307")}


@pytest.mark.parametrize("name", NOT_TEXT_TO_VIDEO)
def test_a_model_without_text_to_video_is_refused(name):
    assert ("model_name", "E301") in broken(model_name=name)


def test_an_unknown_model_gets_the_nearest_name_as_a_hint():
    assert [f.hint for f in findings({"model_name": "kling-v1.6"})] == ["did you mean kling-v1-6?"]


def test_every_model_has_a_usual_time_in_each_of_its_modes_and_durations():
    for model in MODELS.values():
        for mode in model.modes or ("std",):
            times = [
                usual_s(class_of({"model_name": model.name, "mode": mode, "duration": d})) for d in model.durations
            ]
            assert times == sorted(times)
            assert USUAL_OF_ALL_S not in times


def test_clips_with_sound_are_a_class_of_their_own():
    loud = class_of({"model_name": "kling-v2-6", "mode": "pro", "sound": "on"})
    assert loud == "kling-v2-6 pro 5s sound"
    assert usual_s(loud) == usual_s(class_of({"model_name": "kling-v2-6", "mode": "pro", "sound": "off"}))


def test_a_class_is_the_same_for_a_number_and_for_what_the_api_assumes():
    assert class_of({"model_name": "kling-v1", "mode": "std", "duration": 5}) == class_of({"duration": "5"})


@pytest.mark.parametrize(
    "class_", ["", "kling-v1", "kling-v1 std", "kling-v1 std 7s", "kling-v1 std \u00b2s", "x y z"]
)
def test_what_the_catalog_does_not_know_takes_as_long_as_the_average(class_):
    assert usual_s(class_) == USUAL_OF_ALL_S
