"""Which URLs and addresses a clip may come from. Pure.

The URL stands in a provider's reply, so it may name anything this machine can reach. Two checks, both needed:
`check_url` before a name is resolved, `check_address` on every address that it resolves to.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urlsplit

from batcher import credentials
from batcher.fetch.interface import FetchError, FetchFault

KLING_HOSTS = ("klingai.com",)
"""Where Kling's clips lie (v15-kling-fdl.klingai.com and others, seen 2025-12 to 2026-01)."""

# A name of at least two labels whose last one is no number: what inet_aton takes for an address never matches.
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # the only part of IPv6 given out so far (RFC 4291, IANA)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address meant


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """What may be fetched, and how long it may take."""

    hosts: tuple[str, ...] = KLING_HOSTS
    """A clip's host is one of these or ends with a dot and one of these."""
    allow_loopback: bool = False
    """This machine's own servers, over http too: for the simulator only."""
    max_bytes: int = 500_000_000
    deadline_s: float = 600.0
    """For the whole download, redirects included."""
    idle_s: float = 30.0
    """Longest silence of the server."""
    max_hops: int = 3
    """Redirects followed; each is checked like the first URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that passed `check_url`, taken apart."""

    host: str
    port: int
    path: str = field(repr=False)
    """With the query: a secret."""
    is_tls: bool
    is_loopback: bool
    """Names this machine on purpose: its addresses must be loopback ones, all others must be public."""

    @property
    def authority(self) -> str:
        """The Host header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def check_url(url: str, policy: FetchPolicy) -> Target:
    """Take a URL apart, or raise `FetchError` with `FORBIDDEN_URL` where it may not be fetched."""
    if any(char <= " " or char == "\x7f" for char in url):  # urlsplit drops some of them silently
        raise _forbidden("it holds a space or a control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _forbidden("it is not well formed") from None
    is_loopback = policy.allow_loopback and credentials.is_loopback(host)
    if parts.username is not None or parts.password is not None:
        raise _forbidden("it holds a user name")
    if parts.scheme != "https" and not (is_loopback and parts.scheme == "http"):
        raise _forbidden(f"{parts.scheme or 'no scheme'} instead of https")
    if not is_loopback:
        if not _NAME.fullmatch(host):
            raise _forbidden(f"{host!r} is not the name of a public host")
        if not any(host == allowed or host.endswith("." + allowed) for allowed in policy.hosts):
            raise _forbidden(f"{host} is none of the allowed hosts ({', '.join(policy.hosts)})")
        if port not in (None, 443):
            raise _forbidden(f"port {port} instead of 443")
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        host=host,
        port=port or (443 if is_tls else 80),
        path=quote(path, safe=string.punctuation),  # a signature covers the bytes: only what HTTP forbids changes
        is_tls=is_tls,
        is_loopback=is_loopback,
    )


def check_address(address: str, target: Target) -> None:
    """Raise `FetchError` with `FORBIDDEN_URL` unless `target` may be reached at this address."""
    try:
        ip = ip_address(address)
    except ValueError:
        raise _forbidden(f"{target.host} leads to {address!r}") from None
    if not (ip.is_loopback if target.is_loopback else _is_public(ip)):
        raise _forbidden(f"{target.host} leads to the internal address {ip}")


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip in _NAT64:  # networks without IPv4 reach all of it through these
        return _is_public(IPv4Address(int(ip) & 0xFFFF_FFFF))
    return ip in _GLOBAL_UNICAST and ip.is_global and ip.sixtofour is None


def _forbidden(reason: str) -> FetchError:
    return FetchError(FetchFault.FORBIDDEN_URL, f"the clip's URL is refused: {reason}")
