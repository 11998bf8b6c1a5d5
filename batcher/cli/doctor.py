"""`batcher doctor`: what a run needs, looked at one by one, with what to do about each. Spends nothing."""

from __future__ import annotations

import importlib.util
import platform
import secrets
import shutil
import sqlite3
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import anyio
import click

from batcher.cli.common import Shared, shared_options
from batcher.cli.probe import probe
from batcher.connect import reach
from batcher.errors import BatcherError, LockedError
from batcher.generations import RefusalKind, Sight
from batcher.state.file import hold_lock
from batcher.state.queries import Queries
from batcher.text import printable
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batcher.environment import Endpoint, Environment

WAL_RESET_FIXED = (3, 51, 3)
"""SQLite before this can corrupt a WAL file when two connections write at once; we write on one."""

LOW_SPACE = 500 * 2**20
SOON_S = 5 * 86400.0

CLOCK_S = 120.0
"""A clock that is further off than this is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    mark: str
    """`ok`, `note` or `bad`."""
    said: str


@click.command()
@click.option("--provider", default=None, help="simulator or cometapi.  [cometapi where a key is set]")
@click.option(
    "--probe",
    "probes",
    is_flag=True,
    help="Also send a used id again, to learn whether that is refused. Free at Kling; a gateway that does not refuse"
    " it would charge for one more clip.",
)
@shared_options
def doctor(shared: Shared, provider: str | None, *, probes: bool) -> int:
    """Check key, endpoint, disk, clock, lock, and clips whose URL dies soon. Sends free looks; spends nothing."""
    environment = shared.environment()
    findings = [*_machine(), *_state(shared), *_provider(shared, environment, provider, probes=probes)]
    text = "\n".join(f"{finding.mark:<4}  {finding.what:<10}  {printable(finding.said)}" for finding in findings)
    shared.result(text, {"schema": 1, "document": "doctor", "findings": [asdict(finding) for finding in findings]})
    return 78 if any(finding.mark == "bad" for finding in findings) else 0


def _machine() -> Iterator[Finding]:
    yield Finding(what="python", mark="ok", said=f"{platform.python_version()} ({sys.executable})")
    note = "" if sqlite3.sqlite_version_info >= WAL_RESET_FIXED else "; do not write to the state with other programs"
    yield Finding(what="sqlite", mark="ok", said=f"{sqlite3.sqlite_version}{note}")
    media = all(importlib.util.find_spec(name) for name in ("av", "PIL"))
    yield Finding(
        what="media",
        mark="ok" if media else "note",
        said="clips are opened and get posters" if media else "no posters; pip install 'kling-batcher[media]'",
    )


def _state(shared: Shared) -> Iterator[Finding]:
    folder = shared.state.absolute().parent
    free = shutil.disk_usage(folder if folder.exists() else ".").free
    yield Finding(
        what="disk", mark="ok" if free > LOW_SPACE else "bad", said=f"{free // 2**20:,} MiB free at {folder}"
    )
    yield _tried("lock", lambda: _lock(shared))
    if not shared.state.exists():
        yield Finding(what="state", mark="note", said=f"no {shared.state} yet; a run makes it")
        return
    yield _tried("state", lambda: _healthy(shared))


def _lock(shared: Shared) -> str:
    if not shared.state.exists():
        return "free"
    with hold_lock(shared.state, started_at=iso(time.time())):
        return "free"


def _healthy(shared: Shared) -> str:
    state = Queries.open(shared.state)
    try:
        soon = [
            clip.name
            for job in state.jobs()
            for clip in state.expiring(job=job.job, scope=job.scope)
            if clip.dies_at - time.time() < SOON_S
        ]
    finally:
        state.close()
    if soon:
        raise BatcherError(
            f"{len(soon)} paid clips die soon at the provider: {', '.join(soon[:5])}", hint="batcher collect"
        )
    return f"{shared.state} is whole; no paid clip is about to expire"


def _provider(shared: Shared, environment: Environment, name: str | None, *, probes: bool) -> Iterator[Finding]:
    name = name or ("cometapi" if environment.has_key() else "simulator")
    endpoint: list[Endpoint] = []

    def key() -> str:
        endpoint.append(environment.endpoint(name))
        return f"well-formed, for {endpoint[0].scope}" if name != "simulator" else "none needed: the simulator"

    yield _tried("key", key)
    if endpoint:
        yield _tried("provider", lambda: anyio.run(_ask, shared, environment, endpoint[0]))
    if endpoint and probes and shared.state.exists():
        yield _tried("used ids", lambda: anyio.run(probe, shared.state, environment, endpoint[0]))


async def _ask(shared: Shared, environment: Environment, endpoint: Endpoint) -> str:
    if endpoint.is_simulated:
        return "built in; it starts with a run"
    async with reach(endpoint, shared.state, environment) as provider:
        started = time.monotonic()
        look = await provider.find(f"doctor-{secrets.token_hex(8)}")
        took = f"{(time.monotonic() - started) * 1000:.0f} ms"
        server_time = await provider.server_time()
    if server_time is not None and abs(server_time - time.time()) > CLOCK_S:
        raise BatcherError(
            f"this machine's clock is {time.time() - server_time:+.0f} s off that of {endpoint.base_url}",
            hint="set it: budgets by the day, editions and TLS depend on it",
        )
    if look.sight is Sight.ABSENT:
        return f"{endpoint.base_url} answers in {took}, accepts the key, and knows what it does not have"
    if look.refusal is not None and look.refusal.kind is RefusalKind.KEY:
        raise BatcherError(f"{endpoint.base_url} refuses the key: {look.refusal.message}", hint="check COMETAPI_KEY")
    raise BatcherError(
        f"{endpoint.base_url} gives no usable answer: {look.detail}", hint="check the network and COMETAPI_BASE_URL"
    )


def _tried(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, mark="ok", said=look())
    except LockedError as exc:
        return Finding(what=what, mark="note", said=exc.message)
    except BatcherError as exc:
        return Finding(what=what, mark="bad", said=f"{exc.message}; {exc.hint}" if exc.hint else exc.message)
