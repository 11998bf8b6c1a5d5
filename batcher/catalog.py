"""The models that make video from text: what each of them takes, and how long it takes. Pure.

Facts are from Kling's capability maps (2024-12, 2026-05) and CometAPI's pages.
An unknown model is never refused: a gateway may have it before this table does.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULTS: dict[str, str] = {
    "model_name": "kling-v1",
    "mode": "std",
    "duration": "5",
    "aspect_ratio": "16:9",
    "cfg_scale": "0.5",
    "sound": "off",
}
"""What the API assumes for a field that is not sent, as text."""

RATIOS = ("16:9", "9:16", "1:1")
"""Named by Kling's own page for text to video."""
MORE_RATIOS = ("4:3", "3:4", "3:2", "2:3")
"""Named by CometAPI's page only; Kling's lists them for images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What one model takes."""

    name: str
    modes: tuple[str, ...] = ("std", "pro")
    """Empty where the model has no `mode` at all."""
    durations: tuple[int, ...] = (5, 10)
    sound: tuple[str, ...] = ()
    """Modes that can make sound."""
    cfg_scale: bool = False
    camera_control: bool = False
    """Only in mode std, 5 seconds."""
    multi_shot: bool = False


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(name="kling-v1", cfg_scale=True, camera_control=True),
        Model(name="kling-v1-6", cfg_scale=True),
        Model(name="kling-v2-master", modes=()),
        Model(name="kling-v2-1-master", modes=()),
        Model(name="kling-v2-5-turbo"),
        Model(name="kling-v2-6", sound=("pro",)),
        Model(
            name="kling-v3",
            modes=("std", "pro", "4k"),
            durations=tuple(range(3, 16)),
            sound=("std", "pro", "4k"),
            cfg_scale=True,  # not documented either way: passed on
            multi_shot=True,
        ),
    )
}

