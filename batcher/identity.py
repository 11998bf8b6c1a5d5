"""Who a task is: the hash of its content, and the id the provider knows it by. Pure.

Both are promises for ever: a state written by any version must produce the same ids in any later one, because
the provider refuses a used id and that is what keeps a lost state from paying twice. A change of these rules
gets a new `IDENTITY_VERSION`; golden values in the tests hold the old ones.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batcher.tasks import Task, TaskSpec

IDENTITY_VERSION = 1

NOT_CONTENT = frozenset({"callback_url", "external_task_id"})
"""Request keys that say how a generation is reported, not what it shows."""


def content_hash(spec: TaskSpec | Task, *, scope: str) -> str:
    """The hash of what the user asked for: 64 hex digits, the same on every machine and in every run.

    Job, edition, take, provider scope and request count; name, place, order and price do not. Text is
    compared as NFC, and `5`, `5.0` and `"5"` are one value.
    """
    before, after = _frame(spec.job, spec.edition, scope, spec.take)
    return hashlib.sha256(f"{before}{''.join(request_text(spec.request))}{after}".encode()).hexdigest()


@lru_cache(maxsize=256)
def _frame(job: str, edition: str, scope: str, take: str) -> tuple[str, str]:
    """The canonical text of a content before and after its request: the keys of it, in their order."""
    head = {"edition": edition, "identity_version": IDENTITY_VERSION, "job": job}
    tail = {"scope": scope, "take": take}
    return f'{_text(head)[:-1]},"request":', f",{_text(tail)[1:]}"


def request_text(request: Mapping[str, Any]) -> tuple[str, str, str]:
    """The canonical text of a request in three parts, of which the second is the prompt: it alone is often new."""
    prompt = request.get("prompt")
    if not isinstance(prompt, str):
        kept = {k: v for k, v in request.items() if k not in NOT_CONTENT and v is not None}
        return _text(kept), "", ""
    others = {k: v for k, v in request.items() if k != "prompt"}
    kinds = tuple(map(type, others.values()))
    around = _around if _SCALARS.issuperset(kinds) else _around.__wrapped__  # 1 and True are equal, and no one value
    before, after = around(tuple(others.items()), kinds)
    return before, _ENCODER.encode(prompt if prompt.isascii() else unicodedata.normalize("NFC", prompt)), after


@lru_cache(maxsize=1024)
def _around(others: Iterable[tuple[str, Any]], kinds: tuple[type, ...]) -> tuple[str, str]:  # noqa: ARG001 - of the key
    """What stands before and after a prompt in the canonical text of its request."""
    kept = _canonical({k: v for k, v in others if k not in NOT_CONTENT and v is not None})
    before = "".join(f"{_ENCODER.encode(k)}:{_ENCODER.encode(kept[k])}," for k in sorted(kept) if k < "prompt")
    after = "".join(f",{_ENCODER.encode(k)}:{_ENCODER.encode(kept[k])}" for k in sorted(kept) if k > "prompt")
    return f'{{{before}"prompt":', f"{after}}}"


def is_intact(task: Task) -> bool:
    """Whether what the state holds of a task still gives its hash: a flipped bit in a text shows nowhere else."""
    return content_hash(task, scope=task.scope) == task.content_hash


def canonical_json(value: Any) -> bytes:
    """`value` as the one byte string that stands for it: sorted keys, NFC text, numbers as decimal text."""
    return _text(value).encode()


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_SCALARS = frozenset({str, int, float, bool, type(None)})


def _text(value: Any) -> str:
    return _ENCODER.encode(_canonical(value))


def _canonical(value: Any) -> Any:
    match value:
        case bool() | None:
            return value
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
        case str():
            return unicodedata.normalize("NFC", value)
        case dict():
            return {unicodedata.normalize("NFC", str(k)): _canonical(v) for k, v in value.items()}
        case list() | tuple():
            return [_canonical(v) for v in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


_OURS = re.compile(r"((?:[a-z0-9-]{1,12})-[0-9a-f]{24})-a([1-9][0-9]{0,5})")


def parts_of(external_id: str) -> tuple[str, int] | None:
    """An id of our making as what all attempts of its task share, and the attempt; None for any other text."""
    match = _OURS.fullmatch(external_id)
    return (match[1], int(match[2])) if match else None


def is_like(external_id: str, *, job: str) -> bool:
    """Whether it is an id of our making that begins as this job's do, under whatever namespace."""
    parts = parts_of(external_id)
    return parts is not None and parts[0].rpartition("-")[0] == slug_of(job)


def derive_namespace(key: str) -> str:
    """The namespace of an account's ids, one-way from its API key: 32 hex digits.

    Derived once and then stored; the stored copy wins (a new key must not make new ids).
    """
    return hmac.new(key.encode(), b"batcher namespace v1", hashlib.sha256).hexdigest()[:32]


def external_task_id(*, job: str, content: str, namespace: str, attempt: int) -> str:
    """The id a create call carries: `<job, at most 12>-<24 hex>-a<attempt>`, `[a-z0-9-]`, at most 48 characters.

    Keyed, because an account may be shared with strangers and the ids are unique across all of it.
    """
    digest = hmac.digest(namespace.encode(), content.encode(), "sha256")[:12].hex()
    return f"{slug_of(job)}-{digest}-a{attempt}"


@lru_cache(maxsize=256)
def slug_of(job: str) -> str:
    """How every id of a job begins. Jobs whose names begin alike share it."""
    return re.sub(r"[^a-z0-9]+", "-", job.lower())[:12].strip("-") or "job"
