"""What a generation, a list and a refusal look like: native Kling, and three kinds of gateway around it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batcher.simulator import models
from batcher.simulator.replies import Refusal, Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.simulator.generations import Generation
    from batcher.simulator.settings import Shape

_DTO = {"submitted": "SUBMITTED", "succeed": "SUCCESS", "failed": "FAILURE"}
_OPENAI = {"submitted": "queued", "succeed": "completed", "failed": "failed"}
_OVERSHOOT_S = 0.041  # a 5 s clip has 121 frames at 24 a second, and the API says so: "5.041"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One generation as it stands at `now`, with the URLs this look gives out."""

    generation: Generation
    now: float
    urls: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        return self.generation.status(self.now)


def created(shape: Shape, view: View, request_id: str) -> Reply:
    """Return the reply to a create call that was accepted."""
    generation = view.generation
    if shape == "openai":
        return json_reply({**_openai(view), "task_id": generation.id, "object": "video"})
    data = {
        "task_id": _ident(view),
        "task_status": view.status,
        "task_info": _task_info(generation),
        "created_at": _time(shape, generation.created_at),
        "updated_at": _time(shape, generation.updated_at(view.now)),
    }
    return json_reply(_envelope(shape, data, request_id))


def looked(shape: Shape, view: View, request_id: str) -> Reply:
    """Return the reply to a look at one generation."""
    if shape == "openai":
        return json_reply(_openai(view))
    data = task(view, shape)
    native = _envelope(shape, [data] if view.generation.mark == "array-data" else data, request_id)
    if shape == "taskdto":
        native = {"code": "success", "message": "", "data": _dto(view, native)}
    return json_reply(native)


def listed(shape: Shape, views: Sequence[View], request_id: str) -> Reply:
    """Return the reply to a list call."""
    tasks = [_openai(view) if shape == "openai" else task(view, shape) for view in views]
    return json_reply(_envelope("native", tasks, request_id))


def refused(shape: Shape, refusal: Refusal, request_id: str) -> Reply:
    """Return the provider's refusal, as a gateway of this kind relays it."""
    native = {"code": refusal.code, "message": refusal.message, "request_id": request_id}
    if shape in ("native", "hybrid"):
        return json_reply(native, status=refusal.status)
    if refusal.status == 200:
        return json_reply({"code": "task_failed", "message": refusal.message, "data": None}, status=400)
    relayed = json.dumps(native, separators=(",", ":"))
    return json_reply({"code": "fail_to_fetch_task", "message": relayed, "data": None}, status=refusal.status)


def unknown_task(shape: Shape, refusal: Refusal, request_id: str) -> Reply:
    """Return the reply to a look at an id that is not there: gateways ask their own table, not the provider."""
    if shape in ("native", "hybrid"):
        return refused(shape, refusal, request_id)
    return json_reply({"code": "task_not_exist", "message": "task_not_exist", "data": None}, status=400)


def task(view: View, shape: Shape = "native") -> dict[str, Any]:
    """Return the native description of a generation: the `data` of a look, and the body of a callback."""
    generation, now = view.generation, view.now
    document: dict[str, Any] = {
        "task_id": _ident(view),
        "task_status": view.status,
        "task_info": _task_info(generation),
        "created_at": _time(shape, generation.created_at),
        "updated_at": _time(shape, generation.updated_at(now)),
        "task_result": {},
    }
    if view.status == "failed":
        document["task_status_msg"] = generation.failure
    if view.status == "succeed":
        document["task_result"] = {"videos": [_video(view, number) for number in range(generation.videos(now))]}
        document["final_unit_deduction"] = f"{generation.units:g}"
    return document


def _video(view: View, number: int) -> dict[str, str]:
    video = {
        "id": str(int(view.generation.id) + 1 + number),
        "duration": f"{models.seconds(view.generation.request) + _OVERSHOOT_S:g}",
    }
    return {**video, "url": view.urls[number]} if view.urls else video


def _ident(view: View) -> str | int:
    ident = view.generation.id
    return int(ident) if view.generation.mark == "numeric-id" else ident


def _task_info(generation: Generation) -> dict[str, str]:
    return {"external_task_id": generation.external_id} if generation.external_id else {}


def _time(shape: Shape, seconds: float) -> int:
    return int(seconds) if shape == "hybrid" else int(seconds * 1000)


def _envelope(shape: Shape, data: Any, request_id: str) -> dict[str, Any]:
    document = {"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data}
    if shape == "hybrid" and isinstance(data, dict):
        document["task_id"] = data["task_id"]
    return document


def _dto(view: View, native: dict[str, Any]) -> dict[str, Any]:
    generation, is_over = view.generation, not view.generation.is_live(view.now)
    reason = generation.failure
    if view.status == "succeed":
        reason = next(iter(view.urls), "")  # where such gateways have kept the URL
    return {
        "task_id": _ident(view),
        "platform": "50",
        "action": "textGenerate",
        "status": _DTO.get(view.status, "IN_PROGRESS"),
        "fail_reason": reason if is_over else "",
        "submit_time": int(generation.created_at),
        "start_time": int(generation.starts_at) if view.now >= generation.starts_at else 0,
        "finish_time": int(generation.updated_at(view.now)) if is_over else 0,
        "progress": _progress(view),
        "data": native,
    }


def _openai(view: View) -> dict[str, Any]:
    generation = view.generation
    document: dict[str, Any] = {
        "id": _ident(view),
        "object": "video",
        "model": generation.request.get("model_name") or models.DEFAULT_MODEL,
        "status": _OPENAI.get(view.status, "in_progress"),
        "progress": int(_progress(view).rstrip("%")),
        "created_at": int(generation.created_at),
        "seconds": str(models.seconds(generation.request)),
    }
    if view.status == "succeed":
        document["completed_at"] = int(generation.updated_at(view.now))
        document["metadata"] = {"url": next(iter(view.urls), "")}
    if view.status == "failed":
        document["error"] = {"code": "task_failed", "message": generation.failure}
    return document


def _progress(view: View) -> str:
    return {"submitted": "0%", "succeed": "100%", "failed": "100%"}.get(view.status, "50%")
