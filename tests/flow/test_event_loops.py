"""The same on real clocks and real sockets, on both event loops."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batcher.choices import Choices
from batcher.connect import open_batch
from batcher.environment import Environment
from batcher.manifest import load
from batcher.prepare import prepare
from batcher.simulator import Settings
from batcher.simulator.serving import start

from .harness import KEY, Lab

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


async def run_once(tmp_path, base_url, manifest, **choices):
    settings = {"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": base_url, "BATCHER_QUIET_WINDOW": "1s"}
    environment = Environment(process=settings)
    endpoint = environment.endpoint("cometapi")
    async with open_batch(tmp_path / "state.db", endpoint=endpoint, environment=environment) as batch:
        prepared = prepare(load(manifest), endpoint=endpoint, state=batch.store, now=datetime.now(UTC))
        return await batch.run(prepared, Choices(out=tmp_path / "out", **choices), lambda event: None)


async def test_a_run_over_a_port(tmp_path):
    """Sockets, threads and a real server: every clip comes home, on asyncio and on trio."""
    manifest = Lab(tmp_path).manifest(4)
    with start(Settings(clips="sample", time_scale=1e-3)) as simulator:
        first = await run_once(tmp_path, simulator.base_url, manifest, limit=2)
        second = await run_once(tmp_path, simulator.base_url, manifest)
    assert (first.exit_code, first.downloaded) == (0, 2)
    assert (second.exit_code, second.downloaded) == (0, 2)


async def test_lost_replies_over_a_port(tmp_path):
    """Connections reset, half a reply and half a file: found again, charged once."""
    manifest = Lab(tmp_path).manifest(4)
    faults = ("ok", "reset-after", "half-reply", "reset-before", "asset-cut", "asset-reset")
    with start(Settings(clips="sample", time_scale=1e-3, script=faults)) as simulator:
        summary = await run_once(tmp_path, simulator.base_url, manifest)
    assert summary.exit_code == 0
    assert summary.counts == {"downloaded": 4}
