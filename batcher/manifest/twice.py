"""What is there twice among a million: found by numbers alone first, as texts would fill the memory. Pure."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

_PARTS = 64


class Met:
    """Things of one kind, and where each was met first: of few that are suspected, as they came twice before.

    A first reading suspects nothing. It keeps a number of 64 bits of each thing, 8 bytes. Two things may share a
    number (any two in a million: one time in 37 million), so a second reading compares the things themselves.
    Python's own hash of texts is keyed anew in each process: nobody can aim at it.
    """

    def __init__(self, suspected: frozenset[int] | None = None) -> None:
        self._suspected = suspected
        self._parts = [array("q") for _ in range(_PARTS)]
        self._first: dict[Hashable, str] = {}

    def before(self, thing: Hashable, *, at: str) -> str | None:
        """Remember a thing. The place where it was met before; None where it was not, or none is suspected."""
        number = hash(thing)
        if self._suspected is None:
            self._parts[number % _PARTS].append(number)
        elif number in self._suspected:
            if thing in self._first:
                return self._first[thing]
            self._first[thing] = at
        return None

    def suspects(self) -> frozenset[int]:
        """The numbers that came more than once."""
        found: set[int] = set()
        for part in self._parts:
            if len(set(part)) < len(part):
                seen: set[int] = set()
                for number in part:
                    (found if number in seen else seen).add(number)
        return frozenset(found)
