"""The whole way: a job dies, the power goes, and the real command goes on from what is left."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from power.platter import Loss, Platter, lay_out
from power.recorder import Recorder

if TYPE_CHECKING:
    from storm import Storm


def dying_in(method: str) -> str:
    """A process that SIGKILL meets where it would write a step down: a method of the store."""
    return f"""
import os, signal
from batcher.state.store import Store
Store.{method} = lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL)
"""


def cut_the_power(storm: Storm, loss: Loss, *, kill: str = "", plant: str = "", seed: int = 0) -> bool:
    """Run until it dies, by `kill` (like `fsync:7`) or `plant`; then leave what the disk would have kept.

    The provider knows exactly what had reached it. False when the run ended before that.
    """
    record = Recorder(storm)
    process = record.run(kill=kill, plant=plant)
    assert process.returncode in (0, -9), process.stderr
    image = Platter(record).image(record.lines, loss, seed)
    for path in storm.folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    lay_out(image, storm.folder)
    return process.returncode == -9
