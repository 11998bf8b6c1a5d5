"""What a power cut leaves of a recorded job: everything that was synced, and of the rest whatever chance keeps."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from power.recorder import Op, Recorder, is_shared_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECTOR, PAGE = 512, 4096

Image = dict[str, bytes | None]
"""Path to content; None for a folder."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One way to lose what was not synced."""

    name: str
    contents: str
    """`synced`, `all`, `sectors` or `pages` (some of them), `holes` (the synced bytes in a file of full length)."""
    names: str
    """`synced` (POSIX: only a sync of the folder keeps a name), `all`, `some`, or `journal` (ext4: a name that is
    kept keeps all older ones, and the sync of a new file keeps its name)."""


STRICT = Loss("nothing that was not synced", "synced", "synced")
NAMES = Loss("names only", "synced", "all")
HOLES = Loss("names and lengths", "holes", "all")
CONTENTS = Loss("contents only", "all", "synced")
SECTORS = Loss("torn sectors, some names", "sectors", "some")
PAGES = Loss("some pages, ext4's journal", "pages", "journal")
NOTHING = Loss("nothing lost", "all", "all")
LOSSES = (STRICT, NAMES, HOLES, CONTENTS, SECTORS, PAGES, NOTHING)


class Platter:
    """A recorded job, and the images that a power cut at any of its moments could leave."""

    def __init__(self, record: Recorder, *, without: Callable[[Op], bool] = lambda op: False) -> None:
        """`without` names syncs that are left out: the record of a job that forgets them."""
        self.record = record
        self.ops = [op for op in record.ops if not (op.kind == "sync" and without(op))]
        syncs = defaultdict(list)
        for op in self.ops:
            if op.kind == "sync":
                syncs[op.inode].append(op)

        def synced(op: Op, inode: int) -> float:
            """The line from which on this step is safe, as `inode` was synced after it."""
            return min((s.ended for s in syncs[inode] if s.began > op.ended), default=math.inf)

        self._writes: dict[int, list[tuple[Op, float]]] = defaultdict(list)
        self._names: list[tuple[Op, float, float]] = []
        for op in self.ops:
            if op.kind in ("write", "size"):
                self._writes[op.inode].append((op, synced(op, op.inode)))
            elif op.kind == "names":
                strict = max(synced(op, folder) for folder, _, _ in op.names)
                files = [synced(op, inode) for _, _, inode in op.names if inode]
                self._names.append((op, strict, min([strict, *files])))
        oldest: dict[str, float] = defaultdict(lambda: math.inf)
        for i in range(len(self._names) - 1, -1, -1):  # a journal keeps what is older than what it keeps
            op, strict, journal = self._names[i]
            oldest[op.disk] = min(oldest[op.disk], journal)
            self._names[i] = (op, strict, oldest[op.disk])

    def moments(self) -> list[int]:
        """Lines of the log after which something differs: each step's end, and the first byte of each create call."""
        return sorted({op.began if op.kind == "post" else op.ended for op in self.ops if op.kind != "told"})

    def image(self, at: int, loss: Loss | dict[str, Loss], seed: int = 0) -> Image:
        """The folder as it is found after the power went at line `at`; `loss` may differ by disk."""
        by_disk = {"state": loss, "out": loss} if isinstance(loss, Loss) else loss
        rng = random.Random(f"{seed} {at} {by_disk['state'].name} {by_disk['out'].name}")
        names = self._names_left(at, by_disk, rng)
        image: Image = {}
        for path, inode in self.record.walk(names):
            if inode in self.record.folders:
                image[path] = None
            elif not is_shared_memory(path):
                image[path] = self._content_left(inode, at, by_disk, rng)
        return image

    def _names_left(self, at: int, by_disk: dict[str, Loss], rng: random.Random) -> dict[tuple[int, str], int]:
        seen = [entry for entry in self._names if entry[0].began <= at]
        journal = {}
        for disk, loss in by_disk.items():
            mine = [i for i, entry in enumerate(seen) if entry[0].disk == disk]
            floor = max((i for i in mine if seen[i][2] <= at), default=-1)
            journal[disk] = rng.choice([floor, *(i for i in mine if i > floor)]) if loss.names == "journal" else floor
        share = rng.choice((0.1, 0.5, 0.9))
        names = dict(self.record.base_names)
        for i, (op, strict, _) in enumerate(seen):
            kept = {
                "synced": strict <= at,
                "all": True,
                "some": strict <= at or rng.random() < share,
                "journal": i <= journal[op.disk],
            }[by_disk[op.disk].names]
            if not kept:
                continue
            for folder, name, inode in op.names:
                if inode:
                    names[folder, name] = inode
                else:
                    names.pop((folder, name), None)
        return names

    def _content_left(self, inode: int, at: int, by_disk: dict[str, Loss], rng: random.Random) -> bytes:
        content = bytearray(self.record.base.get(inode, b""))
        share, length = rng.choice((0.1, 0.5, 0.9)), len(content)
        for op, safe in self._writes[inode]:
            if op.began > at:
                break
            how = by_disk[op.disk].contents
            length = op.offset if op.kind == "size" else max(length, op.offset + len(op.data))
            if safe <= at or how == "all":
                _apply(content, op)
            elif how in ("sectors", "pages"):
                for piece in _pieces(op, SECTOR if how == "sectors" else PAGE):
                    if rng.random() < share:
                        _apply(content, piece)
            elif how == "holes" and op.kind == "write":
                content.extend(bytes(max(0, length - len(content))))
        return bytes(content)


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "size":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
    else:
        content.extend(bytes(max(0, op.offset - len(content))))
        content[op.offset : op.offset + len(op.data)] = op.data


def _pieces(op: Op, size: int) -> Iterable[Op]:
    """A write in the pieces that a disk takes at once."""
    if op.kind == "size":
        yield op
        return
    start = op.offset
    while start < op.offset + len(op.data):
        end = min((start // size + 1) * size, op.offset + len(op.data))
        data = op.data[start - op.offset : end - op.offset]
        yield Op(kind="write", began=op.began, ended=op.ended, offset=start, data=data)
        start = end


def lay_out(image: Image, folder: Path) -> None:
    """Make the image a real folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in sorted(image.items()):
        if data is None:
            (folder / path).mkdir(exist_ok=True)
        else:
            (folder / path).write_bytes(data)
