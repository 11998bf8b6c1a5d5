"""The files a manifest may name: confined to its folder, capped in size, UTF-8 only. The manifest's only I/O."""

from __future__ import annotations

import io
import os
import stat
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.manifest.problems import Place, Problems
from batcher.manifest.rows import Row, is_table, read_rows
from batcher.manifest.values import objection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAX_BYTES = 16 * 1024 * 1024
MAX_FILES = 10_000
MAX_ENTRIES = 200_000
"""Names that one pattern may look at. A link to somewhere large must not keep a check busy for minutes."""
SUFFIXES = (".txt", ".csv", ".jsonl")


class _TooManyError(Exception):
    pass


def read_bytes(path: Path, *, file: str, at: Place, max_bytes: int, problems: Problems) -> bytes | None:
    """The content of a regular file. What is wrong is said at `at`, of `file`: the path as people know it."""
    try:
        with _open(path) as stream:
            if not _is_fit(stream, file=file, at=at, max_bytes=max_bytes, problems=problems):
                return None
            return stream.read(max_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        _unreadable(error, file=file, at=at, problems=problems)
        return None


def _open(path: Path) -> BinaryIO:
    """Open it without blocking: to open a pipe that nobody writes to would hang."""
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")


def _is_fit(stream: BinaryIO, *, file: str, at: Place, max_bytes: int, problems: Problems) -> bool:
    """Whether it is a regular file of at most so many bytes. Where not, that is said."""
    facts = os.fstat(stream.fileno())
    if not stat.S_ISREG(facts.st_mode):
        problems.add("E100", at, f"{file} is not a regular file", hint="name a file")
    elif facts.st_size > max_bytes:
        hint = "split it, move prompts into .jsonl files, or raise --max-file-mb"
        problems.add("E100", at, f"{file} is larger than {max_bytes / 2**20:.3g} MB", hint=hint)
    else:
        return True
    return False


def _unreadable(error: OSError | ValueError, *, file: str, at: Place, problems: Problems) -> None:
    reason = getattr(error, "strerror", None) or str(error)
    problems.add("E100", at, f"{file}: {reason}", hint="check the path")


def decode(data: bytes, *, file: str, problems: Problems) -> str | None:
    """UTF-8 text, with or without a byte order mark."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:2]:
        problems.add("E108", Place(file=file), "the file is UTF-16", hint="save it as UTF-8")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace").removeprefix("\ufeff")
        line = before.count("\n") + 1
        excerpt = data.split(b"\n")[line - 1].decode("utf-8", "replace").rstrip("\r")
        place = Place(file=file, line=line, column=len(before.rpartition("\n")[2]) + 1, excerpt=excerpt)
        message = f"the byte 0x{data[error.start]:02X} is not UTF-8 (is it Latin-1?)"
        problems.add("E108", place, message, hint="save the file as UTF-8")
        return None


class Sources:
    """The files of prompts beside one manifest."""

    def __init__(self, manifest: Path, *, allow_outside: bool, max_bytes: int, problems: Problems) -> None:
        self._manifest, self._shown = manifest, manifest.parent
        self._folder = manifest.parent.resolve()
        self._allow_outside, self._max_bytes, self._problems = allow_outside, max_bytes, problems

    def again(self, problems: Problems) -> Sources:
        """The same, to be read once more; what is wrong goes to `problems`."""
        return Sources(
            self._manifest, allow_outside=self._allow_outside, max_bytes=self._max_bytes, problems=problems
        )

    def rows(self, pattern: str, at: Place) -> Iterator[Row]:
        """The rows of every file that `pattern` names; `at` is where the manifest names them."""
        whole = not (self._shown / pattern).is_file()
        for path in self._find(pattern, at):
            file, real = str(path), path.resolve()
            if why := objection(file):
                self._problems.add("E111", at, f"{file}: the file's name {why}", hint="rename the file")
                continue
            if real.suffix.lower() not in SUFFIXES:
                hint = "write one prompt a line in .txt, or a table in .csv or .jsonl"
                self._problems.add("E103", at, f"{file} is not a {', '.join(SUFFIXES)} file", hint=hint)
                continue
            if whole and not file.lower().endswith((".csv", ".jsonl")):
                data = read_bytes(real, file=file, at=at, max_bytes=self._max_bytes, problems=self._problems)
                text = None if data is None else decode(data, file=file, problems=self._problems)
                yield from () if text is None else read_rows([text], file=file, whole=True, problems=self._problems)
            else:
                yield from read_rows(
                    self._lines(real, file=file, at=at), file=file, whole=False, problems=self._problems
                )

    def _lines(self, path: Path, *, file: str, at: Place) -> Iterator[str]:
        """The lines of a file with their ends, none of them kept."""
        problems = self._problems
        try:
            with _open(path) as stream:
                if not _is_fit(stream, file=file, at=at, max_bytes=self._max_bytes, problems=problems):
                    return
                head = stream.read(2)
                stream.seek(0)
                if b"\0" in head or head in (b"\xff\xfe", b"\xfe\xff"):
                    decode(head, file=file, problems=problems)
                    return
                newline = "" if is_table(file) else "\n"
                with io.TextIOWrapper(stream, encoding="utf-8-sig", newline=newline) as lines:
                    yield from lines
        except UnicodeDecodeError:  # it counts from some place of its own: find the byte
            data = read_bytes(path, file=file, at=at, max_bytes=self._max_bytes, problems=problems)
            decode(data or b"", file=file, problems=problems)
        except (OSError, ValueError) as error:
            _unreadable(error, file=file, at=at, problems=problems)

    def _find(self, pattern: str, at: Place) -> list[Path]:
        """The paths, as people know them, sorted; those that leave the folder are problems."""
        if "\0" in pattern:
            self._problems.add("E201", at, "a NUL character in a path", hint="remove it")
            return []
        if not self._allow_outside and (Path(pattern).is_absolute() or ".." in Path(pattern).parts):
            self._outside(pattern, at)
            return []
        exact = self._shown / pattern
        if exact.exists():
            found = [exact]
        else:
            anchor = Path(exact.anchor) if Path(pattern).is_absolute() else self._shown
            plain = takewhile(lambda part: not set(part) & set("*?["), Path(pattern).parts)
            if not self._allow_outside and not self._is_inside(self._shown.joinpath(*plain)):
                self._outside(pattern, at)
                return []
            try:
                found = sorted(self._matches(anchor, pattern.removeprefix(exact.anchor)))
            except _TooManyError:
                self._problems.add("E110", at, f"more than {MAX_ENTRIES:,} names to look at", hint="name a folder")
                return []
            except (ValueError, OSError, NotImplementedError) as error:
                self._problems.add("E201", at, f"{pattern!r} is not a pattern: {error}", hint="write scenes/*.txt")
                return []
        if not found:
            what = "no file matches" if any(c in pattern for c in "*?[") else "there is no file"
            hint = f"paths are relative to {self._shown}/"
            self._problems.add("E201", at, f"{what} {pattern}", hint=hint)
        if len(found) > MAX_FILES:
            self._problems.add("E110", at, f"more than {MAX_FILES:,} files", hint="put the prompts into one .jsonl")
            return []
        if self._allow_outside:
            return found
        for path in found:
            if not self._is_inside(path):
                self._outside(str(path), at)
        return [path for path in found if self._is_inside(path)]

    def _matches(self, folder: Path, pattern: str) -> set[Path]:
        """The files a pattern names. It does not look into folders outside, which a link may lead to."""
        looked_at = count(1)

        def below(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
            if parts[0] == "**":
                yield from below(folder, parts[1:] or ("*",))
                for entry in folder.glob("*"):
                    if next(looked_at) > MAX_ENTRIES:
                        raise _TooManyError
                    if entry.is_dir() and not entry.is_symlink():
                        yield from below(entry, parts)
                return
            for entry in folder.glob(parts[0]):
                if next(looked_at) > MAX_ENTRIES:
                    raise _TooManyError
                if len(parts) == 1:
                    if entry.is_file():
                        yield entry
                elif entry.is_dir() and (self._allow_outside or self._is_inside(entry)):
                    yield from below(entry, parts[1:])

        plain = Path(pattern).parts
        parts = tuple(part for n, part in enumerate(plain) if part != "**" or n == 0 or plain[n - 1] != "**")
        return set(below(folder, parts)) if parts else set()

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._folder)

    def _outside(self, path: str, at: Place) -> None:
        hint = "move the file beside the manifest, or allow it with --allow-outside"
        self._problems.add("E202", at, f"{path} is outside the manifest's folder", hint=hint)
