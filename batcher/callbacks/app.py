"""The receiver as an ASGI application. A body is read for ids, up to a size; every answer is a bare status.

Who does not know the token sees 404, whatever is asked. Who does sees 204, whatever was sent: not whether an id is
ours, nor whether a signature was right.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from batcher.callbacks.address import PATH, is_token
from batcher.callbacks.ids import ids_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from batcher.callbacks.signature import Verifier

MAX_BODY = 64 * 1024
"""Kling's are about a kilobyte (API notes, 6)."""

PER_S = 100.0
BURST = 1_000
"""What a token's holder may post: a thousand generations that end at once, and then more than any account makes."""

CLOSE = {"connection": "close"}


class Allowance:
    """A token bucket over monotonic seconds: `PER_S` a second, `BURST` at once."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at: float | None = None

    def takes(self, now: float) -> bool:
        """Whether one more is allowed now."""
        passed = 0.0 if self._at is None else now - self._at
        self._left, self._at = min(float(BURST), self._left + passed * PER_S), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def create_app(
    *,
    token: Callable[[], str | None],
    take: Callable[[tuple[str, ...]], None],
    verifier: Verifier | None = None,
    pages: Sequence[BaseRoute] = (),
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Starlette:
    """Return the application. `take` is given the ids of each callback; it must not block, nor raise.

    `token` is asked each time, as a state may be replaced. `pages` are further routes of the same server.
    """
    allowance = Allowance()

    async def callback(request: Request) -> Response:
        wanted = token()
        if wanted is None or not is_token(request.path_params["token"], wanted):
            return Response(status_code=404, headers=CLOSE)
        if not allowance.takes(monotonic()):
            return Response(status_code=429, headers=CLOSE)
        body = await _body(request)
        if body is None:
            return Response(status_code=413, headers=CLOSE)
        if (verifier is None or verifier.accepts(request.headers, body, now=clock())) and (ids := ids_in(body)):
            take(ids)
        return Response(status_code=204, headers=CLOSE)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"ok": True}, headers=CLOSE)

    async def nothing(_: Request, __: Exception) -> Response:
        return Response(status_code=404, headers=CLOSE)

    app = Starlette(
        routes=[
            Route(PATH + "{token}", callback, methods=["POST"]),
            Route("/healthz", healthz),
            *pages,
        ],
        exception_handlers={404: nothing, 405: nothing},
    )
    app.router.redirect_slashes = False
    return app


async def _body(request: Request) -> bytes | None:
    """The raw body; None where it is too large. Of a sender that hung up, what came."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said[:20]) > MAX_BODY:
        return None
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)
