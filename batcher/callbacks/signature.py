"""Signatures of callbacks by Standard Webhooks. Pure, with `now` as an argument.

Not the package `standardwebhooks` (1.1.0): its `verify` asks the clock itself, lets ValueError through for headers of
an enemy's making, and leaves repeated messages to the caller.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE_S = 300
"""A message is good for so long before and after its time (Standard Webhooks; Kling's page says the same)."""

MAX_SEEN = 10_000
"""Messages remembered, so that a repeated one wakes nothing. An older one repeated costs one look."""

MAX_SIGNATURES = 10
"""Several signatures stand in one header while a secret is being replaced: two, that is."""


def key_of(secret: str) -> bytes:
    """The key in a `whsec_...` secret. Raises ValueError where there is none."""
    text = secret.strip().removeprefix("whsec_")
    key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if not key:
        raise ValueError("empty")
    return key


class Verifier:
    """Knows the key, and the messages it has let through."""

    def __init__(self, secret: str) -> None:
        self._key = key_of(secret)
        self._seen: dict[str, None] = {}

    def accepts(self, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
        """Whether who holds the secret sent exactly these bytes, lately, and not before. `now`: Unix seconds."""
        message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not message_id or not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > TOLERANCE_S:
            return False
        signed = f"{message_id}.{timestamp}.".encode() + body
        wanted = hmac.digest(self._key, signed, hashlib.sha256)
        words = headers.get("webhook-signature", "").split()[:MAX_SIGNATURES]
        if not any(hmac.compare_digest(wanted, _signature(word)) for word in words) or message_id in self._seen:
            return False
        self._seen[message_id] = None
        if len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        return True


def _signature(word: str) -> bytes:
    """The bytes of `v1,BASE64`; none of another version or of what is no base64."""
    version, _, text = word.partition(",")
    try:
        return base64.b64decode(text, validate=True) if version == "v1" else b""
    except (binascii.Error, ValueError):
        return b""
