"""Files that are whole or not there: written beside their name, synced, then published without overwriting.

Every fault of the disk leaves here as `DiskError`: it stops the run, and is never the fate of one task (borg #9853:
a handler for one file swallowed a full disk, and the archive could not be restored).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from batcher import folders
from batcher.assets.notes import PartNotes, is_ours_alone
from batcher.errors import DiskError, exhausted

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIP_BYTES = 50_000_000
"""Generous for ten seconds in `pro`."""
SPARE_BYTES = 64_000_000
"""For the state, its log and the sidecars."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links say (exFAT, some network and FUSE ones)."""


def space_for(clips: int) -> int:
    """Bytes to have free before so many clips are bought."""
    return clips * CLIP_BYTES + SPARE_BYTES


def check_space(folder: Path, need_bytes: int) -> None:
    """Raise `DiskError` where less than `need_bytes` is free. Microseconds: asked before every submission.

    A folder that is gone will be made again below what is left of its path: it is another job's, and was deleted.
    """
    with disk_errors(folder):
        standing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(standing).free
    if free < need_bytes:
        raise DiskError(
            f"{folder}: {free // 1_000_000:,} MB free, {need_bytes // 1_000_000:,} MB needed",
            hint="free some space, or choose another folder with --out; then run again",
        )


def prepare(folder: Path, need_bytes: int) -> None:
    """Make `folder` and prove that files can be made in it; raise `DiskError` before anything is bought."""
    with disk_errors(folder):
        folders.make(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"batcher")
    check_space(folder, need_bytes)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says of `path` into a `DiskError` with the next step."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        if exc.errno in _FULL:
            free = f"{_free_bytes(path):,} bytes free"
            hint = "free some space and run again: clips already paid for are fetched then, not bought again"
            raise DiskError(f"cannot write {path}: {reason} ({free})", hint=hint) from exc
        if scarce := exhausted(exc):
            raise DiskError(f"cannot write {path}: {scarce.message}", hint=scarce.hint) from exc
        hint = "make the folder writable, or choose another one with --out; then run again"
        raise DiskError(f"cannot write {path}: {reason}", hint=hint) from exc


def inside(root: Path, relative: str) -> Path:
    """`root` / `relative`, or `DiskError` where that leaves `root`: by its words, or through a symbolic link.

    For paths from a state file or a sidecar, which may be a stranger's.
    """
    parts = PurePosixPath(relative)
    path = root.joinpath(*parts.parts)
    leaves = not parts.name or parts.is_absolute() or ".." in parts.parts or "\0" in relative
    with disk_errors(root):
        leaves = leaves or not folders.resolve(path.parent).is_relative_to(folders.resolve(root))
    if leaves:
        raise DiskError(
            f"the path {relative!r} leads out of {root}",
            hint="move the symbolic link out of the output folder, or do not use this state file",
        )
    return path


def read_plain(path: Path) -> bytes:
    """All of a plain file. A pipe or device under its name would hang the run, or never end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        return file.read()


@dataclass(frozen=True, slots=True)
class Part:
    """A file being written under a hidden name. Becomes its final name by `publish` or `replace`, or goes."""

    path: Path
    sink: BinaryIO
    notes: PartNotes | None = None
    """What a later download would need to go on with it."""

    def sync(self) -> None:
        self.sink.flush()
        os.fsync(self.sink.fileno())

    def publish(self, final: Path) -> None:
        """Take the final name. `FileExistsError`, and nothing changed, where anything has it already."""
        self.sync()
        self._check_name()
        try:
            os.link(self.path, final, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            if os.path.lexists(final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
            self.path.rename(final)
        else:
            self.path.unlink()
        self._close()

    def replace(self, final: Path) -> None:
        """Take the final name from a file that is known to be ours."""
        self.sync()
        self._check_name()
        self.path.replace(final)
        self._close()

    def rest(self) -> None:
        """Leave it for the next download to go on with, or remove it where that cannot be."""
        if self.notes is None or not self.notes.marks:
            self.discard()
            return
        with suppress(OSError):
            self.sink.close()
        self.notes.close()

    def discard(self) -> None:
        """Remove it, unless it was published or left: then its hidden name may be another task's by now."""
        if self.sink.closed:
            return
        with suppress(OSError):
            self.sink.close()  # flushes: fails again on a full disk
        with suppress(OSError):
            self.path.unlink()  # else the next run does it
        if self.notes:
            self.notes.remove()

    def _close(self) -> None:
        if self.notes:
            self.notes.remove()
        self.sink.close()  # and with it goes the lock

    def _check_name(self) -> None:
        """Publishing goes by name: what has the name must be what was written."""
        if not os.path.samestat(os.fstat(self.sink.fileno()), os.lstat(self.path)):
            raise OSError(errno.EEXIST, f"another program made a file of its own at {self.path.name}")


