"""What is known of a clip that is not whole yet, in a small file beside it, so that the next run can go on.

Nothing here is believed: a mark is held against the bytes (`batcher.fetch.resume`). So it need not be synced, and a
line that was torn, lost or forged costs a download from the start, and no more. Holds no URL.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from batcher.fetch import Version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 1

_MAX_BYTES = 1_000_000
"""500 MB need some 50 KB."""


class PartNotes:
    """The notes of one `.part`: a line says what it is the beginning of, each further one a mark."""

    def __init__(self, path: Path, owner: str) -> None:
        """Read what an earlier download for the same `owner` left at `path`; nothing there, or no notes: no marks."""
        self.path = path
        self._owner = owner
        self._version: Version | None = None
        self._marks: dict[int, str] = {}
        self._fd: int | None = None
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self._read()

    @property
    def version(self) -> Version | None:
        return self._version

    @property
    def marks(self) -> Mapping[int, str]:
        return self._marks

    def begin(self, version: Version | None) -> None:
        self.remove()
        self._version = version

    def mark(self, size_bytes: int, sha256: str) -> None:
        if self._version is None:
            return
        try:
            if self._fd is None:
                self._fd = self._open(self._version)
            _write(self._fd, {"bytes": size_bytes, "sha256": sha256})
            self._marks[size_bytes] = sha256
        except OSError:  # a convenience; a disk that is full shows at the clip's next bytes
            self._version = None

    def close(self) -> None:
        """Leave the file where it is."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Forget all, on the disk too."""
        self.close()
        self._version = None
        self._marks = {}
        with suppress(OSError):
            self.path.unlink()  # a link is not followed

    def _read(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not is_ours_alone(os.fstat(fd)):
                return
            lines = file.read(_MAX_BYTES).split(b"\n")
        about = json.loads(lines[1])
        if (about.pop("schema"), about.pop("owner")) != (SCHEMA, self._owner):
            return
        version = Version(**about)
        if not _is_header(version.validator) or version.size_bytes < 1:
            return
        self._version = version
        for line in lines[2:]:
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # torn
                said = json.loads(line)
                self._marks[int(said["bytes"])] = str(said["sha256"])

    def _open(self, version: Version) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if not self._marks:
            fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            _write(fd, {"schema": SCHEMA, "owner": self._owner, **asdict(version)})
            return fd
        fd = os.open(self.path, flags)
        if not is_ours_alone(os.fstat(fd)):
            os.close(fd)
            raise OSError(errno.EEXIST, "something that batcher did not make has this name")
        return fd


def _write(fd: int, said: dict[str, object]) -> None:
    # A line's end comes before it: after a torn one, too, a new line begins.
    os.write(fd, b"\n" + json.dumps(said).encode())


def _is_header(text: str) -> bool:
    return 0 < len(text) <= 300 and text.isascii() and text.isprintable()


def is_ours_alone(facts: os.stat_result) -> bool:
    """Whether a file is a plain one of our user and has no second name: writing would change that."""
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_uid == os.geteuid()
