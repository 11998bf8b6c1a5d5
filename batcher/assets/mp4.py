"""Proves that a file is a whole MP4 by walking its boxes (ISO/IEC 14496-12), and reads its length and size.

Finds what a transfer or a stranger can do to a clip: cut anywhere, HTML instead, zeros, something appended. Says
nothing of the pictures in it; that is `media`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_BOXES = 10_000
"""At the top level. A clip has four or so; without a cap a hostile file keeps us walking for minutes."""
_MAX_MOOV_BYTES = 32_000_000
"""Ten seconds need some 10 KB."""


class BrokenClipError(Exception):
    """What arrived is no whole clip. Another download may bring one; nothing is left of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Facts:
    """What the boxes say."""

    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    is_open_ended: bool = False
    """The last box reaches "to the end of the file", wherever that is: a cut in it cannot be seen."""


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    """Of its payload."""
    end: int
    is_open_ended: bool = False

    @property
    def size(self) -> int:
        return self.end - self.start


def check(path: Path) -> Mp4Facts:
    """Walk the file's boxes.

    Raises:
        BrokenClipError: The file is no MP4, or not all of one, or more than one.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":  # a web page, as a rule
            raise BrokenClipError("the file does not begin like an MP4")
        boxes = list(_walk_file(file, path.stat().st_size))
        kinds = {box.kind: box for box in boxes}
        if b"moov" not in kinds:
            raise BrokenClipError("the file has no table of contents (moov)")
        if not any(box.kind == b"mdat" and box.size for box in boxes):
            raise BrokenClipError("the file has no pictures (mdat)")
        return _facts(_payload(file, kinds[b"moov"]), is_open_ended=boxes[-1].is_open_ended)


def _walk_file(file: BinaryIO, size: int) -> Iterator[_Box]:
    position = 0
    for _ in range(_MAX_BOXES):
        if position == size:
            return
        file.seek(position)
        box = _box(file.read(16), position, size)
        yield box
        position = box.end
    raise BrokenClipError(f"the file has more than {_MAX_BOXES:,} boxes")


def _box(header: bytes, position: int, limit: int) -> _Box:
    """The box whose first bytes are `header`; `limit` is where it must have ended."""
    kind, length, used = header[4:8], int.from_bytes(header[:4], "big"), 8
    if len(header) < 8 or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
        raise BrokenClipError(f"the file has no MP4 box at byte {position:,}")
    if length == 0:
        return _Box(kind, position + 8, limit, is_open_ended=True)
    if length == 1:
        length, used = int.from_bytes(header[8:16], "big"), 16
    if length < used:
        raise BrokenClipError(f"the file has a box of no size at byte {position:,}")
    if position + length > limit:
        raise BrokenClipError(f"the file is cut: its {kind.decode('latin-1')} box needs {position + length:,} bytes")
    return _Box(kind, position + used, position + length)


def _payload(file: BinaryIO, box: _Box) -> bytes:
    if box.size > _MAX_MOOV_BYTES:
        raise BrokenClipError(f"the file has a table of contents of {box.size:,} bytes")
    file.seek(box.start)
    return file.read(box.size)


def _children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(data):
        box = _box(data[position : position + 16], position, len(data))
        yield box.kind, data[box.start : box.end]
        position = box.end


def _facts(moov: bytes, *, is_open_ended: bool) -> Mp4Facts:
    duration_s: float | None = None
    width = height = None
    try:
        for kind, data in _children(moov):
            if kind == b"mvhd":
                duration_s = _duration_s(data)
            elif kind == b"trak" and not width:
                width, height = _size(data)
    except struct.error:
        raise BrokenClipError("the file has a damaged table of contents") from None
    return Mp4Facts(duration_s=duration_s, width=width or None, height=height or None, is_open_ended=is_open_ended)


def _duration_s(mvhd: bytes) -> float | None:
    """Version 1 of the box has 64-bit times; a duration of all ones means unknown."""
    layout, unknown = (">20xIQ", 2**64 - 1) if mvhd[:1] == b"\x01" else (">12xII", 2**32 - 1)
    timescale, duration = struct.unpack_from(layout, mvhd)
    return round(duration / timescale, 3) if timescale and duration not in (0, unknown) else None


def _size(trak: bytes) -> tuple[int, int]:
    """Width and height of a track; nothing for sound. Fixed point, 16.16, the last two fields."""
    for kind, tkhd in _children(trak):
        if kind == b"tkhd":
            width, height = struct.unpack_from(">II", tkhd, 88 if tkhd[:1] == b"\x01" else 76)
            return width >> 16, height >> 16
    return 0, 0
