"""Which plain values a manifest or a row may hold, and how a value is written as text. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_TEXT = 100_000
"""Characters of one value: many times the longest prompt. What is longer is copied into every combination."""
MAX_KEYS = 2_000
"""Keys of one mapping, columns of one table: each is a variable of every task."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def objection(value: object, *, depth: int = 16) -> str | None:
    """Why `value` cannot be kept, or None: what JSON, SQLite or the API would mangle is refused."""
    if type(value) is str and len(value) <= MAX_TEXT and value.isascii() and "\0" not in value:
        return None  # nearly all of them
    match value:
        case bool() | None:
            return None
        case str():
            if len(value) > MAX_TEXT:
                return f"has {len(value):,} characters; the most is {MAX_TEXT:,}"
            if "\0" in value:
                return "holds a NUL character"
            return "holds half a surrogate pair" if _SURROGATE.search(value) else None
        case float():
            return None if math.isfinite(value) else "is not a finite number"
        case int():
            return None if -(2**63) <= value < 2**63 else "does not fit into 64 bits"
        case dict() | list():
            if depth == 0:
                return "is nested too deeply"
            if isinstance(value, dict) and len(value) > MAX_KEYS:
                return f"has {len(value):,} keys; the most is {MAX_KEYS:,}"
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            return next((why for part in parts if (why := objection(part, depth=depth - 1))), None)
    return f"is a {type(value).__name__}"


def as_text(value: Any) -> str:
    """The text of a value in a template: YAML's spelling, `true` and `0.5`, nothing for null."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool() | dict() | list():
            return json.dumps(value, ensure_ascii=False)
    return str(value)


def shown(value: object, width: int = 60) -> str:
    """A value inside a message, quoted and cut."""
    text = as_text(value) or "null" if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"
