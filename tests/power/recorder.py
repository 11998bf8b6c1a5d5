"""A job under strace: what it asked of the disk, what it sent and what it said, in one order."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from power import calls
from power.calls import Call

if TYPE_CHECKING:
    from storm import Storm

RECEIPTS = ".batcher-receipts.jsonl"
ROOT = 1
"""The job's folder among the inodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One step of the job. `began` and `ended` are lines of the log.

    kind: `write` and `size` (of a file's content), `names` (entries of folders, changed at once), `sync`; `post` (a
    create call, from its first byte) and `told` (an event the command reported).
    """

    kind: str
    began: int
    ended: int
    disk: str = ""
    """`out` for what lies in the output folder, else `state`."""
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    names: tuple[tuple[int, str, int], ...] = ()
    """Folder, name, and the inode it stands for from now on; 0 for none."""
    event: dict[str, Any] = field(default_factory=dict)
    what: str = ""


@dataclass(slots=True)
class _Handle:
    """An open file."""

    inode: int
    appends: bool
    opened: int
    """The line that says so."""
    offset: int = 0


class UnmodelledError(AssertionError):
    """The job did something to its folder that the replay cannot play back."""


class Recorder:
    """Records run after run in one folder. With nothing lost, its model is that folder, byte for byte."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.folder = storm.folder.resolve()
        self.ops: list[Op] = []
        self.lines = 0
        self.base: dict[int, bytes] = {}
        """What files held before the first recorded run."""
        self.base_names: dict[tuple[int, str], int] = {}
        self.removed: dict[str, int] = {}
        """What a person deleted between runs, and from which line on."""
        self.folders = {ROOT}
        self.names: dict[tuple[int, str], int] = {}
        self.contents: dict[int, bytearray] = {}
        self._numbers = itertools.count(ROOT + 1)
        self._handles: dict[int, _Handle] = {}
        self._heads: dict[int, int] = {}
        self._said = b""
        self._take_stock()

    def run(self, *more: str, kill: str = "", plant: str = "") -> subprocess.CompletedProcess:
        """One `batcher run` under strace, its events read. `kill` is like `fsync:7`: it dies entering that call.

        `plant` is Python code that runs before the command starts.
        """
        program = ["-c", f"{plant}\nfrom batcher.__main__ import main\nmain()"] if plant else ["-m", "batcher"]
        log = self.folder.parent / f"{self.folder.name}.strace"
        process = subprocess.run(
            [*_tracer(log, kill), sys.executable, *program, "run", "storm.yaml", "--json", *more],
            cwd=self.folder,
            env=self.storm.environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        with log.open(encoding="ascii", errors="replace") as file:
            lines = file.readlines()
        log.unlink()
        done, cut = calls.read(lines, first=self.lines + 1)
        self.lines += len(lines) + 1
        self._handles, self._heads, self._said = {}, {}, b""
        for call in calls.of_one_process(done):
            getattr(self, f"_{call.name}", self._other)(call)
        self._compare(cut)
        self.ops.sort(key=lambda op: op.ended)
        return process

    def remove(self, path: str) -> None:
        """Somebody deletes a file between two runs, and long before the power goes."""
        (self.folder / path).unlink()
        self.lines += 2
        folder, name = self._place(path)
        change = ((folder, name, 0),)
        del self.names[folder, name]
        self.removed[path] = self.lines - 1
        disk = _disk_of(path)
        self.ops += [
            Op(kind="names", began=self.lines - 1, ended=self.lines - 1, disk=disk, names=change, what=f"rm {path}"),
            Op(kind="sync", began=self.lines, ended=self.lines, disk=disk, inode=folder, what=f"rm {path}"),
        ]

    # ---- the folder, outside the process ----------------------------------------------------------------------

    def _take_stock(self) -> None:
        inodes = {self.folder: ROOT}
        for folder, subfolders, files in os.walk(self.folder):
            for name in [*subfolders, *files]:
                path = Path(folder, name)
                inode = inodes[path] = next(self._numbers)
                self.base_names[inodes[Path(folder)], name] = inode
                if name in subfolders:
                    self.folders.add(inode)
                else:
                    self.base[inode] = path.read_bytes()
        self.names = dict(self.base_names)
        self.contents = {inode: bytearray(data) for inode, data in self.base.items()}

    def _compare(self, cut: list[Call]) -> None:
        """Raise where the model is not the folder. What death cut short may have happened or not: the folder says."""
        if self._odd() and cut:
            for call in cut:
                getattr(self, f"_{call.name}", self._other)(call)
        if odd := self._odd():
            raise UnmodelledError(f"the record differs from the folder in {odd} (cut: {[call.name for call in cut]})")

    def _odd(self) -> list[str]:
        found = {}
        for folder, _, files in os.walk(self.folder):
            for name in files:
                path = Path(folder, name)
                found[str(path.relative_to(self.folder))] = path.read_bytes()
        model = {path: bytes(self.contents[inode]) for path, inode in self.walk(self.names) if inode in self.contents}
        return [p for p in found.keys() | model.keys() if not _is_alike(p, found.get(p), model.get(p))]

    def walk(self, names: dict[tuple[int, str], int]) -> list[tuple[str, int]]:
        """Every path and its inode, folders too, as these names have it."""
        by_folder: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), inode in names.items():
            by_folder.setdefault(folder, []).append((name, inode))
        found, todo = [], [("", ROOT)]
        while todo:
            prefix, folder = todo.pop()
            for name, inode in by_folder.get(folder, ()):
                found.append((prefix + name, inode))
                if inode in self.folders:
                    todo.append((f"{prefix}{name}/", inode))
        return found

    # ---- what the process did ---------------------------------------------------------------------------------

    def _inside(self, path: str, base: str | None = None) -> str | None:
        """The path below the job's folder; None where it is elsewhere."""
        whole = os.path.normpath(Path(base or self.folder, path))
        root = str(self.folder)
        return os.path.relpath(whole, root) if whole == root or whole.startswith(f"{root}/") else None

    def _place(self, path: str) -> tuple[int, str]:
        folder = ROOT
        *parents, name = path.split("/")
        for parent in parents:
            folder = self.names[folder, parent]
        return folder, name

    def _paths(self, call: Call) -> list[str | None]:
        """The paths a call names, below the job's folder or None."""
        bases = [path for path in call.folders if not path.startswith(("pipe:", "socket:"))]
        texts = [text.decode(errors="replace") for text in call.texts]
        return [self._inside(text, bases[i] if i < len(bases) else None) for i, text in enumerate(texts)]

    def _note(self, kind: str, call: Call, path: str = "", **more: Any) -> None:
        disk = _disk_of(path)
        what = f"{call.name} {path}".strip()
        self.ops.append(Op(kind=kind, began=call.began, ended=call.ended, disk=disk, what=what, **more))

    def _rename_all(self, call: Call, path: str, *changes: tuple[str, int]) -> None:
        """Change names; 0 stands for none."""
        names = tuple((*self._place(changed), inode) for changed, inode in changes)
        for folder, name, inode in names:
            if inode:
                self.names[folder, name] = inode
            else:
                del self.names[folder, name]
        self._note("names", call, path, names=names)

    def _path_of(self, inode: int) -> str:
        return next((path for path, other in self.walk(self.names) if other == inode), "." if inode == ROOT else "?")

    def _openat(self, call: Call) -> None:
        (path,) = self._paths(call)
        if path is None:
            return
        appends = "O_APPEND" in call.args
        if "O_TMPFILE" in call.args:
            inode = next(self._numbers)
            self.contents[inode] = bytearray()
        elif path == ".":
            inode = ROOT
        else:
            inode = self.names.get(self._place(path), 0)
            if not inode:
                assert "O_CREAT" in call.args, call.args
                inode = next(self._numbers)
                self.contents[inode] = bytearray()
                self._rename_all(call, path, (path, inode))
            elif "O_TRUNC" in call.args:
                self._resize(call, path, inode, 0)
        self._handles[call.result] = _Handle(inode=inode, appends=appends, opened=call.ended)

    _open = _openat

    def _close(self, call: Call) -> None:
        handle = self._handles.get(call.fd)
        if handle and handle.opened < call.began:  # else the number is another thread's by now, who was told first
            del self._handles[call.fd]

    def _lseek(self, call: Call) -> None:
        if handle := self._handles.get(call.fd):
            handle.offset = call.result

    def _write(self, call: Call) -> None:
        handle = self._handles.get(call.fd)
        data = b"".join(call.texts)[: call.result]
        if handle:
            offset = len(self.contents[handle.inode]) if handle.appends else handle.offset
            self._put(call, handle.inode, offset, data)
            handle.offset = offset + len(data)
        elif call.fd == 1:
            self._say(call, data)

    _writev = _write

    def _pwrite64(self, call: Call) -> None:
        if handle := self._handles.get(call.fd):
            offset = int(call.args.rpartition(", ")[2])
            self._put(call, handle.inode, offset, b"".join(call.texts)[: call.result])

    def _put(self, call: Call, inode: int, offset: int, data: bytes) -> None:
        content = self.contents[inode]
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
        self._note("write", call, self._path_of(inode), inode=inode, offset=offset, data=data)

    def _ftruncate(self, call: Call) -> None:
        if handle := self._handles.get(call.fd):
            size = int(call.args.rpartition(", ")[2], 0)
            self._resize(call, self._path_of(handle.inode), handle.inode, size)

    def _resize(self, call: Call, path: str, inode: int, size: int) -> None:
        content = self.contents[inode]
        del content[size:]
        content.extend(bytes(size - len(content)))
        self._note("size", call, path, inode=inode, offset=size)

    def _fsync(self, call: Call) -> None:
        if handle := self._handles.get(call.fd):
            self._note("sync", call, self._path_of(handle.inode), inode=handle.inode)

    _fdatasync = _fsync

    def _mkdir(self, call: Call) -> None:
        (path,) = self._paths(call)
        if path is not None:
            inode = next(self._numbers)
            self.folders.add(inode)
            self._rename_all(call, path, (path, inode))

    _mkdirat = _mkdir

    def _unlink(self, call: Call) -> None:
        (path,) = self._paths(call)
        if path is not None:
            self._rename_all(call, path, (path, 0))

    _unlinkat = _rmdir = _unlink

    def _rename(self, call: Call) -> None:
        old, new = self._paths(call)
        if old is not None and new is not None:
            self._rename_all(call, new, (new, self.names[self._place(old)]), (old, 0))
        elif (old, new) != (None, None):
            raise UnmodelledError(call.name)

    _renameat = _renameat2 = _rename

    def _link(self, call: Call) -> None:
        old, new = self._paths(call)
        if old is not None and new is not None:
            self._rename_all(call, new, (new, self.names[self._place(old)]))

    _linkat = _link

    def _sendto(self, call: Call) -> None:
        data = b"".join(call.texts)
        if data.startswith(b"POST "):
            self._heads[call.fd] = call.began
        found = re.search(rb'"external_task_id": ?"([^"]+)"', data)
        if found and call.fd in self._heads:
            event = {"id": found[1].decode()}
            op = Op(
                kind="post", began=self._heads.pop(call.fd), ended=call.ended, event=event, what=f"POST {event['id']}"
            )
            self.ops.append(op)

    _sendmsg = _sendto

    def _say(self, call: Call, data: bytes) -> None:
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            self._note("told", call, event["event"], event=event)

    def _mmap(self, call: Call) -> None:
        parts = call.args.split(", ")
        is_shared = "PROT_WRITE" in parts[2] and "MAP_SHARED" in parts[3]
        if is_shared and not parts[4].startswith("-1") and int(parts[4].partition("<")[0]) in self._handles:
            self._refuse_unless_shared_memory(call)

    def _fallocate(self, call: Call) -> None:
        """Room set aside changes neither what a file holds nor how long it is; any other kind of this call would."""
        if "FALLOC_FL_KEEP_SIZE" not in call.args:
            self._other(call)

    def _fcntl(self, call: Call) -> None:
        if "F_DUPFD" in call.args:
            self._other(call)

    def _other(self, call: Call) -> None:
        """Anything else is no concern of ours, unless it is about the job's folder."""
        if call.name in ("sync", "syncfs", "io_uring_setup"):
            raise UnmodelledError(call.name)
        if any(path not in (None, ".") for path in [*map(self._inside, call.folders), *self._paths(call)]):
            self._refuse_unless_shared_memory(call)

    def _refuse_unless_shared_memory(self, call: Call) -> None:
        if not any(is_shared_memory(path) for path in call.folders):
            raise UnmodelledError(f"{call.name}: {call.folders}")


