"""Byte ranges of a file (RFC 9110, section 14): one range or the whole. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def part(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """Return the bytes asked for; None: all of them. An empty range cannot be satisfied (416).

    Several ranges, or a malformed one, or an `If-Range` that names another file, get the whole.
    """
    asked = _ONE_RANGE.fullmatch(headers.get("range", "").strip())
    if not asked or asked.group() == "bytes=-" or headers.get("if-range", etag) != etag:
        return None
    first, last = asked.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    return range(int(first), min(size, int(last) + 1) if last else size)
