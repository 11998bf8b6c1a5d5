"""A person's own prices: one line a class, checked like a manifest, since budgets hang on them."""

from __future__ import annotations

import pytest

from batcher.manifest import ManifestError
from batcher.manifest.pricefile import read_prices
from batcher.prices import PriceSource

GOOD = """\
as_of: 2026-11-20
x-note: from the invoice
prices:
  kling-v3 pro 5s: 0.53
  kling-v3 pro 5s sound: 0.79
  kling-v2-master std 10s: 2
  kling-v9 4k 7s: 1.5
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prices.yaml"

    def write_and_read(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_prices(path.relative_to(tmp_path))

    return write_and_read


def problems(read, text):
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert "Nothing was sent" in caught.value.message
    assert caught.value.hint == "batcher plan MANIFEST --prices prices.yaml"
    return [(p.code, p.place.line, p.place.column) for p in caught.value.problems]


def test_each_line_prices_a_class(read):
    prices = read(GOOD)
    assert prices.own == {
        "kling-v3 pro 5s": 0.53,
        "kling-v3 pro 5s sound": 0.79,
        "kling-v2-master std 10s": 2.0,
        "kling-v9 4k 7s": 1.5,
    }
    assert prices.own_source == PriceSource("2026-11-20", "prices.yaml")
    assert prices.of({"model_name": "kling-v9", "mode": "4k", "duration": "7"}).usd == 1.5


def test_json_does_as_well(read):
    assert read('{"as_of": "2026-11", "prices": {"kling-v1 std 5s": 0}}').own == {"kling-v1 std 5s": 0.0}


def test_everything_wrong_is_told_at_once_with_its_place(read):
    text = """\
as_of: yesterday
price: 3
prices:
  kling-v3 pro: 0.53
  kling-v3 pro 5s: cheap
  kling-v3 std 5s: true
  kling-v1 std 5s: -1
  kling-v1 std 10s: 53000
  kling-v2-master pro 5s: 1.3
  kling-v1 std 7s: 0.2
"""
    assert problems(read, text) == [
        ("E114", 1, 8),
        ("E102", 2, 1),
        ("E114", 4, 3),
        ("E104", 5, 20),
        ("E104", 6, 20),
        ("E105", 7, 20),
        ("E105", 8, 21),
        ("E302", 9, 3),
        ("E303", 10, 3),
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "E101"),
        ("- a", "E104"),
        ("prices: {kling-v1 std 5s: 1}", "E106"),
        ("as_of: 2026-11", "E106"),
        ("{as_of: 2026-11, prices: {}}", "E104"),
        ("{as_of: 2026-11, prices: 5}", "E104"),
        ("{as_of: 2026-13, prices: {kling-v1 std 5s: 1}}", "E114"),
        ("as_of: 2026-11\nas_of: 2026-12\nprices: {kling-v1 std 5s: 1}", "E107"),
        ("{as_of: 2026-11, prices: {kling-v1 std 5s: .nan}}", "E111"),
        ("{as_of: 2026-11, prices: {kling-v1 std 5s: 99999999999999999999999999}}", "E111"),
        (b"\xff\xfe", "E108"),
    ],
)
def test_what_cannot_be_prices(read, text, code):
    assert code in [each[0] for each in problems(read, text)]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"1 problem in ") as caught:
        read_prices(tmp_path / "nothing.yaml")
    assert caught.value.problems[0].code == "E100"


def test_a_mode_that_a_model_does_not_have_is_told_with_the_line_to_write(read):
    with pytest.raises(ManifestError) as caught:
        read("{as_of: 2026-11, prices: {kling-v2-master pro 5s: 1.3}}")
    assert caught.value.problems[0].hint == "write  kling-v2-master std 5s"
