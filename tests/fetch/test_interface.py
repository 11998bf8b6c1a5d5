"""The intake of a body, for any fetch."""

from __future__ import annotations

import io

import pytest

from batcher.fetch import (
    FetchError,
    Intake,
)


def test_the_intake_refuses_a_body_that_is_shorter_or_longer_than_announced():
    for announced in (3, 5):
        intake = Intake(io.BytesIO(), max_bytes=10)
        intake.take(b"four")
        with pytest.raises(FetchError, match=f"4 of {announced} bytes"):
            intake.close(announced=announced)


def test_the_intake_writes_nothing_beyond_the_cap():
    sink = io.BytesIO()
    intake = Intake(sink, max_bytes=6)
    intake.take(b"four")
    with pytest.raises(FetchError, match="larger than 6 bytes"):
        intake.take(b"four")
    assert sink.getvalue() == b"four"
