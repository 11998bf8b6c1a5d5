"""One download, and how it ended."""

from __future__ import annotations

import io

import anyio
import pytest

from batcher.fetch import FetchError, FetchPolicy, threaded_fetch

BODY = bytes(range(256)) * 9000
STRICT = FetchPolicy()
LOCAL = FetchPolicy(allow_loopback=True)


async def fetch(url, policy=LOCAL, **options):
    sink = io.BytesIO()
    fetched = await threaded_fetch(policy, limiter=anyio.CapacityLimiter(2), **options)(url, sink)
    return fetched, sink.getvalue()


async def fault(url, policy=LOCAL, **options):
    with pytest.raises(FetchError) as caught:
        await fetch(url, policy, **options)
    assert "SECRET" not in str(caught.value)
    return caught.value.fault
