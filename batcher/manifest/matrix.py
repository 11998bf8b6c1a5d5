"""Combinations of axes: the product by GitHub Actions' rules, and axes walked together. Pure."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")


def size(axes: Mapping[str, Sequence[T]]) -> int:
    """How many combinations the axes have, before exclude and include."""
    return math.prod(len(values) for values in axes.values())


def combinations(
    axes: Mapping[str, Sequence[T]],
    *,
    exclude: Sequence[Mapping[str, T]] = (),
    include: Sequence[Mapping[str, T]] = (),
) -> list[dict[str, T]]:
    """All combinations, the first axis slowest.

    `exclude` drops every combination that has all of its values. Then each `include` is added to every
    combination whose axes it would not change (what an earlier include added may change); where there is none
    it becomes a combination of its own, which later includes leave alone. Without axes and includes there is one
    empty combination.
    """
    if not axes and not include:
        return [{}]
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    grown = [combo for combo in product if not any(_has_all(combo, each) for each in exclude)]
    own: list[dict[str, T]] = []
    for extra in include:
        fits = [combo for combo in grown if all(combo[k] == v for k, v in extra.items() if k in axes)]
        for combo in fits:
            combo.update(extra)
        if not fits:
            own.append(dict(extra))
    return grown + own


def walked_together(axes: Mapping[str, Sequence[T]]) -> list[dict[str, T]]:
    """The first values of all axes, then the second ... Raises ValueError where their lengths differ."""
    if not axes:
        return [{}]
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def _has_all(combo: Mapping[str, T], values: Mapping[str, T]) -> bool:
    return all(k in combo and combo[k] == v for k, v in values.items())
