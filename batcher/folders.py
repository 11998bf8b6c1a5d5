"""Folders whose names survive a power cut."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, *, mode: int = 0o777) -> None:
    """Make `folder` and its parents, each one durable before the next.

    One that is there already is made durable too: a run that was killed may have made it and not come to that. `mode`
    is for `folder` itself, less the umask.
    """
    if folder.is_dir():
        if os.access(folder.parent, os.R_OK | os.W_OK):  # elsewhere no run of ours made it
            sync(folder.parent)
        return
    make(folder.parent)
    try:
        folder.mkdir(mode=mode)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder should be") from None
    sync(folder.parent)


def resolve(path: Path) -> Path:
    """`path` with its links followed. `OSError` where one leads to itself, as every Python says it."""
    try:
        return path.resolve()
    except RuntimeError as exc:  # before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from exc


def sync(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
