from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from batcher.simulator import Settings, World
from batcher.simulator.serving import start
from batcher.simulator.wire import File, Request, answer, fetch

if TYPE_CHECKING:
    from batcher.simulator.replies import Reply

CREATE = "/kling/v1/videos/text2video"
NOON = 1_795_348_800.0


@dataclass
class Api:
    """The wire without a server: one caller, and a clock in its hand."""

    world: World
    now: float = NOON
    key: str = "sk-test"
    files: list[File] = field(default_factory=list)

    def post(self, external_id: str = "", **changes: Any) -> tuple[int, Any]:
        body = {"prompt": "a red fox", "model_name": "kling-v1-6", **changes}
        if external_id:
            body["external_task_id"] = external_id
        return self.send("POST", CREATE, json.dumps(body).encode())

    def look(self, ident: str) -> tuple[int, Any]:
        return self.send("GET", f"{CREATE}/{ident}")

    def list(self, **query: Any) -> tuple[int, Any]:
        return self.send("GET", CREATE, query={name: str(value) for name, value in query.items()})

    def send(self, method: str, path: str, body: bytes = b"", **more: Any) -> tuple[int, Any]:
        reply = self.reply(method, path, body, **more)
        return reply.status, json.loads(reply.body)

    def reply(self, method: str, path: str, body: bytes = b"", **more: Any) -> Reply:
        headers = {"authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        request = Request(method=method, path=path, body=body, headers=headers, **more)
        return answer(self.world, request, now=self.now)

    def fetch(self, url: str, **headers: str) -> Reply | File:
        parsed = httpx.URL(url)
        request = Request(method="GET", path=parsed.path, query=dict(parsed.params), headers=headers)
        return fetch(self.world, request, now=self.now)

    def ended(self, ident: str) -> dict[str, Any]:
        """Wait until the generation is over and return its description."""
        generation = self.world.generation(ident)
        assert generation
        assert generation.ends_at
        self.now = generation.ends_at
        return self.look(ident)[1]["data"]

    @property
    def ledger(self) -> dict[str, Any]:
        return self.world.ledger(now=self.now)["totals"]


@pytest.fixture
def make_api():
    def make(**settings: Any) -> Api:
        return Api(World(Settings(**settings)))

    return make


@pytest.fixture
def api(make_api):
    return make_api()


@pytest.fixture
def open_api():
    """Open worlds kept in files; all are closed in the end."""
    with ExitStack() as stack:

        def open_one(path, *, now: float = NOON, key: str = "sk-test", **settings: Any) -> Api:
            world = World.open(path, Settings(**settings))
            stack.callback(world.close)
            return Api(world, now=now, key=key)

        yield open_one


@pytest.fixture
def serve():
    """Serve simulators on loopback ports, with a client each."""
    with ExitStack() as stack:

        def serve_one(path=None, **settings: Any) -> httpx.Client:
            defaults = {"clips": "sample", "time_scale": 1e-6}
            running = stack.enter_context(start(Settings(**{**defaults, **settings}), path))
            client = httpx.Client(
                base_url=running.base_url, headers={"authorization": "Bearer sk-test"}, timeout=5, trust_env=False
            )
            return stack.enter_context(client)

        yield serve_one
