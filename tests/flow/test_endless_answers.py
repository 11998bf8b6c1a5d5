"""Whole runs over real sockets, with the time-outs of an impatient person: answers that never end."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest
from hostile import ENDLESS, Hostile

from batcher.choices import Choices
from batcher.connect import open_batch
from batcher.environment import Environment
from batcher.events import EventKind
from batcher.fetch import FetchPolicy, threaded_fetch
from batcher.http import ApiClient
from batcher.manifest import load
from batcher.policy.polling import Pace
from batcher.prepare import prepare
from batcher.providers.cometapi import CometApi

KEY = "sk-canary-2f94c1d07ab35e68"
PATIENCE_S = 0.6
MANIFEST = """\
version: 1
job: siege
provider: cometapi
defaults: {model_name: kling-v1-6, duration: 5}
prompts: [Wall holds]
takes: %d
"""


@pytest.fixture
def enemy():
    enemy = Hostile()
    yield enemy
    enemy.close()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_answers_that_never_end(enemy, tmp_path, monkeypatch):
    """Creates, looks and downloads that stall, drip or flood are each left in time, and tried again."""
    monkeypatch.setattr("batcher.compose.LOCAL_PACE", Pace(floor_s=0.1, cap_s=1.0, prior_s=1.0))
    enemy.faults = {
        "create": iter(("honest", *(f"taken {fault}" for fault in ENDLESS))),
        "look": iter(("honest", "honest", "honest", *ENDLESS)),
        "clip": iter(ENDLESS),
    }
    path = tmp_path / "siege.yaml"
    path.write_text(MANIFEST % (len(ENDLESS) + 1))
    environment = Environment(
        process={"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": enemy.url("api"), "BATCHER_QUIET_WINDOW": "0.1s"}
    )
    endpoint = environment.endpoint("cometapi")
    client = ApiClient(base_url=endpoint.base_url, key=KEY, timeout_s=PATIENCE_S, post_timeout_s=PATIENCE_S)
    policy = FetchPolicy(allow_loopback=True, idle_s=PATIENCE_S, deadline_s=2 * PATIENCE_S, max_bytes=10**6)
    events = []
    async with open_batch(
        tmp_path / "state.db",
        endpoint=endpoint,
        environment=environment,
        provider=CometApi(client, scope=endpoint.scope),
        fetch=threaded_fetch(policy, limiter=anyio.CapacityLimiter(8)),
    ) as batch:
        prepared = prepare(load(path), endpoint=endpoint, state=batch.store, now=datetime.now(UTC), edition=None)
        with anyio.fail_after(45):
            summary = await batch.run(prepared, Choices(out=tmp_path / "out", concurrency=20), events.append)
    await client.aclose()
    assert enemy.books.met.total() == 3 * len(ENDLESS)
    # A clip larger than the cap is not asked for again in the same run: it would be as large.
    assert summary.counts == {"downloaded": len(ENDLESS), "succeeded": 1}
    assert summary.exit_code == 75
    assert set(enemy.books.charges.values()) == {1}
    doubts = [event.detail["reason"] for event in events if event.kind is EventKind.DOUBT]
    assert sorted(doubts) == sorted(
        ["no complete answer within 0.6 s"] * (len(ENDLESS) - 1) + ["the answer is larger than 4194304 bytes"]
    )
    assert KEY not in str(events)
