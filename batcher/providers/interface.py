"""What batcher asks of a provider. Plugin authors implement `Provider`; nothing else is needed.

A provider answers in values (`batcher.generations`) and raises only for its own defects: every end of a
network call, garbage included, is a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from batcher.generations import Listing, Look, Posted


class Provider(Protocol):
    """One remote API that makes a video from a request."""

    scope: str
    """Names the account's world in a task's identity: `simulator`, `cometapi`, `cometapi@https://host`."""

    async def create(self, request: Mapping[str, Any], *, external_task_id: str) -> Posted:
        """Send one create call, once. Never retries, never looks anything up."""
        ...

    async def find(self, generation_id: str) -> Look:
        """Look at one generation by the provider's own id. Free."""
        ...

    async def find_external(self, external_task_id: str) -> Look:
        """Look at one generation by our id. Free; gateways exist that cannot do this."""
        ...

    async def list(self, *, page: int, size: int, wanted: Container[str] | None = None) -> Listing:
        """One page of the account's generations (`page` from 1, `size` at most 500). Free.

        `wanted`: only the generations of these ids (the provider's own) need be read.
        """
        ...