def open_part(final: Path, *, mode: int = 0o644) -> Part:
    """A new hidden file in the folder of `final`, which is made if needed."""
    path = _make_way(final)
    return Part(path, os.fdopen(_create(path, mode), "wb"))


def open_draft(final: Path, *, owner: str) -> Part:
    """As `open_part`, for a clip: what an earlier download for the same `owner` left is taken up where it can be."""
    path, notes = _hidden(final), PartNotes(_notes_of(final), owner)
    if notes.marks and (sink := _take_up(path)):
        return Part(path, sink, notes)
    _remove_leftover(notes.path)
    notes.remove()  # what was read from it goes too
    fd = _create(_make_way(final), 0o644)
    with suppress(OSError):  # a disk without locks: nothing is taken up there either
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Part(path, os.fdopen(fd, "wb"), notes)


def _take_up(path: Path) -> BinaryIO | None:
    """A leftover to go on with; None unless it is a plain file of ours, without another name and another writer."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        facts = os.fstat(fd)
        # Asked under the lock: until then another process could have given this very file a clip's name.
        if is_ours_alone(facts) and os.path.samestat(facts, os.lstat(path)):
            return os.fdopen(fd, "r+b")
    except OSError:
        pass
    os.close(fd)
    return None


def _make_way(final: Path) -> Path:
    """The hidden name, free to be taken."""
    if not final.parent.is_dir():
        folders.make(final.parent)
    path = _hidden(final)
    _remove_leftover(path)
    return path


def _create(path: Path, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def write_whole(final: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a small file so that its name never shows half of it. The caller syncs the folder.

    Raises:
        FileExistsError: `replace` is False and the name is taken.
    """
    part = open_part(final, mode=mode)
    try:
        part.sink.write(data)
        (part.replace if replace else part.publish)(final)
    finally:
        part.discard()


@contextmanager
def new_file(final: Path, *, mode: int = 0o644) -> Iterator[Part]:
    """Write a file that takes its name only when it is whole and on the disk to stay.

    Raises:
        FileExistsError: the name is taken; nothing was changed.
    """
    part = open_part(final, mode=mode)
    try:
        yield part
        part.publish(final)
        folders.sync(final.absolute().parent)
    finally:
        part.discard()


def set_aside(path: Path) -> None:
    """Give what stands at `path` another name beside it, so that nothing is overwritten."""
    if not os.path.lexists(path):
        return
    for number in range(1, 1000):
        other = path.with_name(f"{path.name}.old{number}")
        if not os.path.lexists(other):
            path.rename(other)
            return
    raise OSError(errno.EEXIST, "too many files of this name were set aside")


def sweep(final: Path) -> None:
    """Remove what a run killed at the last moment left beside a file that is whole."""
    for path in (_hidden(final), _notes_of(final)):
        with suppress(OSError):
            _remove_leftover(path)


def _hidden(final: Path) -> Path:
    return final.with_name(f".{final.name}.part")


def _notes_of(final: Path) -> Path:
    return final.with_name(f".{final.name}.resume")


def _remove_leftover(path: Path) -> None:
    """Remove what a killed run left. Anything but a plain file was put there by somebody else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EEXIST, "something that batcher did not make has this name")
    path.unlink()


def _free_bytes(path: Path) -> int:
    """0 where even that cannot be asked."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0
