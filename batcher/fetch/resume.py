"""When a download may go on where an earlier one broke off (RFC 9110, sections 13.1.5 and 14). Pure but for the file.

Two proofs are needed, so that no file is ever mixed from two: the URL stands for the same bytes as before (a strong
validator and the length), and the bytes in the file are those that came from it (marks: the sha256 of all up to
there).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

MARK_BYTES = 1 << 20
"""A mark is made after so many bytes: what a kill may cost. 0.1 ms of CPU each, with its line on disk."""

_MOST_BYTES = 1 << 26
"""Between two marks. Notes are not ours for certain, and nobody shall make us read a gigabyte at once."""
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_REST = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
_DATE_IS_STRONG_S = 60
"""A file may change twice in the second that its date names (RFC 9110, section 8.8.2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Which bytes a URL stood for."""

    resource: str
    """Which file, whoever signs for it on whichever host: a hash of the URL's path."""
    validator: str
    """A strong ETag, in its quotes, or else the date of the last change."""
    size_bytes: int


class Notes(Protocol):
    """What is known of a file that is not whole yet. Whoever owns the file keeps them beside it."""

    @property
    def version(self) -> Version | None:
        """What the file is the beginning of; None: nothing that is in it counts."""
        ...

    @property
    def marks(self) -> Mapping[int, str]:
        """The first so many bytes -> their sha256."""
        ...

    def begin(self, version: Version | None) -> None:
        """Forget all; what comes now is of this version, or of one that cannot be told."""
        ...

    def mark(self, size_bytes: int, sha256: str) -> None:
        """Remember that the first `size_bytes` are in the file. An OSError is the disk's."""
        ...


def resource_of(path: str) -> str:
    """What stays of a URL's path when it is signed anew."""
    return hashlib.sha256(path.partition("?")[0].encode()).hexdigest()


def version_of(headers: Message, *, resource: str, size_bytes: int | None) -> Version | None:
    """What a whole answer is a version of; None where a later one could not be proven to be the same."""
    etag, changed = headers.get("ETag", "").strip(), headers.get("Last-Modified", "").strip()
    validator = etag if _STRONG_ETAG.fullmatch(etag) else changed if _is_strong(changed, headers.get("Date")) else ""
    if not validator or not size_bytes:
        return None
    return Version(resource=resource, validator=validator, size_bytes=size_bytes)


def is_rest(headers: Message, version: Version, *, start: int, announced: int | None) -> bool:
    """Whether a 206 says that it is all of `version` from `start` on, and nothing else."""
    said = _REST.fullmatch(headers.get("Content-Range", "").strip())
    name = "ETag" if version.validator.startswith('"') else "Last-Modified"
    return (
        said is not None
        and [int(number) for number in said.groups()] == [start, version.size_bytes - 1, version.size_bytes]
        and headers.get(name, "").strip() == version.validator
        and is_plain(headers)
        and announced in (None, version.size_bytes - start)
    )


def is_plain(headers: Message) -> bool:
    """Whether a body comes as it is, and not compressed."""
    return headers.get("Content-Encoding", "identity").strip().lower() == "identity"


class Held:
    """The beginning of a file that was proven to be what came: how much, and its hash so far."""

    def __init__(self, sink: BinaryIO, notes: Notes) -> None:
        """Read what `sink` holds, up to the last mark that is true; what stands behind it is cut off."""
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()
        size_bytes = notes.version.size_bytes if notes.version else 0
        sink.seek(0)
        for mark in sorted(notes.marks):
            if not self.size_bytes < mark < size_bytes or mark - self.size_bytes > _MOST_BYTES:
                break
            sha256 = self.sha256.copy()
            sha256.update(sink.read(mark - self.size_bytes))
            if sha256.hexdigest() != notes.marks[mark]:  # also where the file is too short
                break
            self.size_bytes, self.sha256 = mark, sha256
        sink.seek(self.size_bytes)
        sink.truncate()


def _is_strong(changed: str, answered: str | None) -> bool:
    try:
        age = parsedate_to_datetime(answered or "") - parsedate_to_datetime(changed)
    except (ValueError, TypeError, OverflowError):
        return False
    return changed.isascii() and changed.isprintable() and age.total_seconds() >= _DATE_IS_STRONG_S
