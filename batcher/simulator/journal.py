"""The world's memory: an append-only file of JSON lines, each on disk before the reply it belongs to leaves."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """An open file of lines. One process at a time; the kernel frees it when that process dies."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`. Raises BlockingIOError where another process has it."""
        self._path = path
        # A link here would have a torn last line cut off whatever it leads to.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115, PTH123 - open as long as the journal
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise BlockingIOError(f"{path} is in use by another simulator") from error

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, and cut off a torn last one: the process died writing it, its reply never left."""
        raw = self._file.readall().splitlines(keepends=True)
        if raw and not raw[-1].endswith(b"\n"):
            torn = raw.pop()
            self._file.seek(-len(torn), os.SEEK_END)
            self._file.truncate()
        return [self._parse(line, number) for number, line in enumerate(raw, 1)]

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{self._path}:{number}: not a line of a simulated world") from error

    def append(self, line: dict[str, Any], *, durable: bool = True) -> None:
        """Write one line; `durable` waits until it would survive a power cut."""
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
