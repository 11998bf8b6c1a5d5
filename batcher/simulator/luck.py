"""Chance by seed: the same seed asked the same question answers the same, in whatever order questions come. Pure."""

from __future__ import annotations

from random import Random


def luck(*question: object) -> Random:
    """Return a generator of numbers that depends on nothing but `question`, the seed among it.

    Requests arrive in any order, so one shared generator would give each run another world.
    """
    seed = "\0".join(map(str, question)).encode(errors="backslashreplace")  # an id may hold a lone surrogate
    return Random(seed)  # noqa: S311 - a rehearsal wants luck it can repeat
