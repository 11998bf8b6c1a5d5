"""What opens an account: the key and the base URL, how they may look, what they are called. Sends nothing.

Apart from `http`, so that a command that asks nobody starts without an HTTP client.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from batcher.errors import ConfigurationError, MissingKeyError

BASE_URL = "https://api.cometapi.com"


def clean_key(text: str) -> str:
    """Strip a key and refuse what cannot stand in a header; no message ever quotes it.

    httpx would print the whole key in its own error.
    """
    key = text.strip()
    if not key:
        raise MissingKeyError("the API key is empty", hint="set COMETAPI_KEY, or rehearse with --provider simulator")
    for position, character in enumerate(key, start=1):
        if not "!" <= character <= "~":
            raise ConfigurationError(
                f"the API key has a blank, control or non-ASCII character at position {position} of {len(key)}",
                hint="paste it again into COMETAPI_KEY: the key alone, on one line",
            )
    return key


def key_fingerprint(key: str) -> str:
    """Name a key without telling it."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def normalise_base_url(text: str) -> str:
    """Bring a base URL into its one spelling: no trailing `/` or `/v1`, host in lower case, default port left out.

    Raises:
        ConfigurationError: not https (plain http is for loopback only), or more than origin and path.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port
    except ValueError:
        raise _bad_base_url("it is no URL") from None
    if parts.scheme not in ("https", "http"):
        raise _bad_base_url("it does not start with https://")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise _bad_base_url("it carries a user, a query or a fragment")
    is_ipv6 = ":" in host
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    host_pattern = r"[0-9a-f:.]+" if is_ipv6 else r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"
    if not text.isprintable() or not re.fullmatch(host_pattern, host) or not re.fullmatch(r"(?:/\w[\w.~-]*)*", path):
        raise _bad_base_url("its host or path has characters that do not belong there")
    if parts.scheme == "http" and not is_loopback(host):
        raise _bad_base_url("plain http would show the key to everybody on the way")
    default_port = 443 if parts.scheme == "https" else 80
    return "".join(
        (
            f"{parts.scheme}://",
            f"[{host}]" if is_ipv6 else host,
            f":{port}" if port not in (None, default_port) else "",
            path,
        )
    )


def _bad_base_url(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the base URL is not usable: {reason}", hint="set COMETAPI_BASE_URL like https://api.cometapi.com"
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address alone. `127.1` and its like are no addresses."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def scope_of(base_url: str) -> str:
    """Name the world that a base URL belongs to, as it stands in a task's identity."""
    parts = urlsplit(normalise_base_url(base_url))
    origin = f"{parts.scheme}://{parts.netloc}"
    return "cometapi" if origin == BASE_URL else f"cometapi@{origin}"
