"""Disks that fail the n-th time, for every n: writes from a statement on, calls on files, and syncs."""

from __future__ import annotations

import errno
import os
import resource
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mortal import Tracer, Wire

from batcher.simulator.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

CALLS = ("open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.scandir", "os.truncate")
"""What Python tells its audit hooks of files and folders."""


class Choke(Tracer):
    """From statement `at` on no file takes a byte more: the system says so to SQLite and to Python alike.

    With `once`, the first call that notices is the only one. What the provider writes is on another machine's disk.
    """

    def __init__(self, at: int, *, once: bool) -> None:
        super().__init__(at, lambda frame: self._set(0))
        self.once = once
        self.is_choked = False
        self.faults = 0
        self._most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        spare_the_provider(self.pause)

    def _set(self, limit: int) -> None:
        self.is_choked = limit == 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, self._most))

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "exception" and self.is_choked and _is_of_the_disk(argument[1]):
            self.faults += 1
            if self.once:
                self._set(self._most)
        return super().line(frame, event, argument)

    @contextmanager
    def pause(self) -> Iterator[None]:
        was = self.is_choked
        if was:
            self._set(self._most)
        try:
            yield
        finally:
            if was:
                self._set(0)


class BadCalls(Tracer):
    """The `number`-th call on a file or folder in `home` fails, or with `once` off that and all that follow.

    Syncs count as calls too. Number 0 only counts.
    """

    def __init__(self, home: Path, number: int, *, once: bool, code: int) -> None:
        super().__init__()
        self.home = str(home)
        self.number = number
        self.once = once
        self.code = code
        self.faults = 0
        self._is_paused = False
        self._fsync = os.fsync
        spare_the_provider(self.pause)
        os.fsync = self._sync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CALLS and str(arguments[0]).startswith(self.home):
            self._meet(str(arguments[0]))

    def _sync(self, fd: int) -> None:
        self._meet("fsync")
        self._fsync(fd)

    def _meet(self, what: str) -> None:
        if self._is_paused:
            return
        self.faults += 1
        if self.number and (self.faults == self.number or (self.faults > self.number and not self.once)):
            raise OSError(self.code, os.strerror(self.code), what)

    @contextmanager
    def pause(self) -> Iterator[None]:
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before


def spare_the_provider(pause: Any) -> None:
    """Its books and the wire's are written all the same. Only ever called in a process that soon ends."""
    append, note = Journal.append, Wire.note

    def appended(*arguments: Any, **more: Any) -> None:
        with pause():
            append(*arguments, **more)

    def noted(*arguments: Any) -> None:
        with pause():
            note(*arguments)

    Journal.append, Wire.note = appended, noted  # type: ignore[method-assign]


def _is_of_the_disk(error: Any) -> bool:
    return (isinstance(error, OSError) and error.errno == errno.EFBIG) or "disk" in str(error)
