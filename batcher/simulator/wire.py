"""The API itself: a request in, a reply out. No server here, no clock: `now` is an argument. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from batcher.simulator import links, shapes
from batcher.simulator.faults import Door
from batcher.simulator.generations import Generation
from batcher.simulator.keys import identify
from batcher.simulator.luck import luck
from batcher.simulator.replies import Refusal, Reply, gateway_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.simulator.faults import Fault
    from batcher.simulator.ledger import Account
    from batcher.simulator.settings import Shape
    from batcher.simulator.world import World

_TASKS = "/v1/videos/text2video"
_VIDEOS = "/v1/videos/"
_TELLTALE = ("authorization", "x-api-key", "cookie")
_PAGING = {"pageNum": ("1", 1000), "pageSize": ("30", 500)}  # name -> default, most


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. Header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    origin: str = "http://localhost"
    """Scheme and host it came to; asset URLs begin with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A video to be sent: the wire has said yes, somebody has to render it."""

    generation: Generation
    mark: str = ""
    """What goes wrong on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request whose account is known."""

    world: World
    request: Request
    account: Account
    now: float
    request_id: str

    @property
    def shape(self) -> Shape:
        return self.world.settings.shape

    def refused(self, refusal: Refusal) -> Reply:
        return shapes.refused(self.shape, refusal, self.request_id)

    def instead(self, fault: Fault) -> Reply | None:
        """Return what `fault` answers, None where the truth is told."""
        if fault.hang:
            return Reply(hang=fault.hang)
        return self.refused(fault.refusal) if fault.refusal else fault.reply

    def view(self, generation: Generation) -> shapes.View:
        return view(self.world, generation, now=self.now, origin=self.request.origin)


def answer(world: World, request: Request, *, now: float) -> Reply:
    """Answer one call of the API, and write down that it was made."""
    path = request.path.removeprefix("/kling").rstrip("/")
    ident = _ident(world, path)
    if path != _TASKS and not ident:
        return _no_such_path(request, _request_id(world, 0))
    name, refusal = identify(request.headers, world.settings, now=now)
    account = world.account(name)
    account.requests += 1
    call = _Call(
        world=world, request=request, account=account, now=now, request_id=_request_id(world, account.requests)
    )
    refusal = refusal or _refuse(request, ident)
    if refusal:
        if request.method == "POST":
            world.refuse(name, _parse(request.body), refusal, now=now)
        return call.refused(refusal)
    if ident:
        return _look(call, ident)
    return _list(call) if request.method == "GET" else _create(call)


def fetch(world: World, request: Request, *, now: float) -> Reply | File:
    """Answer one call of the CDN: what to send, or why not."""
    ident = request.path.removeprefix("/assets/").rsplit("-", 1)[0]
    generation = world.generation(ident)
    if generation is None or not links.is_good(request.path, request.query, now=now):
        body = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
        return Reply(status=403, body=body, headers={"content-type": "application/xml"})
    account = world.account(generation.account)
    leaked = [name for name in _TELLTALE if name in request.headers]
    if leaked:
        account.leaks.append({"at": now, "path": request.path, "headers": leaked})
    fault = world.moods.draw(Door.ASSET, ident)
    if fault and fault.reply:
        return fault.reply
    if request.method == "GET":
        account.downloads[ident] += 1
    return File(generation=generation, mark=fault.mark if fault else "")


def _refuse(request: Request, ident: str) -> Refusal | None:
    if request.method not in (("GET",) if ident else ("GET", "POST")):
        return Refusal(status=404, code=1202, message="The requested method is invalid")
    if request.method == "POST" and not _parse(request.body):
        return Refusal(status=400, code=1200, message="Invalid request body")
    return None


def _create(call: _Call) -> Reply:
    body = _parse(call.request.body)
    fault = call.world.moods.draw(Door.CREATE, str(body.get("external_task_id", "")))
    if fault and not fault.reaches_the_rules:
        call.world.divert(call.account.name, body, fault, now=call.now)
        reply = call.instead(fault)
        assert reply, f"{fault.name}: what creates nothing must answer itself"
        return reply
    verdict = call.world.create(call.account.name, body, now=call.now, fault=fault)
    if isinstance(verdict, Generation) and verdict.created_at == call.now:
        call.world.outbox.plan(verdict, call.request.origin)
    if fault and (instead := call.instead(fault)):
        return instead
    if isinstance(verdict, Refusal):
        return call.refused(verdict)
    return shapes.created(call.shape, shapes.View(generation=verdict, now=call.now), call.request_id)


def _look(call: _Call, ident: str) -> Reply:
    call.account.looks += 1
    fault = call.world.moods.draw(Door.LOOK, ident)
    if fault and (instead := call.instead(fault)):
        return instead
    found = call.world.find(call.account.name, ident, now=call.now)
    if isinstance(found, Refusal):
        return shapes.unknown_task(call.shape, found, call.request_id)
    return shapes.looked(call.shape, call.view(found), call.request_id)


def _list(call: _Call) -> Reply:
    if not call.world.settings.has_list:
        return _no_such_path(call.request, call.request_id)
    call.account.lists += 1
    for name, (default, top) in _PAGING.items():
        value = call.request.query.get(name, default)
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= top):
            return call.refused(Refusal(status=400, code=1201, message=f"{name} value '{value}' is invalid"))
    number, size = (int(call.request.query.get(name, default)) for name, (default, _) in _PAGING.items())
    page = call.world.page(call.account.name, number=number, size=size, now=call.now)
    return shapes.listed(call.shape, [call.view(generation) for generation in page], call.request_id)


def view(world: World, generation: Generation, *, now: float, origin: str) -> shapes.View:
    """Return `generation` as a look at `now` shows it, with fresh URLs."""
    urls: tuple[str, ...] = ()
    if generation.has_url(now):
        expires_at = now + world.settings.url_life_s
        paths = [links.asset_path(generation.id, number) for number in range(generation.videos(now))]
        urls = tuple(links.signed(origin, path, expires_at=expires_at) for path in paths)
    if generation.mark == "hostile-url" and urls:
        urls = ("http://169.254.169.254/latest/meta-data/video.mp4",)
    return shapes.View(generation=generation, now=now, urls=urls)


def _ident(world: World, path: str) -> str:
    """Return the id a path looks at; empty where it looks at none."""
    if path.startswith(_TASKS + "/"):
        ident = path.removeprefix(_TASKS + "/")
    elif world.settings.shape == "openai" and path != _TASKS and path.startswith(_VIDEOS):
        ident = path.removeprefix(_VIDEOS)
    else:
        return ""
    return "" if "/" in ident else ident


def _no_such_path(request: Request, request_id: str) -> Reply:
    return gateway_error(404, f"Invalid URL ({request.method} {request.path})", request_id=request_id)


def _parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`, {} where there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _request_id(world: World, number: int) -> str:
    return str(UUID(int=luck(world.settings.seed, "request", number).getrandbits(128), version=4))
