"""Times and durations as text, and back. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

DURATION = r"\d+(\.\d+)?[smhd]?"
"""What `seconds` reads, as a pattern for schemas."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def iso(now: float) -> str:
    """Unix seconds as the state's and the sidecars' time text: `2026-11-22T13:06:33.120Z`, sortable as text."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix(text: str) -> float:
    """ISO-8601 text as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def seconds(text: str) -> float:
    """`90`, `120s`, `30m`, `5h` or `2d` as seconds. Raises ValueError for anything else, zero included."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no duration; write 90, 120s, 30m, 5h or 2d")
    return float(match[1]) * _UNITS[match[2]]
