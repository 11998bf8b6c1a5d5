from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.manifest.matrix import combinations, walked_together

NAMES = st.sampled_from("abc")
VALUES = st.integers(0, 3)
AXES = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=4, unique=True), max_size=3)
PARTIAL = st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1, max_size=3)


def test_the_example_of_the_documentation_of_github_actions():
    """The published example of `include` gives the published result."""
    got = combinations(
        {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]},
        include=[
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    )
    assert got == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


@given(AXES)
def test_without_rules_it_is_the_product(axes):
    got = combinations(axes)
    assert [tuple(c.values()) for c in got] == list(itertools.product(*axes.values()))


@given(AXES, st.lists(PARTIAL, max_size=3))
def test_exclude_drops_exactly_what_matches_all_of_it(axes, exclude):
    kept = combinations(axes, exclude=exclude)
    for combo in combinations(axes):
        assert (combo in kept) == (not any(x.items() <= combo.items() for x in exclude))


@given(AXES.filter(bool), st.lists(PARTIAL, max_size=3), st.lists(PARTIAL, max_size=4))
def test_include_never_changes_an_axis_and_never_drops_a_combination(axes, exclude, include):
    before = combinations(axes, exclude=exclude)
    after = combinations(axes, exclude=exclude, include=include)
    assert [{k: c[k] for k in axes} for c in after[: len(before)]] == before
    for extra in include:
        assert any(extra.keys() <= combo.keys() for combo in after), "each include ends up somewhere"


@given(AXES.filter(bool), st.lists(PARTIAL, max_size=4))
def test_an_include_that_fits_nowhere_stands_alone(axes, include):
    alone = [
        x for x in include if not any(all(c[k] == v for k, v in x.items() if k in axes) for c in combinations(axes))
    ]
    assert combinations(axes, include=include)[len(combinations(axes)) :] == alone


def test_only_includes_make_one_combination_each():
    assert combinations({}, include=[{"a": 1}, {"a": 1}]) == [{"a": 1}, {"a": 1}]
    assert combinations({}) == [{}]


def test_axes_of_a_zip_are_walked_together():
    assert walked_together({"a": [1, 2], "b": [3, 4]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert walked_together({}) == [{}]
    with pytest.raises(ValueError, match="zip"):
        walked_together({"a": [1], "b": [1, 2]})
