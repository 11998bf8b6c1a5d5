"""strace's log of a process, read back: which calls it made, in which order, with every byte it wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TRACED = (
    "openat,open,creat,openat2,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,rename,renameat,"
    "renameat2,link,linkat,unlink,unlinkat,symlink,symlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sync,syncfs,"
    "sync_file_range,fallocate,copy_file_range,sendfile,splice,msync,mmap,close,dup,dup2,dup3,fcntl,sendto,sendmsg,"
    "clone,clone3,fork,vfork,io_uring_setup"
)
"""All that can change a file or make a change last, and what tells of requests and of children."""

ALL = 1_000_000_000
"""The result of a call that was cut short: every byte written, or a descriptor that nobody uses."""

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (\?|-?\d+|0x[0-9a-f]+)(.*)", re.DOTALL)
_CUT = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>", re.DOTALL)
_REST = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (\?|-?\d+|0x[0-9a-f]+)(.*)", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FOLDER = re.compile(r"(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that came to an end. `began` and `ended` are lines of the log: threads overlap."""

    pid: int
    name: str
    args: str
    result: int
    began: int
    ended: int

    @property
    def texts(self) -> list[bytes]:
        """Its strings, byte for byte."""
        return [bytes.fromhex(found.replace("\\x", "")) for found in _TEXT.findall(self.args)]

    @property
    def fd(self) -> int:
        """The file descriptor that is its first argument."""
        return int(re.match(r"-?\d+", self.args)[0])

    @property
    def folders(self) -> list[str]:
        """The paths of the descriptors among its arguments, the working directory included."""
        return [bytes.fromhex(path.replace("\\x", "")).decode() for _, path in _FOLDER.findall(self.args)]


def read(lines: Iterable[str], *, first: int) -> tuple[list[Call], list[Call]]:
    """The calls that succeeded, as they ended; and those that death cut short, as if they had come through.

    `first` is the number of the first line.
    """
    calls, open_calls, at = [], {}, first
    for at, line in enumerate(lines, first):
        if match := _CUT.match(line):
            pid, name, args = match.groups()
            open_calls[int(pid)] = (name, args, at)
            continue
        if match := _REST.match(line):
            pid, name, rest, result, _ = match.groups()
            began_name, args, began = open_calls.pop(int(pid))
            assert began_name == name, line
            args += rest
        elif match := _WHOLE.match(line):
            pid, name, args, result, _ = match.groups()
            began = at
        else:
            continue  # a signal, or an end
        if result == "?":
            open_calls[int(pid)] = (name, args, began)
        elif not result.startswith("-"):
            number = int(result, 16 if result.startswith("0x") else 10)
            calls.append(Call(pid=int(pid), name=name, args=args, result=number, began=began, ended=at))
    cut = [
        Call(pid=pid, name=name, args=args, result=ALL, began=began, ended=at)
        for pid, (name, args, began) in open_calls.items()
    ]
    return calls, cut


def of_one_process(calls: list[Call]) -> Iterator[Call]:
    """Without what children did (a search for a shared library, say): they have descriptors of their own."""
    children = {
        call.result
        for call in calls
        if call.name in ("vfork", "fork") or (call.name in ("clone", "clone3") and "CLONE_THREAD" not in call.args)
    }
    return (call for call in calls if call.pid not in children)
