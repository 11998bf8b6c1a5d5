"""The library's home: `batcher.run` for scripts, `batcher.open` for programs that follow along.

    result = batcher.run("jobs/demo.yaml")                     # a Summary: counts, files, cost

    async with batcher.open("jobs/demo.yaml") as batch:        # asyncio or trio
        async for event in batch.run(concurrency=4):
            print(event.task.name, event.status, event.path)
        print(batch.summary.downloaded)

A paid run needs consent in the call: `yes=True`, `max_usd=...`, or a budget in the manifest.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batcher.choices import Choices
from batcher.compose import budget_of
from batcher.connect import open_batch
from batcher.environment import Environment
from batcher.errors import BatcherError, UsageError
from batcher.events import Event, Outcome
from batcher.manifest import load, read_prices
from batcher.prepare import prepare
from batcher.runner.session import Stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from batcher.batch import Batch
    from batcher.events import Summary
    from batcher.manifest import Manifest
    from batcher.prices import Prices


def run(
    manifest: str | Path,
    *,
    state: str | Path = "state.db",
    provider: str | None = None,
    edition: str | None = None,
    variables: Mapping[str, str] | None = None,
    prices: str | Path | None = None,
    yes: bool = False,
    **choices: Any,
) -> Summary:
    """Run a manifest to its end, as `batcher run` does, without printing anything.

    `choices` are those of `batcher run` by name: `concurrency`, `timeout_s`, `deadline_s`, `limit`, `max_usd`,
    `include`, `out` and so on (seconds, US dollars). Raises `BatcherError` where nothing could be started; a run
    that stopped early says why in its summary.
    """

    async def work() -> Summary:
        async with open(
            manifest, state=state, provider=provider, edition=edition, variables=variables, prices=prices, yes=yes
        ) as opened:
            async for _ in opened.run(**choices):
                pass
            assert opened.summary is not None  # an early end of the stream has raised
            return opened.summary

    return anyio.run(work)


@asynccontextmanager
async def open(  # noqa: A001 - read as batcher.open
    manifest: str | Path,
    *,
    state: str | Path = "state.db",
    provider: str | None = None,
    edition: str | None = None,
    variables: Mapping[str, str] | None = None,
    prices: str | Path | None = None,
    yes: bool = False,
    env_file: str | Path | None = None,
) -> AsyncIterator[OpenJob]:
    """Check a manifest, hold the state's lock and reach the provider. Nothing is sent before `run`.

    `prices` is a file of prices of your own. Raises `ManifestError` with every problem, `LockedError`,
    `MissingKeyError` and the others of `batcher.errors`.
    """
    loaded = load(Path(manifest), variables=dict(variables or {}))
    own = read_prices(Path(prices)) if prices else None
    environment = Environment.read(Path(env_file) if env_file else None)
    endpoint = environment.endpoint(provider or loaded.provider or "simulator")
    raised: Exception | None = None
    async with (
        open_batch(Path(state), endpoint=endpoint, environment=environment) as batch,
        anyio.create_task_group() as group,
    ):
        opened = OpenJob(batch, loaded, group, edition=edition, prices=own, yes=yes)
        try:
            yield opened
        except Exception as exc:  # noqa: BLE001 - kept out of the task group, which would wrap it
            raised = exc
        finally:
            opened.leave()
    if raised is not None:
        raise raised


class OpenJob:
    """A job that is open for one run."""

    def __init__(
        self,
        batch: Batch,
        manifest: Manifest,
        group: anyio.abc.TaskGroup,
        *,
        edition: str | None,
        prices: Prices | None,
        yes: bool,
    ) -> None:
        self.summary: Summary | None = None
        """How the run ended; None until it has."""
        self._batch = batch
        self._manifest = manifest
        self._group = group
        self._edition = edition
        self._prices = prices
        self._yes = yes
        self.error: BatcherError | None = None
        """Why the run could not be carried out; its event stream raises it."""

    def run(self, *, everything: bool = False, **choices: Any) -> Events:
        """Run it, yielding the events of its tasks, or with `everything` those of the run too.

        Leaving the loop early leaves the run as the first Ctrl-C does.
        """
        wanted = Choices(**choices)
        wanted = replace(wanted, out=Path(wanted.out) if wanted.out else None)
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        self._group.start_soon(self._work, wanted, send, everything)
        return Events(self, receive)

    def leave(self) -> None:
        """Submit nothing more and wait for nothing at the provider; the next run goes on."""
        session = self._batch.session
        if session is not None and self.summary is None:
            reason, hint = "the program left the run", "run it again to go on"
            session.halt(Stop(outcome=Outcome.INTERRUPTED, exit_code=130, reason=reason, hint=hint, leaves=True))

    async def _work(self, choices: Choices, send: MemoryObjectSendStream[Event], everything: bool) -> None:  # noqa: FBT001 - a task group passes by position
        def emit(event: Event) -> None:
            try:
                if everything or event.task is not None:
                    send.send_nowait(event)
            except anyio.BrokenResourceError:
                self.leave()  # nobody listens any more

        async with send:
            try:
                prepared = prepare(
                    self._manifest,
                    endpoint=self._batch.endpoint,
                    state=self._batch.store,
                    now=datetime.now(UTC),
                    edition=self._edition,
                    prices=self._prices,
                )
                prepared.refuse_empty_choice(choices)
                has_consent = self._yes or budget_of(self._manifest, choices).limits_money
                if not self._batch.endpoint.is_simulated and prepared.bill(choices).tasks and not has_consent:
                    raise UsageError(
                        "this run would cost money and nothing allows it; nothing was sent",
                        hint="pass yes=True or max_usd=..., or give the manifest a budget",
                    )
                self.summary = await self._batch.run(prepared, choices, emit)
            except BatcherError as exc:
                self.error = exc


class Events:
    """The events of a run, as they happen. No generator, so that a loop may be left without ceremony."""

    def __init__(self, opened: OpenJob, receive: MemoryObjectReceiveStream[Event]) -> None:
        self._opened = opened
        self._receive = receive

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            self._receive.close()
        if self._opened.error is not None:
            raise self._opened.error
        raise StopAsyncIteration

    def __del__(self) -> None:
        self._receive.close()
