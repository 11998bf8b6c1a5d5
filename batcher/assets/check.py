"""Whether a recorded file is still what it was: by its place, its size and its sha256. Reads, never writes."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING

from batcher import folders
from batcher.assets.disk import inside
from batcher.assets.place import sha256_of
from batcher.errors import DiskError

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.tasks import Asset


class Ailment(StrEnum):
    """What is wrong with a recorded file."""

    MISSING = "missing"
    SIZE = "another size"
    CONTENT = "same size, other content"
    NO_FILE = "no file, but something else"
    UNREADABLE = "cannot be read"
    OUTSIDE = "leads out of the folder"


def examine(root: Path, asset: Asset) -> Ailment | None:
    """Hold one recorded file below `root` against its record. None: it is whole."""
    try:
        path = inside(root, asset.path)
    except DiskError:
        return Ailment.OUTSIDE
    try:
        if path.is_symlink() and not folders.resolve(path).is_relative_to(folders.resolve(root)):
            return Ailment.OUTSIDE
        facts = os.stat(path)  # noqa: PTH116 - a pipe must not be opened, so its kind is asked first
        if not stat.S_ISREG(facts.st_mode):
            return Ailment.NO_FILE
        if facts.st_size != asset.size_bytes:
            return Ailment.SIZE
        return None if sha256_of(path) == asset.sha256 else Ailment.CONTENT
    except (FileNotFoundError, NotADirectoryError):
        return Ailment.MISSING
    except OSError:
        return Ailment.UNREADABLE
