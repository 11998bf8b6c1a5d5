"""The ids in the body of a callback. Pure; no body makes it raise.

Nothing else is read of it, but for one word: a generation that is said to be under way still is passed over, as a
look would show nothing to act on. Who forges that word has said nothing.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from batcher.generations import STATUS_WORDS, GenerationStatus, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_IDS = 10
"""So many ids are taken from one body. Kling sends one generation a callback (API notes, 6)."""

_UNDER_WAY = (GenerationStatus.SUBMITTED, GenerationStatus.PROCESSING)


def ids_in(body: bytes) -> tuple[str, ...]:
    """What a body calls the generations that may have ended: the provider's ids and ours.

    Flat, wrapped in `data`, or in a list.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    found = dict.fromkeys(name for entry in _entries(payload) if not _is_under_way(entry) for name in _names(entry))
    return tuple(islice(found, MAX_IDS))


def is_id(text: str) -> bool:
    """Whether a text can be an id at all."""
    return name_of(text) is not None


def _entries(payload: object) -> Iterator[dict[str, Any]]:
    waiting = [payload]
    while waiting:
        layer = waiting.pop()
        if isinstance(layer, list):
            waiting.extend(reversed(layer))
        elif isinstance(layer, dict):
            yield layer
            waiting.append(layer.get("data"))


def _is_under_way(entry: dict[str, Any]) -> bool:
    word = entry.get("task_status") or entry.get("status")
    return isinstance(word, str) and STATUS_WORDS.get(word.lower()) in _UNDER_WAY


def _names(entry: dict[str, Any]) -> Iterator[str]:
    info = entry.get("task_info")
    for value in (
        entry.get("task_id"),
        entry.get("id"),
        entry.get("external_task_id"),
        info.get("external_task_id") if isinstance(info, dict) else None,
    ):
        if name := name_of(value):
            yield name
