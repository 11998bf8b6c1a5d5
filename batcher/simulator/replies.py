"""What goes back over the wire, before any server is involved. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Hang = Literal["reset", "close", "stall", "half"]
"""How a connection ends without a whole reply: RST, FIN, silence until the client leaves, half a header and FIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error of the provider itself: nothing was created."""

    status: int
    code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One HTTP reply, or the lack of one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: Hang | None = None
    """Where set, nothing else of this reply is sent."""


def json_reply(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return `document` as a JSON reply."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Reply(status=status, body=body, headers={"content-type": "application/json", **(headers or {})})


def html_reply(status: int, title: str) -> Reply:
    """Return a page as proxies and firewalls make them."""
    page = f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>"
    return Reply(status=status, body=page.encode(), headers={"content-type": "text/html"})


def gateway_error(status: int, message: str, *, code: str = "", request_id: str = "") -> Reply:
    """Return an error of CometAPI itself: its envelope, its request id at the message's end."""
    error = {"message": f"{message} (request id: {request_id})", "type": "comet_api_error", "param": "", "code": code}
    return json_reply({"error": error}, status=status)
