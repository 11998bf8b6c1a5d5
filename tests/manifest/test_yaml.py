from __future__ import annotations

import json
import math

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from batcher.manifest.problems import Problems
from batcher.manifest.yaml import parse

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff\ufeff"), max_size=30)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DATA = st.recursive(SCALARS, lambda d: st.lists(d, max_size=4) | st.dictionaries(TEXT, d, max_size=4), max_leaves=20)


def read(text):
    problems = Problems()
    document = parse(text, file="x.yaml", problems=problems)
    assert [str(p) for p in problems] == []
    return document.root.plain()


def faults(text):
    problems = Problems()
    parse(text, file="x.yaml", problems=problems)
    return [(p.code, p.place.line, p.place.column) for p in problems]


@given(st.dictionaries(TEXT, DATA, max_size=5))
def test_json_means_what_json_means(data):
    """JSON is YAML 1.2: whatever is written as JSON comes back the same."""
    text = json.dumps(data, ensure_ascii=False)
    if not any(c in text for c in "\x85\u2028\u2029"):  # line breaks to libyaml, folded into spaces
        assert read(text) == data


@given(st.dictionaries(TEXT, DATA, max_size=5))
def test_data_that_was_dumped_with_quotes_comes_back(data):
    """Block and flow style, folding and quoting are those of PyYAML; scalars it wrote in quotes are text."""
    kept = json.loads(json.dumps(data), parse_float=str, parse_int=str)
    quoted = pyyaml.safe_dump(_as_text(kept), default_style='"', allow_unicode=False)
    assert read(quoted) == _as_text(kept)


def _as_text(value):
    if isinstance(value, dict):
        return {k: _as_text(v) for k, v in value.items()}
    return [_as_text(v) for v in value] if isinstance(value, list) else str(value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_decimal(number):
    """No octal by a leading zero, no base 60."""
    assert read(f"a: {number:+025d}") == {"a": number}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_exactly(number):
    assert math.isclose(read(f"a: {number!r}")["a"], number, rel_tol=0, abs_tol=0)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("16:9", "16:9"), ("1:1", "1:1"), ("12:30:45", "12:30:45"), ("off", "off"), ("NO", "NO"), ("yes", "yes"),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("1e3", 1000.0), ("1_000", "1_000"), ("2026-11-22", "2026-11-22"),
        ("~", None), ("null", None), ("", None), ("True", True), ("FALSE", False), ("=", "="), ("0b1", "0b1"),
        (".5", 0.5), ("5.", 5.0), ("+1", 1), ("1.2.3", "1.2.3"), ("'1'", "1"), ('"true"', "true"), ("-", "-"),
        ("0.0.0.0", "0.0.0.0"), ("9" * 500 + "x", "9" * 500 + "x"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(scalar, value):
    if scalar == "-":
        assert read("a: '-'") == {"a": "-"}
    else:
        got = read(f"a: {scalar}")["a"]
        assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: {c: 3}\n", ("E107", 3, 1)),
        ("a: {b: 1, b: 2}", ("E107", 1, 11)),
        ("a: .nan", ("E111", 1, 4)),
        ("a: [1, -.inf]", ("E111", 1, 8)),
        ("a: 9223372036854775808", ("E111", 1, 4)),
        ("a: " + "9" * 5000, ("E111", 1, 4)),
        ("a: 1e999", ("E111", 1, 4)),
        ('a: "x\\0y"', ("E111", 1, 4)),
        ("a: !!python/name:os.system x", ("E109", 1, 4)),
        ("a: !custom {b: 1}", ("E109", 1, 4)),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", ("E109", 3, 3)),
        ("a: 1\n---\nb: 1\n", ("E109", 2, 1)),
        ("? [1]\n: 2\n", ("E109", 1, 3)),
        ("a: &x [*x]", ("E109", 1, 8)),
        ("a: *nobody", ("E109", 1, 4)),
        ("[" * 900, ("E110", 1, 17)),
        ("a: b: c", ("E101", 1, 5)),
        ("a:\n\t- x", ("E101", 2, 1)),
        ("a: @home", ("E101", 1, 4)),
        ("a: %x", ("E101", 1, 4)),
        ("a: 'x", ("E101", 1, 4)),
        ("a: [1, {b: 2", ("E101", 1, 8)),
        ("", ("E101", 1, 1)),
        ("# only a comment\n", ("E101", 1, 1)),
        ("a: x\x1b[31m", ("E108", 1, 5)),
        ("a: 1\n🦊: {b: 1, b: 2}", ("E107", 2, 11)),
    ],
)  # fmt: skip
def test_what_is_not_plain_data_is_refused_at_its_place(text, fault):
    assert faults(text)[:1] == [fault]


def test_brackets_without_end_crash_no_parser():
    """PyYAML before 6.0.4 would die of them; it and later ones stop at places of their own."""
    [(code, line, column)] = faults("[" * 100_000)
    assert (code, line) == ("E110", 1)
    assert column in (17, 1001)


def test_aliases_share_data_up_to_a_limit():
    """A bomb of aliases is refused before anything grows."""
    assert read("a: &x [1, {b: 2}]\nc: *x\n") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    assert [code for code, *_ in faults(bomb)] == ["E110"]
    tower = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 30))
    assert faults(tower) == [("E110", 16, 12)]


def test_several_faults_are_found_at_once():
    assert [code for code, *_ in faults("a: .nan\na: 2\nb: !x 1\n")] == ["E111", "E107", "E109"]


@given(st.text(max_size=80))
def test_no_text_raises(text):
    """Any text gives a document or a problem, never an exception."""
    problems = Problems()
    assert (parse(text, file="x", problems=problems) is not None) or problems.errors
