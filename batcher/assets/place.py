"""The three names of one clip on disk, and who has them: nobody, we, or somebody else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher import folders
from batcher.assets import mp4
from batcher.assets.disk import write_whole
from batcher.assets.sidecar import Claim, parse

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.assets.disk import Part

_MAX_SIDECAR_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A path without its extension.

    The sidecar is the deed to all three names. It is published first and says the clip's sha256, so a clip under
    its final name is known to be ours even when the state is lost.
    """

    stem: Path

    @property
    def video(self) -> Path:
        return self._named(".mp4")

    @property
    def sidecar(self) -> Path:
        return self._named(".json")

    @property
    def poster(self) -> Path:
        return self._named(".jpg")

    def publish(self, part: Part, *, owner: str, sha256: str, note: bytes, picture: bytes | None) -> bool:
        """Give `owner` the three names, durably. False, and nothing changed, where somebody else has one of them."""
        is_ours = self._is_claimed_by(owner)
        if not is_ours and any(map(os.path.lexists, (self.sidecar, self.poster))):
            return False
        is_taken = os.path.lexists(self.video)
        is_here = is_taken and _has(self.video, part.path.stat().st_size, sha256)
        if is_taken and not is_here and not (is_ours and _is_wreck(self.video)):
            return False  # edited by hand, or not ours at all: both are kept
        try:
            write_whole(self.sidecar, note, replace=is_ours)
            if not is_taken:
                part.publish(self.video)
            elif not is_here:
                part.replace(self.video)
        except FileExistsError:  # it came in this very moment; a sidecar without its clip claims nothing
            return False
        if picture:
            write_whole(self.poster, picture)
        folders.sync(self.stem.parent)
        return True

    def find(self, owner: str) -> Claim | None:
        """The claim of `owner` on a clip that is here, byte for byte."""
        claim = read_claim(self.sidecar)
        if claim and claim.external_task_id == owner and _has(self.video, claim.size_bytes, claim.sha256):
            return claim
        return None

    def _is_claimed_by(self, owner: str) -> bool:
        claim = read_claim(self.sidecar)
        return claim is not None and claim.external_task_id == owner

    def _named(self, suffix: str) -> Path:
        return self.stem.with_name(self.stem.name + suffix)  # with_suffix would eat a name's own dot


def read_claim(path: Path) -> Claim | None:
    """What a file says as a sidecar; None where it is none of ours, or there is no file."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_SIDECAR_BYTES:
            return None
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(path: Path, size_bytes: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes and sha256_of(path) == sha256


def _is_wreck(path: Path) -> bool:
    """Whether what stands there is no whole clip: ours, and damaged since, rather than somebody's work."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        mp4.check(path)
    except mp4.BrokenClipError:
        return True
    return False
