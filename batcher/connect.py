"""Open a state for work: hold its lock, reach the provider, and put both back at the end."""

from __future__ import annotations

import os
import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from batcher.errors import ConfigurationError
from batcher.fetch import KLING_HOSTS, FetchPolicy, threaded_fetch
from batcher.http import ApiClient, tls_context
from batcher.providers.cometapi import CometApi
from batcher.rescue import Rescue
from batcher.runner.session import RealClock
from batcher.state.file import hold_lock
from batcher.state.store import Store
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from batcher.callbacks.listening import Callbacks
    from batcher.environment import Endpoint, Environment
    from batcher.fetch import Fetch
    from batcher.providers.interface import Provider
    from batcher.runner.session import Clock


@asynccontextmanager
async def open_batch(
    state: Path,
    *,
    endpoint: Endpoint,
    environment: Environment,
    wait: bool = False,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    provider: Provider | None = None,
    fetch: Fetch | None = None,
) -> AsyncIterator[Rescue]:
    """Hold the lock, open the state, reach the provider; close all of it at the end.

    Where the endpoint has a callback URL, the provider is asked to post there, and what it posts wakes looks.
    `provider`, `fetch`, `clock` and `rng` are replaced in virtual-time tests; with a `fetch` given, file work is
    done without threads.
    """
    clock = clock or RealClock()
    async with AsyncExitStack() as stack:
        is_locked = stack.enter_context(hold_lock(state, started_at=iso(clock.now()), wait=wait))
        store = Store(state, is_locked=is_locked)
        stack.callback(store.close)
        hosts = environment.asset_hosts()
        policy = FetchPolicy(hosts=(*KLING_HOSTS, *hosts), allow_loopback=endpoint.is_loopback)
        hints = None
        if endpoint.callback_url is not None:
            callbacks = stack.enter_context(_callbacks(endpoint.callback_url, store, environment))
            notes = (*endpoint.notes, *callbacks.notes)
            endpoint, hints = replace(endpoint, callback_url=callbacks.url, notes=notes), callbacks.pass_on
        if provider is None:
            provider = await stack.enter_async_context(reach(endpoint, state, environment))
        batch = Rescue(
            store,
            endpoint=endpoint,
            environment=environment,
            provider=provider,
            fetch=fetch or threaded_fetch(policy, limiter=anyio.CapacityLimiter(8), tls=tls_context),
            clock=clock,
            rng=rng or random.Random(os.urandom(8)),  # noqa: S311 - jitter, no secret
            inline=fetch is not None,
        )
        batch.hints = hints
        yield batch


def _callbacks(given: str, store: Store, environment: Environment) -> AbstractContextManager[Callbacks]:
    from batcher.callbacks.listening import listen  # noqa: PLC0415 - a run without callbacks never loads a server

    return listen(
        store.path,
        given=given,
        token=store.callback_token(),
        port=environment.callback_port(),
        secret=environment.webhook_secret(),
    )


@asynccontextmanager
async def reach(endpoint: Endpoint, state: Path, environment: Environment) -> AsyncIterator[CometApi]:
    """The provider behind an endpoint; the built-in simulator is started for it, on a loopback port."""
    async with AsyncExitStack() as stack:
        base_url = endpoint.base_url
        if base_url is None:
            base_url = stack.enter_context(_simulator(state, environment)).base_url
        client = ApiClient(base_url=base_url, key=endpoint.key)
        api = CometApi(client, scope=endpoint.scope, callback_url=endpoint.callback_url)
        stack.push_async_callback(api.aclose)
        yield api


_WISHES = "write it like BATCHER_SIMULATOR=time_scale=0.01,limit=5, or unset it"


def _simulator(state: Path, environment: Environment) -> Any:
    """The built-in simulator, its world kept in a file beside the state."""
    from batcher.simulator import Settings  # noqa: PLC0415 - a paid run never loads it
    from batcher.simulator.serving import start  # noqa: PLC0415

    known: dict[str, Callable[[str], Any]] = {"time_scale": float, "limit": int, "seed": int, "clips": str}
    wishes: dict[str, Any] = {}
    for word in (environment.get("BATCHER_SIMULATOR") or "").split(","):
        name, _, value = word.strip().partition("=")
        if name:
            if name not in known:
                raise ConfigurationError(f"BATCHER_SIMULATOR: {name!r} is none of {', '.join(known)}", hint=_WISHES)
            try:
                wishes[name] = known[name](value)
            except ValueError as exc:
                raise ConfigurationError(f"BATCHER_SIMULATOR: {name}={value!r} cannot be read", hint=_WISHES) from exc
    try:
        settings = Settings(**wishes)
    except ValueError as exc:
        raise ConfigurationError(f"BATCHER_SIMULATOR: {exc}", hint=_WISHES) from exc
    world = state.with_name(state.name + ".simulator")
    try:
        return start(settings, world)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(
            f"the built-in simulator cannot go on from {world}: {exc}",
            hint="move that file away: its world begins anew, and nothing that was paid is in it",
        ) from exc
