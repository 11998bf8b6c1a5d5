"""Two small files in a job's output folder that outlive a lost state.

Receipts say which ids were ever sent: a line is on disk before the POST, so an id found there is never taken for
new. The namespaces make a new state arrive at the same ids.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anyio import to_thread

from batcher import folders
from batcher.assets.disk import disk_errors, read_plain, write_whole
from batcher.errors import StateError
from batcher.times import iso

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One id that was sent, or was about to be."""

    external_task_id: str
    content_hash: str
    at: str
    """Of the first POST."""
    account: str = ""
    """The fingerprint of the key of the last POST; empty in receipts that do not say."""
    posts: int = 1
    """The highest number of a POST, or the number of receipts where that is more: older ones carry no number."""


class Receipts:
    """An append-only file of JSON lines. Each run adds, none rewrites."""

    def __init__(self, path: Path, *, inline: bool = False) -> None:
        """`inline` works without threads, for virtual time."""
        self.path = path
        self._inline = inline
        self._is_durable = False
        """The file's name, not only its lines. Whoever made it may have been killed, or not have come to that yet."""

    async def append(
        self, external_task_id: str, content_hash: str, *, post: int = 1, account: str = "", now: float
    ) -> None:
        """Record one POST, durably, before it is sent; raise `DiskError` where that is not possible.

        `post` is its number under this id as the state counts it, `account` the fingerprint of the key, `now` is in
        Unix seconds.
        """
        receipt = {"external_task_id": external_task_id, "content_hash": content_hash, "at": iso(now)}
        line = json.dumps({**receipt, "post": post, "account": account})
        if self._inline:
            self._append(line)
        else:
            await to_thread.run_sync(self._append, line)

    def _append(self, line: str) -> None:
        with disk_errors(self.path):
            is_durable = self._is_durable and self.path.exists()
            if not is_durable:
                folders.make(self.path.parent)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self.path, flags, 0o600), "r+b", buffering=0) as file:
                _write_all(file.fileno(), (line if _ends_whole(file.fileno()) else f"\n{line}") + "\n")
                os.fsync(file.fileno())
            if not is_durable:
                folders.sync(self.path.parent)
                self._is_durable = True

    def read(self) -> dict[str, Receipt]:
        """Every id ever sent, in the order of first sending. A torn line, as a power cut leaves one, is skipped."""
        found: dict[str, Receipt] = {}
        lines: Counter[str] = Counter()
        for line in self._lines():
            receipt = _parse(line)
            if receipt is None:
                continue
            external_id = receipt.external_task_id
            lines[external_id] += 1
            first = found.get(external_id, receipt)
            posts = max(first.posts, receipt.posts, lines[external_id])
            found[external_id] = replace(receipt, at=first.at, posts=posts)
        return found

    def is_whole(self) -> bool:
        """Whether the file is there and every line of it can be read: only then what it does not name was not sent.

        The last line may be torn: the call after it was never made.
        """
        lines = self._lines()[:-1]
        return bool(lines) and all(_parse(line) for line in lines if line.strip())

    def _lines(self) -> list[bytes]:
        with disk_errors(self.path):
            try:
                return read_plain(self.path).split(b"\n")
            except FileNotFoundError:
                return []


def read_namespaces(path: Path) -> dict[str, str]:
    """The namespace of each provider scope; nothing where there is no file yet.

    Raises:
        StateError: The file is there and cannot be understood. Going on without it could buy clips again.
    """
    with disk_errors(path):
        try:
            data = read_plain(path)
        except FileNotFoundError:
            return {}
    try:
        content = json.loads(data)
        schema, namespaces = content["schema"], content["namespaces"]
        if schema == SCHEMA and all(isinstance(value, str) and value for value in namespaces.values()):
            return dict(namespaces)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise StateError(
        f"{path} is damaged or of a newer version",
        hint="restore it from a backup; delete it only if the state file is intact",
    )


def write_namespace(path: Path, *, job: str, scope: str, namespace: str) -> None:
    """Add or change one scope's namespace, durably. Only our user may read the file."""
    namespaces = {**read_namespaces(path), scope: namespace}
    content = {"schema": SCHEMA, "job": job, "namespaces": dict(sorted(namespaces.items()))}
    with disk_errors(path):
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode(), mode=0o600)
        folders.sync(path.parent)


def _parse(line: bytes) -> Receipt | None:
    try:
        content = json.loads(line)
        return Receipt(
            external_task_id=str(content["external_task_id"]),
            content_hash=str(content["content_hash"]),
            at=str(content["at"]),
            account=str(content.get("account", "")),
            posts=_number(content.get("post")),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _number(post: object) -> int:
    """Which call it was; the first where that is no number anybody counted to."""
    return post if isinstance(post, int) and 0 < post < 1_000_000 else 1


def _ends_whole(fd: int) -> bool:
    """Whether the file ends with a line's end, or is empty."""
    size = os.fstat(fd).st_size
    return size == 0 or os.pread(fd, 1, size - 1) == b"\n"


def _write_all(fd: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(fd, data) :]  # a short write on a full disk raises at the next turn
