"""The wire on a port: an ASGI application around a world. Runs on asyncio and trio, under any clock.

What a server cannot say in ASGI (reset a connection, half a header) goes through `scope["state"]["hang_up"]`, which
`serving.py` provides; without it such a fault is raised as ConnectionResetError.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.responses import Response as Whole
from starlette.routing import Route

from batcher.simulator import models, ranges, wire
from batcher.simulator.mailman import Mailman
from batcher.simulator.replies import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from batcher.simulator.replies import Hang
    from batcher.simulator.world import World

_CHUNK = 16 * 1024
_SLOW_S = 3.0
_MAX_BODY = 1024 * 1024
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(world: World, *, clock: Callable[[], float] = time.time) -> Starlette:
    """Return the provider as an ASGI application; `clock` tells Unix seconds.

    Callbacks are sent by `app.state.mailman`, which a server starts by the lifespan; elsewhere run
    `app.state.mailman.run()` in a task group.
    """
    mailman = Mailman(world, clock)

    async def api(request: Request) -> Response:
        asked = await _asked(request)
        if asked is None:
            return Whole(status_code=413)
        reply = wire.answer(world, asked, now=clock())
        mailman.wake()
        return _response(reply)

    async def asset(request: Request) -> Response:
        asked = await _asked(request)
        if asked is None or request.method not in ("GET", "HEAD"):
            return Whole(status_code=405)
        sent = wire.fetch(world, asked, now=clock())
        if isinstance(sent, Reply):
            return _response(sent)
        return _file(world, sent, await _content(world, sent), asked)

    async def ledger(_: Request) -> Response:
        return JSONResponse(world.ledger(now=clock()))

    async def faults(request: Request) -> Response:
        """Take `{"script": [names], "faults": {name: chance}}`, either or both."""
        try:
            wanted = json.loads(await request.body())
            world.moods.add_script(wanted.get("script", ()))
            if "faults" in wanted:
                world.moods.set_chances(wanted["faults"])
        except (ValueError, TypeError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"ok": True})

    async def healthz(_: Request) -> Response:
        return JSONResponse({"ok": True, "simulated": True})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(mailman.run)
            yield
            group.cancel_scope.cancel()

    app = Starlette(
        routes=[
            Route("/assets/{name}", asset, methods=_METHODS),
            Route("/_ledger", ledger),
            Route("/_faults", faults, methods=["POST"]),
            Route("/_healthz", healthz),
            Route("/{path:path}", api, methods=_METHODS),
        ],
        lifespan=lifespan,
    )
    app.state.mailman = mailman
    return app


class _HangUp(Whole):
    """No reply: the connection ends, at once or when the client has had enough."""

    def __init__(self, hang: Hang) -> None:
        super().__init__()
        self._hang = hang

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        if self._hang != "stall":
            _hang_up(scope, self._hang)
        await _gone(receive)


class _Broken(Whole):
    """A file that does not come whole, or not soon."""

    def __init__(
        self, content: bytes, mark: str, status_code: int, headers: dict[str, str], count: Callable[[int], None]
    ) -> None:
        super().__init__(content, status_code, headers)
        self._mark = mark
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.raw_headers
        body = bytes(self.body)
        if self._mark == "unsized":
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        if self._mark != "slow":
            body = body[: len(body) // 2]
        pause = _SLOW_S / max(1, len(body) // _CHUNK) if self._mark == "slow" else 0.0
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        async with anyio.create_task_group() as sending:

            async def leave() -> None:
                await _gone(receive)
                sending.cancel_scope.cancel()  # to nobody it would be sent, and counted, to its end

            sending.start_soon(leave)
            for start in range(0, len(body), _CHUNK):
                await anyio.sleep(pause)
                self._count(len(body[start : start + _CHUNK]))
                await send({"type": "http.response.body", "body": body[start : start + _CHUNK], "more_body": True})
            sending.cancel_scope.cancel()
        if self._mark in ("cut", "reset"):
            _hang_up(scope, "reset" if self._mark == "reset" else "close")
            await _gone(receive)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _hang_up(scope: Scope, hang: Hang) -> None:
    state: dict[str, Any] = scope.get("state", {})
    if "hang_up" not in state:
        raise ConnectionResetError(f"the simulator hung up ({hang})")
    state["hang_up"](hang)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _asked(request: Request) -> wire.Request | None:
    """Return the request as the wire takes it; None where its body is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            return None
    return wire.Request(
        method=request.method,
        path=request.url.path,
        query=dict(request.query_params),
        headers=dict(request.headers),
        body=bytes(body),
        origin=f"{request.url.scheme}://{request.url.netloc}",
    )


def _response(reply: Reply) -> Response:
    return _HangUp(reply.hang) if reply.hang else Whole(reply.body, reply.status, dict(reply.headers))


async def _content(world: World, file: wire.File) -> bytes:
    def content() -> bytes:
        from batcher.simulator import clips  # noqa: PLC0415 - av takes 75 ms to load, and the first clip has time

        if world.settings.clips == "stamped":
            film = clips.stamped(file.generation.id)
        elif world.settings.clips == "sample" or not clips.CAN_RENDER:
            film = clips.sample()
        else:
            film = clips.render(
                request["prompt"],
                aspect_ratio=request.get("aspect_ratio", "16:9"),
                seconds=models.seconds(request),
                seed=file.generation.id,
            )
        return clips.padded(film, world.settings.clip_bytes)

    request = file.generation.request
    # A thread does not stop a virtual clock: the sample is read in place.
    return content() if world.settings.clips == "sample" else await anyio.to_thread.run_sync(content)


def _file(world: World, file: wire.File, content: bytes, asked: wire.Request) -> Response:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"content-type": "video/mp4", "etag": etag, "cache-control": "private"}
    status = 200
    if world.settings.ranges:
        headers["accept-ranges"] = "bytes"
        wanted = ranges.part(asked.headers, len(content), etag)
        if wanted is not None and not wanted:
            return Whole(status_code=416, headers={"content-range": f"bytes */{len(content)}"})
        if wanted:
            status = 206
            headers["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(content)}"
            content = content[wanted.start : wanted.stop]
    if asked.method == "HEAD":
        return Whole(b"", status, {**headers, "content-length": str(len(content))})
    account = world.account(file.generation.account)

    def count(size: int) -> None:
        account.asset_bytes += size

    if file.mark:
        return _Broken(content, file.mark, status, headers, count)
    count(len(content))
    return Whole(content, status, headers)