def _disk_of(path: str) -> str:
    return "out" if path.split("/", maxsplit=1)[0] == "out" else "state"


def _tracer(log: Path, kill: str) -> list[str]:
    traced = ",".join(f"?{name}" for name in calls.TRACED.split(","))  # not every machine has all of them
    command = ["strace", "-f", "-y", "-xx", "-s", "100000000", "-o", str(log), "-e", "signal=none"]
    command += ["-e", f"trace={traced}"]
    if not kill:
        return [*command, "--seccomp-bpf"]  # faster, but with it nothing can be injected
    name, _, number = kill.partition(":")
    return [*command, "-e", f"inject={name}:signal=KILL:when={number}"]


def is_shared_memory(path: str) -> bool:
    """SQLite's index of its log: mapped memory, made anew from the log after a crash."""
    return path.endswith("-shm")


def need_strace(tmp_path: Path) -> None:
    """Skip where processes cannot be traced; where CI is set that is a failure."""
    reason = ""
    if shutil.which("strace") is None:
        reason = "strace is not installed: apt-get install strace"
    else:
        command = ["strace", "-f", "--seccomp-bpf", "-o", str(tmp_path / "probe"), "true"]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if probe.returncode:
            reason = f"strace may not trace here (ptrace is forbidden?): {probe.stderr.strip()[:200]}"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _is_alike(path: str, found: bytes | None, model: bytes | None) -> bool:
    """Receipts are appended by two threads at once, and the trace does not tell who was first: their lines count."""
    if path.endswith(RECEIPTS) and found and model:
        return sorted(found.splitlines()) == sorted(model.splitlines())
    return found == model or is_shared_memory(path)
