from __future__ import annotations

import csv
import html
import io
import json
import shlex
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.text import (
    command,
    html_text,
    human_bytes,
    human_duration,
    human_usd,
    no_orders,
    printable,
    printable_lines,
    redact_url,
    spreadsheet_cell,
)


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
        ("::error::x ::", r"\x3a:error::x ::"),
        ("  ::stop-commands::t", r"  \x3a:stop-commands::t"),
        ("std::move ::x", "std::move ::x"),
        ("a ##[error]b #[x]", r"a #\x23[error]b #[x]"),
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


def test_lines_of_ours_stay_lines():
    assert printable_lines("a\x1b\n::b") == "a\\x1b\n\\x3a:b"


@given(st.text())
def test_json_without_orders_means_the_same(text):
    document = json.dumps({text: f"\\##[{text}"})
    assert "##[" not in no_orders(document)
    assert json.loads(no_orders(document)) == json.loads(document)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1)))
def test_a_command_can_be_pasted_whatever_its_words_are(words):
    """A shell takes each word as it is; empty ones are left out."""
    assert shlex.split(command(*words)) == ["batcher", *map(printable, words)]
    assert command("status", "") == "batcher status"


@given(st.text())
def test_text_on_a_page_is_only_text(text):
    shown = html_text(text)
    assert not set(shown) & set("<>\"'")
    assert html.unescape(shown) == printable(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_runs_no_cell(text):
    """Quotes around a cell do not help, as a spreadsheet takes them off first."""
    cells = io.StringIO()
    csv.writer(cells, quoting=csv.QUOTE_ALL).writerow([spreadsheet_cell(text)])
    assert next(csv.reader(io.StringIO(cells.getvalue()))) == [f"'{text}"]


@pytest.mark.parametrize("text", ["", "fox", "a=b", "'=1", "16:9", "5"])
def test_a_harmless_cell_stays_as_it_is(text):
    assert spreadsheet_cell(text) == text
