"""Which files and folders are synced, as a test watches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def watch_syncs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """From now on each path that is synced by Python, in its order; SQLite's own calls do not show."""
    found: list[Path] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        found.append(Path(f"/proc/self/fd/{fd}").readlink())
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return found
