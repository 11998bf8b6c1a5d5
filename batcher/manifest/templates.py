"""Templates of prompts and names: `{{ name }}` and `{{ name | filter }}`, nothing else. Pure.

On purpose no template language: a manifest may come from a stranger. (A whole engine with fuel was measured:
`{% set a = a ~ a %}` 26 times takes few steps and all memory, and aborts the process.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from batcher.manifest.names import slug

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILTERS: dict[str, Callable[[str], str]] = {
    "slug": slug,
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "trim": str.strip,
}

_OPENING = re.compile(r"\{\{|\{%|\{#")
_SLOT = re.compile(r"\{\{\s*([^\W\d]\w*)\s*((?:\|\s*\w+\s*)*)\}\}")
_DOLLAR = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class TemplateError(Exception):
    """A template that cannot be read, or a variable without a value."""

    def __init__(self, code: str, message: str, *, hint: str, fragment: str, near: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.fragment = fragment
        """The part of the template it is about, to find its column."""
        self.near = near
        """The variable that may be meant."""


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    filters: tuple[Callable[[str], str], ...]
    fragment: str


@dataclass(frozen=True, slots=True)
class Template:
    """Text and slots in turn."""

    parts: tuple[str | _Slot, ...]
    names: frozenset[str]

    def render(self, variables: Mapping[str, str]) -> str:
        """The text with every slot filled. Raises TemplateError for a variable without a value."""
        return "".join(part if isinstance(part, str) else _fill(part, variables) for part in self.parts)

    def sketch(self, variables: Mapping[str, str]) -> str:
        """The text with what is known already; other slots are left out."""
        known = (p if isinstance(p, str) else _fill(p, variables) if p.name in variables else "" for p in self.parts)
        return " ".join("".join(known).split())


def parse(text: str) -> Template:
    """Read a template. Raises TemplateError."""
    if "{" not in text:
        return Template((text,), frozenset())
    return _parse(text)


@lru_cache(maxsize=1024)  # the templates of a manifest; the rows of a file only pass through
def _parse(text: str) -> Template:
    if dollar := _DOLLAR.search(text):
        raise TemplateError(
            "E112",
            f"{dollar[0]} is not filled in here",
            hint="write {{ name }} and set it in `vars`",
            fragment=dollar[0],
        )
    parts: list[str | _Slot] = []
    position = 0
    while opening := _OPENING.search(text, position):
        parts.append(text[position : opening.start()])
        slot = _SLOT.match(text, opening.start())
        if slot is None:
            fragment = text[opening.start() : opening.start() + 40].split("}}", maxsplit=1)[0]
            raise TemplateError(
                "E208",
                f"{fragment!r} is not a variable",
                hint="write {{ name }} or {{ name | slug }}; there are no blocks, calls or attributes",
                fragment=fragment,
            )
        parts.append(_Slot(slot[1], tuple(_filter(f, slot[0]) for f in re.findall(r"\w+", slot[2])), slot[0]))
        position = slot.end()
    parts.append(text[position:])
    return Template(tuple(p for p in parts if p != ""), frozenset(p.name for p in parts if isinstance(p, _Slot)))


def _filter(name: str, fragment: str) -> Callable[[str], str]:
    if name not in FILTERS:
        near = get_close_matches(name, FILTERS, n=1)
        raise TemplateError(
            "E208",
            f"there is no filter {name!r}",
            hint=f"did you mean {near[0]}?" if near else f"filters: {', '.join(FILTERS)}",
            fragment=fragment,
        )
    return FILTERS[name]


def _fill(slot: _Slot, variables: Mapping[str, str]) -> str:
    try:
        text = variables[slot.name]
    except KeyError:
        near = get_close_matches(slot.name, variables, n=1)
        raise TemplateError(
            "E209",
            f"nothing gives {slot.name!r} a value",
            hint=f"did you mean {near[0]}?" if near else f"add it: vars: {{{slot.name}: ...}}",
            fragment=slot.fragment,
            near=near[0] if near else None,
        ) from None
    for each in slot.filters:
        text = each(text)
    return text
