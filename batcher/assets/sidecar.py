"""The JSON beside each clip: what it shows, what it cost, and what proves whose it is. Pure.

Written for people and scripts, and read back by us in one case only: the state is lost and the clip is to be
adopted. Holds no URL, no key and no callback address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batcher.tasks import Asset, Task

SCHEMA = 1

_NOT_TOLD = frozenset({"prompt", "callback_url", "external_task_id"})
"""Keys of a request that are no parameters: said elsewhere, or a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a sidecar found on disk says of its clip."""

    external_task_id: str
    content_hash: str
    generation_id: str | None
    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    downloaded_at: str = ""


def render(task: Task, video: Asset, *, version: str) -> bytes:
    """The sidecar of `video`: the same bytes for the same facts, keys in the order of interest."""
    content = {
        "name": task.name,
        "prompt": task.prompt,
        "parameters": _parameters(task),
        "job": task.job,
        "edition": task.edition,
        "take": task.take,
        "source": task.source,
        "simulated": is_simulated(task),
        "provider": task.scope,
        "external_task_id": task.external_task_id,
        "generation_id": task.generation_id,
        "content_hash": task.content_hash,
        "attempt": task.attempt,
        "cost_usd": task.cost_usd,
        "cost_is_estimate": task.cost_is_estimate,
        "file": video.path.rpartition("/")[2],
        "bytes": video.size_bytes,
        "sha256": video.sha256,
        "width": video.width,
        "height": video.height,
        "duration_s": video.duration_s,
        "created_at": task.created_at,
        "submitted_at": task.submitted_at,
        "finished_at": task.finished_at,
        "downloaded_at": video.downloaded_at,
        "batcher": version,
        "schema": SCHEMA,
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def parse(data: bytes) -> Claim | None:
    """Read a sidecar back. None for any JSON, or anything else, that is no sidecar of ours."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or content["schema"] != SCHEMA:
            return None
        return Claim(
            external_task_id=_text(content["external_task_id"]),
            content_hash=_text(content["content_hash"]),
            generation_id=_text_or_none(content.get("generation_id")),
            size_bytes=int(content["bytes"]),
            sha256=_text(content["sha256"]),
            width=_whole(content.get("width")),
            height=_whole(content.get("height")),
            duration_s=_number(content.get("duration_s")),
            downloaded_at=str(content.get("downloaded_at") or ""),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def metadata_row(task: Task, video: Asset, *, file_name: str) -> str:
    """One clip's line in metadata.jsonl: flat, as data set loaders want it."""
    row = {
        "file_name": file_name,
        "prompt": task.prompt,
        **{key: value for key, value in _parameters(task).items() if isinstance(value, str | int | float)},
        "name": task.name,
        "job": task.job,
        "edition": task.edition,
        "take": task.take,
        "simulated": is_simulated(task),
        "external_task_id": task.external_task_id,
        "sha256": video.sha256,
        "bytes": video.size_bytes,
        "width": video.width,
        "height": video.height,
        "duration_s": video.duration_s,
    }
    return json.dumps(row, ensure_ascii=False)


def is_simulated(task: Task) -> bool:
    """Whether the built-in simulator made it."""
    return task.scope.partition("@")[0] == "simulator"


def _parameters(task: Task) -> dict[str, Any]:
    return {key: value for key, value in task.request.items() if key not in _NOT_TOLD}


def _text(value: object) -> str:
    text = _text_or_none(value)
    if text is None:
        raise TypeError("not a text")
    return text


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
