"""Run a file of prompts through a text-to-video API: never pay twice, never lose a clip you paid for.

The public names; everything else may change any day. They are loaded when they are first used, so that
`import batcher` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from batcher.api import OpenJob, open, run  # noqa: A004 - read as batcher.open
    from batcher.errors import BatcherError
    from batcher.events import Event, EventKind, Summary
    from batcher.tasks import Status, Task

_HOMES = {
    "BatcherError": "batcher.errors",
    "Event": "batcher.events",
    "EventKind": "batcher.events",
    "OpenJob": "batcher.api",
    "Status": "batcher.tasks",
    "Summary": "batcher.events",
    "Task": "batcher.tasks",
    "open": "batcher.api",
    "run": "batcher.api",
}

__all__ = ["BatcherError", "Event", "EventKind", "OpenJob", "Status", "Summary", "Task", "open", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'batcher' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
