"""What a person may set for one run, on the command line or in a call. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the command line or a caller of the library may set for one run; None: as the manifest says."""

    concurrency: int | None = None
    timeout_s: float | None = None
    deadline_s: float | None = None
    fail_fast: bool = False
    max_failures: float | None = None
    """An int counts tasks, a float is a share of them."""
    limit: int | None = None
    canary: int = 0
    submit_only: bool = False
    max_usd: float | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    out: Path | None = None
    adopt_orphans: bool = False
    buy_again: bool = False
