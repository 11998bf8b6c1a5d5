from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.manifest.templates import FILTERS, TemplateError, parse


def test_names_and_filters_are_filled_in():
    template = parse("{{ a }} and {{b|upper}}, {{ ratio | slug | upper }}{{ größe }}")
    assert template.render({"a": "1", "b": "x", "ratio": "16:9", "größe": "g"}) == "1 and X, 16X9g"
    assert template.names == {"a", "b", "ratio", "größe"}


@given(st.text(st.characters(exclude_characters="{$")), st.text())
def test_text_without_slots_and_values_come_through_untouched(text, value):
    """A value is never read as a template."""
    assert parse(text).render({}) == text
    assert parse(f"{text}{{{{ v }}}}").render({"v": value}) == text + value


@pytest.mark.parametrize(
    ("text", "code", "fragment"),
    [
        ("a {{ b.c }}", "E208", "{{ b.c "),
        ("{{ b() }}", "E208", "{{ b() "),
        ("{{ 'x' * 9 }}", "E208", "{{ 'x' * 9 "),
        ("{% set a = a ~ a %}", "E208", "{% set a = a ~ a %}"),
        ("{# note #}", "E208", "{# note #}"),
        ("{{ a", "E208", "{{ a"),
        ("{{ }}", "E208", "{{ "),
        ("{{ a | exec }}", "E208", "{{ a | exec }}"),
        ("${HOME}", "E112", "${HOME}"),
    ],
)
def test_there_is_nothing_but_names_and_filters(text, code, fragment):
    with pytest.raises(TemplateError) as caught:
        parse(text)
    assert (caught.value.code, caught.value.fragment) == (code, fragment)


def test_an_unknown_variable_is_an_error_with_the_nearest_name():
    with pytest.raises(TemplateError) as caught:
        parse("{{ seson }}").render({"season": "spring", "x": ""})
    assert (caught.value.code, caught.value.hint, caught.value.near) == ("E209", "did you mean season?", "season")


def test_a_sketch_leaves_out_what_is_not_known_yet():
    assert parse("A {{ a }} fox in {{ b }} light").sketch({"a": "red"}) == "A red fox in light"


@given(st.sampled_from(sorted(FILTERS)), st.text(max_size=200))
def test_no_filter_makes_much_out_of_little(name, text):
    assert len(FILTERS[name](text)) <= 3 * len(text) + 7
