"""Times as text, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.times import iso, seconds, unix


def test_times_are_utc_text_to_the_millisecond():
    assert iso(1795352793.12) == "2026-11-22T13:06:33.120Z"


@given(st.integers(0, 4_000_000_000_000))
def test_text_and_back_is_the_same_millisecond(milliseconds):
    assert round(unix(iso(milliseconds / 1000)) * 1000) == milliseconds


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_the_text_sorts_as_the_times_do(first, second):
    assert (iso(first) <= iso(second)) or first > second or abs(first - second) < 0.001


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("1.5", 1.5), ("120s", 120), ("30m", 1800), ("5h", 18000), ("2d", 172800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0s", "-5", "5 m", "m", "1h30m", "nan", "inf", "1e3", "5M"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)
