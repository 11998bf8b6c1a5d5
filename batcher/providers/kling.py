"""What a reply of the Kling API means, straight from Kling or through a gateway. Pure; no reply makes it raise.

The business code decides, never the HTTP status alone: one 429 means "wait", another "top up".
Codes: Kling's error table, 2026-09; gateway codes: new-api, on which CometAPI's behaviour is modelled.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from batcher.generations import Fate, Listing, Look, Posted, Refusal, RefusalKind, Sight, name_of
from batcher.providers.shapes import id_of, names_in, read_generation, read_json, words

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from batcher.http import Reply

DUPLICATE_OR_INVALID = "1201"
"""Kling's code for a bad value, an unknown id and a used id alike: the message tells which."""

KINDS = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1304"), RefusalKind.KEY),
    **dict.fromkeys(("1100", "1101", "1102"), RefusalKind.FUNDS),
    **dict.fromkeys(("1103", "1200", DUPLICATE_OR_INVALID, "1202", "1203"), RefusalKind.INVALID),
    **dict.fromkeys(("1300", "1301"), RefusalKind.CONTENT),
    **dict.fromkeys(("1302", "1303"), RefusalKind.BUSY),
    **dict.fromkeys(("5000", "5001", "5002"), RefusalKind.UNAVAILABLE),
    # A gateway books the price before it passes the request on: with these nothing was passed on.
    **dict.fromkeys(
        ("insufficient_user_quota", "quota_not_enough", "pre_consume_token_quota_failed"), RefusalKind.FUNDS
    ),
}

TEXTS = (
    (r"parallel task over resource pack limit", "1303"),
    (r"account balance not enough", "1102"),
    (r"failure to pass the risk control system", "1301"),
    (r"external_task_id \S+ already exists", DUPLICATE_OR_INVALID),
    (r"^\w+ value .{0,200} is invalid", DUPLICATE_OR_INVALID),
    (r"is not supported with", DUPLICATE_OR_INVALID),
)
"""What Kling said, where a gateway hands on the text and drops the code (`task_failed`)."""

UNDECIDED = frozenset({408, 409, 425, 499})
"""4xx that say nothing about what became of the request."""

MAX_NESTING = 3

NO_JSON = "an answer that is not JSON"
REDIRECT = "a redirect, which is not followed: is the base URL right?"


def parse_create(reply: Reply, *, retry_after_s: float | None = None) -> Posted:
    """Say what a create call did. What is not provably "created" or "not created" is AMBIGUOUS."""
    payload = read_json(reply.body)
    request_id = _request_id(payload, reply.headers)
    if _is_ok(reply.status, payload):
        if generation := read_generation(payload):
            return Posted(fate=Fate.ACCEPTED, generation=generation, request_id=request_id)
        return Posted(fate=Fate.AMBIGUOUS, request_id=request_id, detail=f"HTTP {reply.status} without a task id")
    refusal = classify(reply.status, payload, reply.headers, retry_after_s=retry_after_s)
    return Posted(
        fate=_fate(reply.status, payload, refusal), refusal=refusal, request_id=request_id, detail=_line(refusal)
    )


def parse_find(reply: Reply, wanted_id: str, *, external: bool = False, retry_after_s: float | None = None) -> Look:
    """Say what a look at `wanted_id` showed; with `external` that is our id, otherwise the provider's.

    An answer about another id is no answer. Gateways that drop the echo of our id are believed.
    """
    payload = read_json(reply.body)
    if _is_ok(reply.status, payload):
        generation = read_generation(payload, wanted=wanted_id)
        if generation is None:
            return Look(sight=Sight.SILENT, detail=f"HTTP {reply.status} without a generation")
        unnamed = external and generation.external_task_id is None
        if unnamed or wanted_id in names_in(payload, wanted=wanted_id):
            return Look(sight=Sight.FOUND, generation=generation)
        return Look(sight=Sight.SILENT, detail=f"the answer is about another generation, {generation.id}")
    refusal = classify(reply.status, payload, reply.headers, retry_after_s=retry_after_s)
    if reply.status < 500 and _says_unknown_id(refusal):
        return Look(sight=Sight.ABSENT, detail=_line(refusal))
    return Look(sight=Sight.SILENT, refusal=refusal, detail=_line(refusal))


def parse_list(reply: Reply, *, wanted: Container[str] | None = None, retry_after_s: float | None = None) -> Listing:
    """Read one page of the list call; with `wanted`, only the generations of these ids."""
    payload = read_json(reply.body)
    if _is_ok(reply.status, payload):
        entries = payload.get("data")
        if not isinstance(entries, list):
            return Listing(supported=None, detail=f"HTTP {reply.status} without a list")
        read = entries if wanted is None else [entry for entry in entries if id_of(entry) in wanted]
        generations = tuple(each for each in map(read_generation, read) if each)
        return Listing(supported=True, generations=generations, shown=len(entries))
    refusal = classify(reply.status, payload, reply.headers, retry_after_s=retry_after_s)
    is_missing = reply.status in (404, 405) or refusal.code == "1202"
    return Listing(supported=False if is_missing else None, refusal=refusal, detail=_line(refusal))


