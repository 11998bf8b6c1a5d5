"""Kling's text-to-video models: what they take, how long they need, what they cost. Pure.

Medians of time and their spread are a model fitted to the few published reports; units are the list of early 2026.
What no document tells (a `cfg_scale` on a model without it, an unknown field) is let pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batcher.simulator.replies import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

DEFAULT_MODEL = "kling-v1"
ASPECT_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3")

_QUEUE_MEDIAN_S, _QUEUE_SIGMA = 5.0, 1.0
_RENDER_SIGMA = 0.35
_LONGER = 1.6  # a 10 s clip takes 1.6 times as long as one of 5 s
TAIL = 8.0
"""How much longer the slowest take."""

_CAMERA_TYPES = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_CAMERA_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One `model_name`."""

    modes: Mapping[str, tuple[float, float]]
    """Mode -> (median seconds to render 5 s, units for 5 s). One mode only: the field is not looked at."""
    durations: tuple[str, ...] = ("5", "10")
    sound: float | None = None
    """Factor on the units with sound on; None where there is none. 4k costs the same either way (list, 2026-09)."""
    camera: bool = False


MODELS: dict[str, Model] = {
    "kling-v1": Model(modes={"std": (150, 1), "pro": (300, 3.5)}, camera=True),
    "kling-v1-6": Model(modes={"std": (150, 2), "pro": (300, 3.5)}),
    "kling-v2-master": Model(modes={"std": (300, 10)}),
    "kling-v2-1-master": Model(modes={"std": (300, 10)}),
    "kling-v2-5-turbo": Model(modes={"std": (45, 1.5), "pro": (60, 2.5)}),
    "kling-v2-6": Model(modes={"std": (60, 1.5), "pro": (80, 2.5)}, sound=2.0),
    "kling-v3": Model(
        modes={"std": (45, 3), "pro": (80, 4), "4k": (300, 15)},
        durations=tuple(map(str, range(3, 16))),
        sound=1.5,
    ),
}
_IMAGE_ONLY = ("kling-v1-5", "kling-v2-1")


def check(request: Mapping[str, Any], *, prompt_limit: int) -> Refusal | None:
    """Return why the provider would not take `request`, or None. The messages are the provider's own."""
    name = request.get("model_name") or DEFAULT_MODEL
    if not _is_one_of(name, (*MODELS, *_IMAGE_ONLY)):
        return Refusal(status=404, code=1203, message=f"The model {name} does not exist")
    model = MODELS.get(name)
    bad = "model_name" if model is None else _bad_field(request, model, prompt_limit)
    if bad:
        return Refusal(status=400, code=1201, message=f"{bad} value '{request.get(bad, '')}' is invalid")
    if request.get("camera_control") and not (model and model.camera):
        return Refusal(status=400, code=1201, message=f"{name} is not supported with camera control")
    return None


def _bad_field(request: Mapping[str, Any], model: Model, prompt_limit: int) -> str | None:
    def is_text(field: str, shortest: int) -> bool:
        value = request.get(field, "")
        return isinstance(value, str) and shortest <= len(value) <= prompt_limit

    modes = model.modes if len(model.modes) > 1 else ("std", "pro")
    rules = {
        "prompt": is_text("prompt", 1),
        "negative_prompt": is_text("negative_prompt", 0),
        "cfg_scale": _is_number(request.get("cfg_scale", 0.5), 0, 1),
        "mode": _is_one_of(request.get("mode", "std"), modes),
        "aspect_ratio": _is_one_of(request.get("aspect_ratio", "16:9"), ASPECT_RATIOS),
        "duration": _is_one_of(request.get("duration", "5"), model.durations),  # a number is refused
        "sound": _is_one_of(request.get("sound", "off"), ("off", "on") if model.sound else ("off",)),
        "camera_control": _is_camera(request.get("camera_control")),
        "external_task_id": isinstance(request.get("external_task_id", ""), str),
        "callback_url": isinstance(request.get("callback_url", ""), str),
    }
    return next((field for field, is_good in rules.items() if not is_good), None)


def _is_one_of(value: object, words: Iterable[str]) -> bool:
    return isinstance(value, str) and value in words


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_camera(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, Mapping) or not _is_one_of(value.get("type"), _CAMERA_TYPES):
        return False
    config = value.get("config")
    if value["type"] != "simple":
        return config is None
    if not isinstance(config, Mapping) or not set(config) <= set(_CAMERA_AXES):
        return False
    return all(_is_number(v, -10, 10) for v in config.values()) and sum(map(bool, config.values())) == 1


def seconds(request: Mapping[str, Any]) -> int:
    """Return the length asked for, in seconds."""
    return int(request.get("duration", "5"))


def times_s(request: Mapping[str, Any], rng: Random, *, slow: bool = False) -> tuple[float, float]:
    """Draw how long `request` waits in the queue and how long it renders, in seconds at the true pace."""
    median, _ = _mode(request)
    queue = rng.lognormvariate(math.log(_QUEUE_MEDIAN_S), _QUEUE_SIGMA)
    render = rng.lognormvariate(math.log(median), _RENDER_SIGMA) * _LONGER ** ((seconds(request) - 5) / 5)
    return queue, render * (TAIL if slow else 1)


def units(request: Mapping[str, Any]) -> float:
    """Return what `request` costs, in the provider's units."""
    model, (_, price) = _model(request), _mode(request)
    is_loud = request.get("sound") == "on" and request.get("mode") != "4k"
    loud = model.sound if is_loud and model.sound else 1.0
    return price * loud * seconds(request) / 5


def _model(request: Mapping[str, Any]) -> Model:
    return MODELS[request.get("model_name") or DEFAULT_MODEL]


def _mode(request: Mapping[str, Any]) -> tuple[float, float]:
    modes = _model(request).modes
    return modes.get(request.get("mode", "std"), modes["std"])
