from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.text import human_bytes, human_duration, human_usd, printable, redact_url


@given(st.text(st.characters()))
def test_nothing_that_steers_a_terminal_gets_through(text):
    """No control, format, separator or surrogate character survives `printable`."""
    shown = printable(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain café 狐", "plain café 狐"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\nb\tc\x7f\x9b", r"a\x0ab\x09c\x7f\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028x\ud800", r"\u2028x\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_hidden_characters_are_written_out(raw, shown):
    assert printable(raw) == shown


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://cdn.example/a.mp4?ksSecret=1&x=2", "https://cdn.example/a.mp4"),
        ("https://user:pass@host/x#frag", "https://host/x"),
        ("https://host/@name", "https://host/@name"),
        ("http://[broken?x", "http://[broken"),
        ("https://host?u=a@b", "https://host"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, redacted):
    assert redact_url(url) == redacted


def test_numbers_are_written_for_people():
    assert [human_bytes(n) for n in (0, 999, 1000, 4_200_000, 999_999, 3 * 10**9, 2 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "4.2 MB", "1.0 MB", "3.0 GB", "2.0 TB",
    ]  # fmt: skip
    assert [human_duration(s) for s in (0, 4.21, 9.97, 42, 59.6, 63, 7500, 273_600, -1)] == [
        "0.0s", "4.2s", "10s", "42s", "1m00s", "1m03s", "2h05m", "3d04h", "0.0s",
    ]  # fmt: skip
    assert [human_usd(x) for x in (0, 0.001, 7.984, 1234.5)] == ["$0.00", "$0.0010", "$7.98", "$1,234.50"]
