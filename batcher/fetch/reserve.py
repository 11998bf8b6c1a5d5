"""Asks the file system for a clip's room in one piece, before its bytes come.

Writing into reserved room takes 0.3 s of CPU a GB; without, ext4 looks for room at each page and takes 0.4 to 1.9
(2026-11, 20 files of 20 MB in pieces of 1 MiB). A favour: where it cannot be had, the bytes are written all the same.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 50_000_000
"""What is kept free for a clip. A server that announces more gets no more than that set aside for it."""
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE: the file is as long as what was written, so that a beginning is not taken for the whole."""


def reserve(sink: BinaryIO, size_bytes: int | None) -> None:
    """Set room aside for a file of `size_bytes`."""
    if not size_bytes or size_bytes > MOST_BYTES:
        return
    with suppress(OSError, ValueError):  # it is no file of the system's
        fallocate = _fallocate()
        if fallocate is not None:
            fallocate(sink.fileno(), _KEEP_SIZE, 0, size_bytes)  # a full disk shows when it is written to


@cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """Linux's own call: `os.posix_fallocate` changes the size, and writes zeros where a file system cannot do it."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    call = getattr(ctypes.CDLL(None), "fallocate", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    return call