NOT_TEXT_TO_VIDEO: dict[str, str] = {
    "kling-v1-5": "animates images only",
    "kling-v2-1": "animates images only",
    "kling-v3-omni": "is served by omni-video, not by text2video",
    "kling-video-o1": "is served by omni-video, not by text2video",
    "kling-3.0-turbo": "exists in Kling's newer API only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule a request breaks. `W...` codes are warnings; all codes are explained in `manifest.problems`."""

    field: str
    code: str
    message: str
    hint: str


def findings(request: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with a whole request, by the rules of its model."""
    name = str(request.get("model_name", DEFAULTS["model_name"]))
    if request.get("aspect_ratio") in MORE_RATIOS:
        yield Finding(
            field="aspect_ratio",
            code="W402",
            message=f"{request['aspect_ratio']} is on CometAPI's page but not on Kling's own for text to video",
            hint=f"try one clip first, or use {', '.join(RATIOS)}",
        )
    yield from _multi_shot(request)
    if name in NOT_TEXT_TO_VIDEO:
        yield Finding(
            field="model_name",
            code="E301",
            message=f"{name} makes no video from text: it {NOT_TEXT_TO_VIDEO[name]}",
            hint=f"use one of {', '.join(MODELS)}",
        )
    elif model := MODELS.get(name):
        yield from _against(model, request)
    else:
        near = get_close_matches(name, MODELS, n=1)
        yield Finding(
            field="model_name",
            code="W401",
            message=f"{name} is not a model this version knows; its parameters are passed on unchecked",
            hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(MODELS)}",
        )


def _against(model: Model, request: Mapping[str, Any]) -> Iterator[Finding]:
    mode = str(request.get("mode", DEFAULTS["mode"]))
    if "mode" in request and mode not in model.modes:
        only = f"takes {' or '.join(model.modes)}" if model.modes else "has no modes"
        yield Finding(
            field="mode",
            code="E302",
            message=f"{model.name} {only}, not {mode}",
            hint="choose another mode" if model.modes else "leave `mode` out, or unset it here with `mode: null`",
        )
    if (duration := str(request.get("duration", DEFAULTS["duration"]))) not in map(str, model.durations):
        yield Finding(
            field="duration",
            code="E303",
            message=f"{model.name} makes clips of {_seconds(model.durations)} seconds, not {duration}",
            hint="choose one of those durations, or another model",
        )
    if request.get("sound") == "on" and mode not in model.sound:
        yield Finding(
            field="sound",
            code="E304",
            message=f"{model.name} makes no sound" + (f" in mode {mode}" if model.sound else ""),
            hint=f"set `mode: {model.sound[0]}`" if model.sound else "remove `sound`, or use kling-v3",
        )
    if "cfg_scale" in request and not model.cfg_scale:
        yield Finding(
            field="cfg_scale",
            code="E305",
            message=f"{model.name} does not take cfg_scale",
            hint="remove it, or unset it here with `cfg_scale: null`",
        )
    if "camera_control" in request and not (model.camera_control and mode == "std" and duration == "5"):
        yield Finding(
            field="camera_control",
            code="E306",
            message=f"camera_control works with kling-v1, mode std, 5 seconds; not {model.name}, {mode}, {duration}",
            hint="remove it, or set `model_name: kling-v1`, `mode: std`, `duration: 5`",
        )
    if request.get("multi_shot") and not model.multi_shot:
        yield Finding(
            field="multi_shot",
            code="E307",
            message=f"{model.name} makes one shot a clip",
            hint="remove `multi_shot`, or use kling-v3",
        )


def _multi_shot(request: Mapping[str, Any]) -> Iterator[Finding]:
    """The rules between the fields of a clip of several shots."""
    shots = request.get("multi_prompt")
    if request.get("multi_shot"):
        if "shot_type" not in request:
            yield Finding(
                field="multi_shot",
                code="E307",
                message="multi_shot needs a shot_type",
                hint="add `shot_type: intelligence`, or `shot_type: customize` with `multi_prompt`",
            )
        if request.get("shot_type") == "customize" and not shots:
            yield Finding(
                field="shot_type",
                code="E307",
                message="shot_type customize needs multi_prompt: the shots one by one",
                hint="add `multi_prompt`, or use `shot_type: intelligence`",
            )
    elif shots or "shot_type" in request:
        field = "multi_prompt" if shots else "shot_type"
        yield Finding(
            field=field, code="E307", message=f"{field} works with multi_shot only", hint="add `multi_shot: true`"
        )
    total = str(request.get("duration", DEFAULTS["duration"]))
    if shots and str(sum(int(shot["duration"]) for shot in shots)) != total:
        yield Finding(
            field="multi_prompt",
            code="E307",
            message=f"the shots' durations do not add up to the clip's {total} seconds",
            hint="change the shots, or set `duration` to their sum",
        )


def _seconds(durations: tuple[int, ...]) -> str:
    if len(durations) > 2:
        return f"{durations[0]} to {durations[-1]}"
    return " or ".join(map(str, durations))


_USUAL_S: dict[tuple[str, str], float] = {
    ("kling-v1", "std"): 150.0,
    ("kling-v1", "pro"): 300.0,
    ("kling-v1-6", "std"): 150.0,
    ("kling-v1-6", "pro"): 300.0,
    ("kling-v2-master", "std"): 300.0,
    ("kling-v2-1-master", "std"): 300.0,
    ("kling-v2-5-turbo", "std"): 45.0,
    ("kling-v2-5-turbo", "pro"): 60.0,
    ("kling-v2-6", "std"): 60.0,
    ("kling-v2-6", "pro"): 80.0,
    ("kling-v3", "std"): 45.0,
    ("kling-v3", "pro"): 80.0,
    ("kling-v3", "4k"): 300.0,
}
"""Seconds that a clip of 5 s takes, an estimate: Kling publishes none. Drawn from users' reports of 2025 and 2026
(28 to 90 s for the turbo models)."""

USUAL_OF_ALL_S = 319.0
"""The average that ComfyUI shows for text to video with Kling (2025): for a model or a duration not known here."""

_LONGER_PER_S = 0.12
"""A clip of 10 s is reported to take 1.6 times as long as one of 5 s."""


WITH_SOUND = " sound"
"""How the name of a class ends whose clips have sound."""


def class_of(request: Mapping[str, Any]) -> str:
    """The class of generations that take similar times and cost the same: model, mode, duration, and sound if any."""
    name, mode, duration = (request.get(field, DEFAULTS[field]) for field in ("model_name", "mode", "duration"))
    return f"{name} {mode} {duration}s{WITH_SOUND if request.get('sound') == 'on' else ''}"


def usual_s(class_: str) -> float:
    """Seconds that a generation of a class usually takes: an estimate."""
    name, _, rest = class_.partition(" ")
    mode, _, duration = rest.partition(" ")
    seconds = duration.removesuffix(WITH_SOUND).removesuffix("s")
    usual = _USUAL_S.get((name, mode))
    if usual is None or seconds not in map(str, MODELS[name].durations):
        return USUAL_OF_ALL_S
    return usual * (1 + _LONGER_PER_S * (int(seconds) - 5))
