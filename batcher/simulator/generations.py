"""One generation of the simulated provider, and what is true of it at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_LATE_URL_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A text2video task. Its whole future is drawn when it is created; nothing has to tick."""

    id: str
    """18 digits, growing with time."""
    account: str
    external_id: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    created_at: float
    """Unix seconds, as all times here."""
    starts_at: float
    ends_at: float | None
    """None: never."""
    failure: str = ""
    """Why it will fail; empty: it will succeed."""
    units: float = 0.0
    mark: str = ""
    """The `odd` fault it was born with."""

    def is_live(self, now: float) -> bool:
        """Whether it holds a slot."""
        return self.ends_at is None or now < self.ends_at

    def status(self, now: float) -> str:
        """Return the provider's word for it."""
        if not self.is_live(now):
            return "failed" if self.failure else "succeed"
        if now < self.starts_at:
            return "submitted"
        if self.mark == "unknown-status":
            return "rendering_stage_2"
        if self.mark == "backwards" and self.ends_at is not None:
            third = (self.ends_at - self.starts_at) / 3
            return "submitted" if third <= now - self.starts_at < 2 * third else "processing"
        return "processing"

    def updated_at(self, now: float) -> float:
        """Return when its status last changed."""
        if self.ends_at is not None and now >= self.ends_at:
            return self.ends_at
        return self.starts_at if now >= self.starts_at else self.created_at

    def is_gone(self, now: float) -> bool:
        """Whether the provider has forgotten it."""
        return self.mark == "vanishes" and now >= self.starts_at

    def videos(self, now: float) -> int:
        """Return how many videos a look shows."""
        if self.status(now) != "succeed":
            return 0
        return 2 if self.mark == "two-videos" else 1

    def has_url(self, now: float) -> bool:
        """Whether its videos have their URL yet."""
        wait = {"no-url": float("inf"), "late-url": _LATE_URL_S}.get(self.mark, 0.0)
        return self.ends_at is not None and now >= self.ends_at + wait
