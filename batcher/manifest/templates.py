"""Templates of prompts and names: `{{ name }}` and `{{ name | filter }}`, nothing else. Pure.

On purpose no template language: a manifest may come from a stranger. (A whole engine with fuel was measured:
`{% set a = a ~ a %}` 26 times takes few steps and all memory, and aborts the process.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from batcher.manifest.names import slug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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


MAX_TEMPLATE = 20_000
"""Characters of a template; the API takes 500 to 2,500."""
MAX_RENDERED = 100_000
"""Characters it may grow to: a long value in many slots would fill all memory."""
MAX_FILTERS = 8
"""In one slot."""
_FEW = 16
"""So many slots are filled at once, as even the longest values (`values.MAX_TEXT`) do not fill the memory then."""


class TemplateError(Exception):
    """A template that cannot be read, or a variable without a value."""

    def __init__(
        self, code: str, message: str, *, hint: str, fragment: str, name: str = "", among: Iterable[str] = ()
    ) -> None:
        """`name` is of a variable without a value, `among` are those that have one."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.fragment = fragment
        """The part of the template it is about, to find its column."""
        self._hint, self._name, self._among = hint, name, among

    @cached_property
    def near(self) -> str | None:
        """The variable that may be meant. Looked for only when somebody wants to know: it takes its time."""
        return next(iter(get_close_matches(self._name, self._among, n=1)), None) if self._name else None

    @property
    def hint(self) -> str:
        return f"did you mean {self.near}?" if self.near else self._hint


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
    pattern: tuple[str, tuple[str, ...]] | None = None
    """The same as a text with `%s` in it and the names that fill it, for a short template without filters."""

    def render(self, variables: Mapping[str, str]) -> str:
        """The text with every slot filled.

        Raises TemplateError for a variable without a value, and for a text without an end.
        """
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            return self.parts[0]
        if self.pattern:
            words, names = self.pattern
            values = [variables.get(name) for name in names]
            if None not in values and len(text := words % tuple(values)) <= MAX_RENDERED:
                return text
        texts: list[str] = []
        length = 0
        for part in self.parts:
            texts.append(part if isinstance(part, str) else _fill(part, variables))
            length += len(texts[-1])
            if length > MAX_RENDERED:
                raise TemplateError(
                    "E105",
                    f"the text grows beyond {MAX_RENDERED:,} characters",
                    hint="shorten the values that fill it",
                    fragment="" if isinstance(part, str) else part.fragment,
                )
        return "".join(texts)

    def sketch(self, variables: Mapping[str, str]) -> str:
        """The text with what is known already; other slots are left out."""
        texts: list[str] = []
        length = 0
        for part in self.parts:
            if isinstance(part, str) or part.name in variables:
                texts.append(part if isinstance(part, str) else _fill(part, variables))
                length += len(texts[-1])
            if length > MAX_RENDERED:
                break  # `render` refuses it
        return " ".join("".join(texts).split())


def parse(text: str) -> Template:
    """Read a template. Raises TemplateError."""
    if len(text) > MAX_TEMPLATE:
        message = f"a text of {len(text):,} characters; the most is {MAX_TEMPLATE:,}"
        raise TemplateError("E105", message, hint="shorten it", fragment="")
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
        filters = re.findall(r"\w+", slot[2])
        if len(filters) > MAX_FILTERS:
            message = f"{len(filters):,} filters in one place; the most is {MAX_FILTERS}"
            raise TemplateError("E208", message, hint="one or two will do", fragment=slot[0][:40])
        parts.append(_Slot(slot[1], tuple(_filter(f, slot[0]) for f in filters), slot[0]))
        position = slot.end()
    parts.append(text[position:])
    kept = tuple(p for p in parts if p != "")
    slots = [p for p in kept if isinstance(p, _Slot)]
    words = "".join("%s" if isinstance(p, _Slot) else p.replace("%", "%%") for p in kept)
    is_plain = 0 < len(slots) <= _FEW and not any(slot.filters for slot in slots)
    names = tuple(slot.name for slot in slots)
    return Template(kept, frozenset(names), (words, names) if is_plain else None)


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
        raise TemplateError(
            "E209",
            f"nothing gives {slot.name!r} a value",
            hint=f"add it: vars: {{{slot.name}: ...}}",
            fragment=slot.fragment,
            name=slot.name,
            among=variables,
        ) from None
    for each in slot.filters:
        text = each(text)
    return text
