"""Sends the callbacks when they are due, each once, answered or not: no document speaks of a second try."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from batcher.simulator import shapes, wire
from batcher.simulator.callbacks import Callback, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.world import World

_TIMEOUT_S = 5.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Mailman:
    """Walks the outbox. `run()` never ends; `wake()` says that there may be something new in it."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self._world = world
        self._clock = clock
        self._news = anyio.Event()

    def wake(self) -> None:
        """Look into the outbox again."""
        self._news.set()

    async def run(self) -> None:
        """Send what is due, for ever."""
        async with anyio.create_task_group() as group:
            while True:
                for callback in self._world.outbox.due(self._clock()):
                    group.start_soon(self._send, callback)
                self._news = anyio.Event()
                next_at = self._world.outbox.next_at()
                with anyio.move_on_after(None if next_at is None else max(0.0, next_at - self._clock())):
                    await self._news.wait()

    async def _send(self, callback: Callback) -> None:
        request = self._request(callback)
        await anyio.to_thread.run_sync(_post, request, abandon_on_cancel=True)

    def _request(self, callback: Callback) -> urllib.request.Request:
        view = wire.view(self._world, callback.generation, now=callback.told_at, origin=callback.origin)
        body = json.dumps(shapes.task(view)).encode()
        headers = {"content-type": "application/json"}
        secret = self._world.settings.callback_secret
        if secret:
            headers |= sign(secret, message_id=callback.id, timestamp=int(self._clock()), body=body)
        return urllib.request.Request(callback.url, data=body, headers=headers)  # noqa: S310 - see _post


def _post(request: urllib.request.Request) -> None:
    if request.type not in ("http", "https"):
        return
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S) as reply:
            assert reply.status < HTTPStatus.BAD_REQUEST
    except OSError:
        pass  # nobody there, or a 500: the client polls
