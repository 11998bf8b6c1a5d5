"""The address that a provider posts to: what a person types, and the secret part at its end. Pure."""

from __future__ import annotations

import hmac
import re
from urllib.parse import urlsplit

from batcher.credentials import is_loopback
from batcher.errors import UsageError
from batcher.text import redact_url

PATH = "/callback/"


def full_url(given: str, token: str) -> str:
    """The whole address, where `given` may be that, or only where it begins (`https://host`, perhaps with a path).

    Raises `UsageError` for one that cannot be, or that ends in another state's token. A callback tells the signed
    address of a clip, so plain http is for this machine alone.
    """
    hint = "write it like https://host.example, or http://127.0.0.1:8080 for the simulator"
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]{1,2000}", given):
        raise UsageError("the callback URL is no http(s) address", hint=hint)
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError("the callback URL has more than a host and a path", hint=hint)
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"the callback URL {redact_url(hidden(given))} is not https: the signed addresses of clips would be"
            " posted in the clear",
            hint="put a proxy with a certificate before it, or leave callbacks out: polling does the same work",
        )
    base, found, told = given.rstrip("/").partition(PATH)
    if found and not is_token(told, token):
        raise UsageError("the callback URL ends in the token of another state", hint=f"give only  {base}")
    return f"{base}{PATH}{token}"


def is_token(told: str, token: str) -> bool:
    """Whether it is the token; the time this takes says nothing about where they differ."""
    return hmac.compare_digest(told.encode(errors="replace"), token.encode())


def hidden(text: str, token: str | None = None) -> str:
    """`text` with all but the first six characters of a token left out, for a log."""
    if token is not None:
        return text.replace(token, f"{token[:6]}...")
    return re.sub(rf"({re.escape(PATH)}[^/]{{0,6}})[^/]*", r"\1...", text)


def own_port(url: str) -> int | None:
    """The port to listen on, where the address is one of this machine's; 0 asks for a free one."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return None
    return (443 if parts.scheme == "https" else 80) if parts.port is None else parts.port


def with_port(url: str, port: int) -> str:
    """`url` at the port that was free, where it said 0."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.removesuffix(":0") + f":{port}").geturl() if parts.port == 0 else url
