"""One generation out of the JSON of an API that comes in four shapes. Pure; no input makes it raise.

    native     {code, message, request_id, data: {task_id, task_status, task_result: {videos}}}
    task       {code: "success", data: {task_id, status: "SUCCESS", fail_reason, data: <native>}}
    video      {id, object: "video", status: "completed", metadata: {url}, error: {message}}
    hybrid     native, with the task id on the outside as well, and times in seconds

All four are layers under `data`, outermost first: `data` may also be an array. What names a generation is taken
from the outside, as the gateway's own id is the one it can find again; what describes it is taken from the
inside, as the gateway only repeats it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from batcher.generations import STATUS_WORDS, Generation, GenerationStatus, Video, name_of

Layer = Mapping[str, Any]

MAX_LAYERS = 5
MAX_TEXT = 500
"""Of a provider's words we keep this much."""
MAX_URL = 8192
MAX_TIME_S = 1e11
"""The year 5138. A time beyond is one in milliseconds, or none."""


def read_json(text: bytes | str) -> Any:
    """Parse JSON; None for whatever is not: HTML, a cut body, NaN, endless nesting, endless digits."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def read_generation(payload: object, *, wanted: str | None = None) -> Generation | None:
    """Read the generation that a reply's payload describes; None where it names none.

    `wanted` picks one out of an array.
    """
    layers = _layers(payload, wanted)
    ids = _ids(layers)
    if not ids:
        return None
    inside_out = layers[::-1]
    status, raw_status = _status(inside_out)
    return Generation(
        id=ids[0],
        status=status,
        external_task_id=_external_task_id(inside_out),
        message="" if status is GenerationStatus.SUCCEEDED else _reason(inside_out),
        created_at=_first_time(inside_out, "created_at", "submit_time"),
        updated_at=_first_time(inside_out, "updated_at", "finish_time", "completed_at"),
        videos=_videos(inside_out) if status is GenerationStatus.SUCCEEDED else (),
        units=_number(
            next((layer["final_unit_deduction"] for layer in inside_out if "final_unit_deduction" in layer), None)
        ),
        raw_status=raw_status,
    )


def id_of(payload: object) -> str | None:
    """The id of the generation that a payload describes: what `read_generation` calls it, for far less work."""
    ids = _ids(_layers(payload, None))
    return ids[0] if ids else None


def names_in(payload: object, *, wanted: str | None = None) -> frozenset[str]:
    """Collect every name the reply gives its generation: the ids of all layers, and the echo of ours."""
    return _names(_layers(payload, wanted))


def words(value: object) -> str:
    """Take a provider's text: bounded, encodable, and without the queries of URLs, which are signatures."""
    if not isinstance(value, str):
        return ""
    if len(value) < MAX_TEXT and value.isascii() and "://" not in value:
        return value  # nearly always: a list of hundreds is read every few seconds
    value = value[: 8 * MAX_TEXT].encode(errors="replace").decode()
    return re.sub(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*", r"\1", value)[:MAX_TEXT]


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _layers(payload: object, wanted: str | None) -> list[Layer]:
    layers: list[Layer] = []
    while len(layers) < MAX_LAYERS:
        if isinstance(payload, list):
            payload = _choose(payload, wanted)
        if not isinstance(payload, dict):
            break
        layers.append(payload)
        payload = payload.get("data")
    return layers


def _choose(entries: list[object], wanted: str | None) -> object:
    """Choose the entry that names what is wanted, or the only one."""
    matching = [entry for entry in entries if isinstance(entry, dict) and wanted and wanted in _names([entry])]
    if matching:
        return matching[0]
    return entries[0] if len(entries) == 1 else None


def _names(layers: list[Layer]) -> frozenset[str]:
    echo = _external_task_id(layers)
    return frozenset(_ids(layers)) | (frozenset({echo}) if echo else frozenset())


def _ids(layers: list[Layer]) -> list[str]:
    # `id` alone names a generation only beside its status; a gateway's database row has one too, next to task_id.
    found = (name_of(layer.get("task_id") or (layer.get("id") if "status" in layer else None)) for layer in layers)
    return [each for each in found if each]


def _external_task_id(layers: list[Layer]) -> str | None:
    for layer in layers:
        info = layer.get("task_info")
        echo = name_of(info.get("external_task_id") if isinstance(info, dict) else None)
        if echo := echo or name_of(layer.get("external_task_id")):
            return echo
    return None


def _status(inside_out: list[Layer]) -> tuple[GenerationStatus, str]:
    """Read the status: an end beats a state on the way, which a gateway may have left standing; then inside first."""
    spoken = [words(layer.get("task_status") or layer.get("status")) for layer in inside_out if _ids([layer])]
    spoken = [word for word in spoken if word]
    known = [(STATUS_WORDS[word.lower()], word) for word in spoken if word.lower() in STATUS_WORDS]
    ends = [pair for pair in known if pair[0].is_terminal]
    if ends or known:
        return (ends or known)[0]
    return GenerationStatus.UNKNOWN, spoken[0] if spoken else ""


def _reason(inside_out: list[Layer]) -> str:
    for layer in inside_out:
        error = layer.get("error")
        spoken = (
            layer.get("task_status_msg"),
            layer.get("fail_reason"),
            error.get("message") if isinstance(error, dict) else error,
        )
        if text := next((text for text in map(words, spoken) if text), ""):
            return text
    return ""


def _videos(inside_out: list[Layer]) -> tuple[Video, ...]:
    for layer in inside_out:
        result = layer.get("task_result")
        listed = result.get("videos") if isinstance(result, dict) else None
        if isinstance(listed, list) and (videos := tuple(filter(None, map(_video, listed)))):
            return videos
    for layer in inside_out:
        metadata = layer.get("metadata")
        # Older gateways keep the result's URL where the reason of a failure would stand.
        for url in (
            layer.get("result_url"),
            metadata.get("url") if isinstance(metadata, dict) else None,
            layer.get("fail_reason"),
        ):
            if video := _video({"url": url, "duration": layer.get("seconds")}):
                return (video,)
    return ()


def _video(entry: object) -> Video | None:
    if not isinstance(entry, dict):
        return None
    url = entry.get("url")
    if not isinstance(url, str) or len(url) > MAX_URL or not re.fullmatch(r"https?://[!-~]+", url):
        return None
    return Video(
        url=url, id=name_of(entry.get("id")), duration_s=_number(entry.get("duration")), expires_at=_expiry(url)
    )


def _expiry(url: str) -> float | None:
    """Read when a signed URL dies: `Expires` in decimal (CloudFront), `ksTime` in hex (Kuaishou)."""
    try:
        query = parse_qs(urlsplit(url).query, max_num_fields=100)
        times = [
            float(int(value, base)) for key, base in (("Expires", 10), ("ksTime", 16)) for value in query.get(key, ())
        ]
    except (ValueError, OverflowError):
        return None
    return min((time for time in times if 0 < time < MAX_TIME_S), default=None)


def _first_time(layers: list[Layer], *keys: str) -> float | None:
    """Take the first time in Unix seconds; what is too large for seconds is milliseconds."""
    for key in keys:
        for layer in layers:
            if value := _number(layer.get(key)):
                value = value if value < MAX_TIME_S else value / 1000
                return value if value < MAX_TIME_S else None
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
