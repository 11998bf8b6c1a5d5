"""Which plain values a manifest or a row may hold, and how a value is written as text. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def objection(value: object, *, depth: int = 16) -> str | None:
    """Why `value` cannot be kept, or None: what JSON, SQLite or the API would mangle is refused."""
    match value:
        case bool() | None:
            return None
        case str():
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