def classify(
    status: int, payload: object, headers: Mapping[str, str], *, retry_after_s: float | None = None
) -> Refusal:
    """Name the reason of a reply that is no success. The kind says nothing about a create call's fate."""
    code, message = _complaint(payload)
    kind = KINDS.get(code)
    if kind is None:
        kind = RefusalKind.UNAVAILABLE
        if status == 401 and isinstance(payload, dict):
            kind = RefusalKind.KEY
        elif status == 429:
            kind = RefusalKind.BUSY
    if payload is None:
        message = f"{NO_JSON} ({words(headers.get('content-type')) or 'no content type'})"
    if 300 <= status < 400:
        message = REDIRECT
    return Refusal(
        kind=kind,
        code=code or f"http-{status}",
        message=message,
        http_status=status,
        request_id=_request_id(payload, headers),
        retry_after_s=retry_after_s,
        names_a_field=code == DUPLICATE_OR_INVALID and is_invalid_field(message),
    )


def is_invalid_field(message: str) -> bool:
    """Whether a 1201's message complains about the value of one field, and that field is not the id."""
    match = re.match(r"\s*(\w+) value .{0,200} is invalid", message)
    return match is not None and "task_id" not in match[1].lower()


def _is_ok(status: int, payload: object) -> bool:
    """Whether the envelope reports success. Of the outermost code only: a failed generation is no failed call."""
    if not 200 <= status < 300 or not isinstance(payload, dict):
        return False
    code = payload.get("code")
    if code is None:
        return not payload.get("error") or read_generation(payload) is not None
    return str(code).lower() in ("0", "success", "succeed")


def _fate(status: int, payload: object, refusal: Refusal) -> Fate:
    if not (400 <= status < 500 or status == 200) or status in UNDECIDED:
        return Fate.AMBIGUOUS
    if refusal.code == DUPLICATE_OR_INVALID:
        return Fate.EXISTS if "already exists" in refusal.message.lower() else Fate.CHECK
    if refusal.code in KINDS:
        is_gateways_own = not refusal.code.isdecimal()
        is_refused = KINDS[refusal.code] is not RefusalKind.UNAVAILABLE and not (is_gateways_own and status == 200)
        return Fate.REFUSED if is_refused else Fate.AMBIGUOUS
    # Whatever it calls the trouble: a request that is not let in is not passed on.
    if status == 401 and isinstance(payload, dict):
        return Fate.REFUSED
    return Fate.AMBIGUOUS


def _says_unknown_id(refusal: Refusal) -> bool:
    if refusal.code == DUPLICATE_OR_INVALID:
        return "task not found" in refusal.message.lower()
    return refusal.code == "task_not_exist"


def _complaint(payload: object, nesting: int = MAX_NESTING) -> tuple[str, str]:
    """Find the code and message of an error: Kling's own, even where a gateway wraps its JSON in a message."""
    if not isinstance(payload, dict):
        return "", ""
    error = payload.get("error")
    source = error if isinstance(error, dict) else payload
    code = name_of(source.get("code")) or ""
    spoken = source.get("message") or error
    message = words(spoken)
    if nesting and isinstance(spoken, str) and "{" in spoken:
        inner_code, inner_message = _complaint(_embedded(spoken), nesting - 1)
        if inner_code in KINDS:
            return inner_code, inner_message
    if code == "task_failed":
        for pattern, kling_code in TEXTS:
            if re.search(pattern, message, re.IGNORECASE):
                return kling_code, message
    return code, message


def _embedded(text: str) -> Any:
    """Parse the JSON object that begins somewhere in a text and may be followed by more text."""
    try:
        return json.JSONDecoder().raw_decode(text, text.index("{"))[0]
    except (ValueError, RecursionError):
        return None


def _request_id(payload: object, headers: Mapping[str, str]) -> str | None:
    from_body = name_of(payload.get("request_id")) if isinstance(payload, dict) else None
    return from_body or name_of(headers.get("x-oneapi-request-id")) or name_of(headers.get("x-request-id"))


def _line(refusal: Refusal) -> str:
    """The status with its code, or with words of ours that tell a captive portal or a wrong base URL."""
    if not refusal.code.startswith("http-"):
        return f"HTTP {refusal.http_status}, code {refusal.code}"
    own = refusal.message if refusal.message.startswith((NO_JSON, REDIRECT)) else ""
    return f"HTTP {refusal.http_status}" + (f", {own}" if own else "")
