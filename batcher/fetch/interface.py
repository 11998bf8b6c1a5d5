"""What a download is: a function from a URL and an open file to what arrived, or one of five faults. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, Protocol

from batcher.fetch.resume import MARK_BYTES

if TYPE_CHECKING:
    from batcher.fetch.resume import Held, Notes


class FetchFault(StrEnum):
    """Why no whole clip arrived, split by what the caller does about it."""

    GONE = "gone"
    """The CDN refuses this URL (expired, as a rule): ask the API for a fresh one."""
    FORBIDDEN_URL = "forbidden url"
    """We refuse this URL; no packet was sent to it. A person allows the host, or nobody does."""
    NETWORK = "network"
    """Try again later."""
    CUT = "cut"
    """Not all of it arrived: try again."""
    TOO_LARGE = "too large"
    """More bytes than the policy allows."""


class FetchError(Exception):
    """No whole clip arrived. Safe to print: never holds a URL's query.

    Not in the tree of `batcher.errors`: it ends one download, never the process.
    """

    def __init__(self, fault: FetchFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A body that arrived."""

    size_bytes: int
    sha256: str
    is_length_proven: bool
    """The server announced the length (or framed the body) and every byte of it came. Where False, only a look
    into the file can tell whether it is whole."""


class Fetch(Protocol):
    """Brings the bytes behind a URL into a file. Virtual-time tests inject one of their own."""

    async def __call__(self, url: str, sink: BinaryIO, notes: Notes | None = None) -> Fetched:
        """Bring the whole body into `sink`, which is empty, or holds what `notes` say and is gone on with.

        Raises:
            FetchError: No whole body arrived.
            OSError: `sink` could not be written; never an error of the network.
        """
        ...


class Intake:
    """Takes a body in piece by piece: writes, counts, hashes, notes, and refuses what exceeds the cap."""

    def __init__(
        self, sink: BinaryIO, *, max_bytes: int, notes: Notes | None = None, held: Held | None = None
    ) -> None:
        """`held` is what `sink` has already."""
        self._sink = sink
        self._max_bytes = max_bytes
        self._notes = notes
        self._start = self._marked = self._size_bytes = held.size_bytes if held else 0
        self._sha256 = held.sha256 if held else hashlib.sha256()

    def expect(self, announced: int | None) -> None:
        """Refuse a body that announces more than the cap before any of it is read."""
        if (announced or 0) > self._max_bytes:
            raise self._too_large()

    def take(self, piece: bytes | memoryview) -> None:
        """Add one piece."""
        self._size_bytes += len(piece)
        if self._size_bytes > self._max_bytes:
            raise self._too_large()
        self._sha256.update(piece)
        self._sink.write(piece)
        if self._size_bytes >= self._marked + MARK_BYTES:
            self._mark()

    def stop(self) -> None:
        """Not all of it came: note what did. A beginning that nothing could be added to is given up."""
        if self._size_bytes > self._marked:
            self._mark()
        elif self._notes is not None and self._start == self._size_bytes:
            self._notes.begin(None)

    def close(self, *, announced: int | None, is_framed: bool = False) -> Fetched:
        """End the body, and hold it against its announced length where there is one."""
        if announced is not None and announced != self._size_bytes:
            if self._notes is not None and announced < self._size_bytes:
                self._notes.begin(None)  # more than all of it: not one byte of this is to be trusted
            raise FetchError(FetchFault.CUT, f"{self._size_bytes:,} of {announced:,} bytes arrived")
        return Fetched(
            size_bytes=self._size_bytes,
            sha256=self._sha256.hexdigest(),
            is_length_proven=is_framed or announced is not None,
        )

    def _mark(self) -> None:
        self._marked = self._size_bytes
        if self._notes is not None:
            self._notes.mark(self._size_bytes, self._sha256.hexdigest())

    def _too_large(self) -> FetchError:
        return FetchError(FetchFault.TOO_LARGE, f"the file is larger than {self._max_bytes:,} bytes")
