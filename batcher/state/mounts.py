"""Which kind of file system a state lies on, as the kernel lists its mounts: some are no place for shared memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
"""Linux only (proc(5)). Where it is not there, nothing is known."""

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "davfs"),
        *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.davfs2"),
    }
)
"""File systems that another machine serves. SQLite's WAL needs memory shared by all who open the file, and says
that it does not work over them (sqlite.org/wal.html)."""


def network_mount(path: Path) -> str | None:
    """The kind of network file system that `path` lies on; None for a local one, or where that is unknown."""
    with suppress(OSError):
        kind = kind_of(path.resolve(), MOUNTS.read_text(errors="surrogateescape"))
        return kind if kind in NETWORK else None
    return None


def kind_of(path: Path, mounts: str) -> str | None:
    """The file system's kind of the mount that `path` is below of: the deepest, and of those the last. Pure."""
    depth, found = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            depth, found = len(point.parts), after.split(" ", 1)[0]
    return found
