"""Which callback is due when, and how it is signed. Pure; nothing is sent here."""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.simulator.luck import luck

if TYPE_CHECKING:
    from batcher.simulator.generations import Generation
    from batcher.simulator.settings import Settings

_SHUFFLE_S = 0.2  # how long a reordered callback comes after the one that should have followed it


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One POST to make: that `generation` reached the status it has at `told_at`."""

    id: str
    generation: Generation
    told_at: float
    origin: str
    """Scheme and host of the create call; the asset URLs begin with it."""

    @property
    def url(self) -> str:
        return str(self.generation.request["callback_url"])


class Outbox:
    """The callbacks to come, soonest first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._heap: list[tuple[float, int, Callback]] = []
        self._count = 0

    def plan(self, generation: Generation, origin: str) -> None:
        """Plan one callback for each change of status, as the moods have it."""
        if not self._settings.callbacks or not generation.request.get("callback_url"):
            return
        times = [generation.created_at, generation.starts_at]
        if generation.ends_at is not None:
            times.append(generation.ends_at)
        for number, told_at in enumerate(times):
            rng = luck(self._settings.seed, generation.external_id or generation.id, "callback", number)
            moods = {mood for mood, chance in self._settings.callback_moods.items() if rng.random() < chance}
            due = told_at
            if "reordered" in moods and number + 1 < len(times):
                due = times[number + 1] + _SHUFFLE_S
            if "early" in moods:
                due = generation.created_at
            callback = Callback(id=f"{generation.id}-{number}", generation=generation, told_at=told_at, origin=origin)
            for _ in range(0 if "lost" in moods else 2 if "duplicate" in moods else 1):
                self._count += 1
                heapq.heappush(self._heap, (due, self._count, callback))

    def due(self, now: float) -> list[Callback]:
        """Take out what is due."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            taken.append(heapq.heappop(self._heap)[2])
        return taken

    def next_at(self) -> float | None:
        """Return when the next one is due, Unix seconds."""
        return self._heap[0][0] if self._heap else None


def sign(secret: str, *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks for `body`, signed with a `whsec_...` secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
