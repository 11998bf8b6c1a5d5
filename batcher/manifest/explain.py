"""pydantic's errors -> problems in our words, with places and the nearest name. Pure."""

from __future__ import annotations

import re
import typing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from batcher.manifest.problems import CODES, Place, Problems
from batcher.manifest.schema import PROMPT_KINDS
from batcher.manifest.values import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping of keys",
    "model": "a mapping of keys",
}


def explain(
    error: ValidationError,
    model: type[BaseModel],
    *,
    place: Callable[[Path, bool], Place],
    problems: Problems,
) -> list[tuple[str, Path]]:
    """Add each error to `problems`. Returns pydantic's kind and the path of each, for salvage."""
    found = []
    unreadable = {problem.place for problem in problems if problem.code == "E111"}  # stand as null in the data
    for detail in error.errors(include_url=False):
        path = _without_tags(detail["loc"])
        at_key = detail["type"] in {"extra_forbidden", "missing"}
        where = path[:-1] if detail["type"] == "missing" else path
        found.append((detail["type"], path))
        if (at := place(where, at_key)) not in unreadable:
            code, message, hint = _words(detail, path, model)
            problems.add(code, at, message, path=spelt(path), hint=hint)
    return found


def spelt(path: Sequence[str | int]) -> str:
    """`prompts[2].mode`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _without_tags(loc: Sequence[str | int]) -> Path:
    """Pydantic writes which kind of prompt it took an entry for into the path, after its index."""
    if len(loc) > 2 and loc[0] == "prompts" and loc[2] in PROMPT_KINDS:
        return (*loc[:2], *loc[3:])
    return tuple(loc)


def _words(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> tuple[str, str, str | None]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in CODES:
        return kind, context["message"], context["hint"]
    if kind == "extra_forbidden":
        names = sorted(_names_at(model, path[:-1]))
        return "E102", f"there is no key {path[-1]!r} here", nearest(str(path[-1]), names)
    if kind == "missing":
        return _missing(str(path[-1]), value)
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        near = get_close_matches(str(value), choices, n=1)
        return (
            "E103",
            f"{shown(value)} is not one of {', '.join(choices)}",
            f"did you mean {near[0]}?" if near else None,
        )
    if (name := re.sub(r"_(type|parsing|from_float)$", "", kind)) in _KINDS:
        hint = "put it in quotes" if name == "string" and not isinstance(value, list | dict) else None
        return "E104", f"must be {_KINDS[name]}, not {shown(value)}", hint
    return "E105", _bounds(value, context) or detail["msg"], None


def _missing(name: str, value: Any) -> tuple[str, str, str | None]:
    if name == "prompt" and isinstance(value, dict) and any(" " in key for key in value):
        return "E106", "a key with spaces and no `prompt`: is this text with a `: ` in it?", "put the text in quotes"
    near = get_close_matches(name, value, n=1) if isinstance(value, dict) else []
    return "E106", f"{name} is missing", f"is {near[0]!r} meant?" if near else f"add  {name}: ..."


def _bounds(value: Any, context: dict[str, Any]) -> str:
    limits = [
        f"{words} {context[key]:g}"
        for key, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
        if key in context
    ]
    if limits:
        return f"must be {' and '.join(limits)}, not {shown(value)}"
    unit = "characters" if isinstance(value, str) else "entries"
    limits = [
        f"{words} {context[key]}"
        for key, words in (("min_length", "at least"), ("max_length", "at most"))
        if key in context
    ]
    return f"must have {' and '.join(limits)} {unit}, not {len(value)}" if limits else ""


def nearest(name: str, names: Sequence[str]) -> str:
    """The hint for a name nobody knows."""
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"keys here: {', '.join(names)}"


def _names_at(model: type[BaseModel], path: Path) -> set[str]:
    """The keys that a mapping at `path` may have."""
    models = {model}
    for step in path:
        if isinstance(step, str):
            fields = [m.model_fields[step].annotation for m in models if step in m.model_fields]
            models = {found for annotation in fields for found in _models_in(annotation)}
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)
