"""The world's memory: an append-only file of JSON lines, each on disk before the reply it belongs to leaves."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """An open file of lines. One process at a time; the kernel frees it when that process dies."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`. Raises BlockingIOError where another process has it."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise BlockingIOError(f"{path} is in use by another simulator") from error

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, and cut off a torn last one: the process died writing it, its reply never left."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            raw = file.read().splitlines(keepends=True)
        if raw and not raw[-1].endswith(b"\n"):
            os.ftruncate(self._fd, sum(map(len, raw[:-1])))
            raw.pop()
        os.lseek(self._fd, 0, os.SEEK_END)
        return [json.loads(line) for line in raw]

    def append(self, line: dict[str, Any], *, durable: bool = True) -> None:
        """Write one line; `durable` waits until it would survive a power cut."""
        os.write(self._fd, json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        if durable:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)
