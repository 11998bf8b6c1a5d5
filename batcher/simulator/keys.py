"""Who calls, and whether the key is good. Accounts are named by a hash: a key is never written down. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any

from batcher.simulator.replies import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.simulator.settings import Settings


def identify(headers: Mapping[str, str], settings: Settings, *, now: float) -> tuple[str, Refusal | None]:
    """Return the caller's account, and why its key is refused (None: it is good).

    A JWT stands for the access key that signed it. Its times are checked, its signature is not: no secret is shared.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return "nobody", Refusal(status=401, code=1001, message="Authorization is empty")
    claims = _claims(token)
    key = str(claims.get("iss") or token)
    return account_name(key), _judge(key, claims, settings, now)


def account_name(key: str) -> str:
    """Return the name of the account `key` opens."""
    return f"account-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _judge(key: str, claims: Mapping[str, Any], settings: Settings, now: float) -> Refusal | None:
    if settings.keys is not None and key not in settings.keys:
        return Refusal(status=401, code=1002, message="Authorization is invalid")
    if _is_after(claims.get("nbf"), now):
        return Refusal(status=401, code=1003, message="Authorization is not yet valid")
    if "exp" in claims and not _is_after(claims["exp"], now):
        return Refusal(status=401, code=1004, message="Authorization is expired")
    return None


def _is_after(time: object, now: float) -> bool:
    return isinstance(time, (int, float)) and time > now


def _claims(token: str) -> dict[str, Any]:
    """Return what a JWT claims; {} for any other key."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
