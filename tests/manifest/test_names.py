from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.manifest.names import cut, file_part, id_from_words, same_key, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16:9", "16x9"), ("Dawn Light", "dawn-light"), ("Café au lait", "cafe-au-lait"), ("0.5", "0.5"),
        ("a_b", "a-b"), ("--x--", "x"), ("v1.", "v1"), ("3 : 4", "3-4"),
    ],
)  # fmt: skip
def test_a_slug_is_short_and_plain(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fox_1.a", "Fox_1.a"), ("../../etc/passwd", "etc-passwd"), ("-rf", "rf"), (".env", "env"), ("x.", "x"),
        ("CON", "_CON"), ("con.txt", "_con.txt"), ("Lpt1", "_Lpt1"), ("console", "console"), ("a\0b", "a-b"),
        ("a b", "a-b"),
    ],
)  # fmt: skip
def test_a_part_of_a_path_is_harmless(text, expected):
    assert file_part(text) == expected


@given(st.text())
def test_every_text_has_a_name_that_every_file_system_takes(text):
    for name in (file_part(text), cut(slug(text), 80)):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", name)
        assert not name.endswith(".")


@given(st.text(st.characters(categories=["Lo"]), min_size=1), st.text(st.characters(categories=["Lo"]), min_size=1))
def test_letters_that_cannot_be_written_in_ascii_still_tell_names_apart(one, other):
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert same or slug(one) != slug(other)
    assert same or file_part(one) != file_part(other)


@given(st.text(min_size=1))
def test_names_that_look_alike_have_one_key(text):
    assert same_key(unicodedata.normalize("NFD", text)) == same_key(unicodedata.normalize("NFC", text))
    assert same_key("CAFÉ") == same_key("cafe\u0301")


def test_an_id_is_made_from_the_words_of_the_prompt():
    assert id_from_words("A red fox") == "a-red-fox"
    long = "A lighthouse in a winter storm, waves break over the rocks"
    assert re.fullmatch(r"a-lighthouse-in-a-winter-storm-[0-9a-f]{6}", id_from_words(long))
    assert id_from_words(long) != id_from_words(long + "!")
    assert id_from_words("A red fox!") != id_from_words("A red fox")
    assert re.fullmatch(r"[0-9a-f]{6}(-[0-9a-f]{6})?", id_from_words("赤い狐"))
    assert len(id_from_words("x" * 500)) <= 40


def test_a_name_that_is_too_long_keeps_its_beginning_and_a_hash():
    one, other = cut("a" * 100 + "1", 80), cut("a" * 100 + "2", 80)
    assert len(one) == len(other) == 80
    assert one != other
