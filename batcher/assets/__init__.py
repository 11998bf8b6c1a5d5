"""What becomes of a finished generation on disk: the clip, its sidecar and poster, and what outlives a lost state."""

from batcher.assets.check import Ailment
from batcher.assets.disk import space_for
from batcher.assets.folder import Folder
from batcher.assets.mp4 import BrokenClipError
from batcher.assets.receipts import Receipt, Receipts

__all__ = ["Ailment", "BrokenClipError", "Folder", "Receipt", "Receipts", "space_for"]
