"""A small disk of its own, which can be filled to the last byte and emptied again."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = os.sysconf("SC_PAGE_SIZE")
ROOMY = "size=400m"


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs. Its size follows what lies on it, so that full needs no memory."""

    path: Path

    def fill(self, spare_pages: int = 0) -> None:
        """Leave so many pages free, from this moment on."""
        while True:
            stat = os.statvfs(self.path)
            used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
            if self._remount(f"size={used + spare_pages * PAGE}"):
                return  # else somebody wrote meanwhile: less than is used is refused

    def free(self) -> None:
        assert self._remount(ROOMY)

    def read_only(self) -> None:
        assert self._remount("ro")

    def _remount(self, options: str) -> bool:
        command = ["mount", "-o", f"remount,{options}", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ROOMY, "batcher-test", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        reason = f"a small disk cannot be mounted here: {mounted.stderr.strip()}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    yield SmallDisk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)
