"""One task while it is put together: a prompt that was read, and layer after layer on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batcher import catalog
from batcher.manifest.values import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.manifest.axes import Change, Walk
    from batcher.manifest.problems import Place
    from batcher.manifest.prompts import Prompt
    from batcher.manifest.templates import Template


@dataclass(slots=True, kw_only=True)  # this and the next are not frozen: a million are made of each
class Ready:
    """A prompt, read: what all its tasks share."""

    prompt: Prompt
    text: Template
    used: frozenset[str]
    """The variables its templates use."""
    context: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Draft:
    """One task while layer after layer is put on it."""

    ready: Ready
    walk: Walk
    context: dict[str, str]
    """What templates and `when` see."""
    settings: dict[str, Any]
    passed: Mapping[str, Any]
    priority: int
    changed_by: list[Change]


def own_place(prompt: Prompt, key: str) -> tuple[Place, str]:
    """Where a key of a prompt stands, and its path."""
    return prompt.place(key), f"{prompt.path}.{key}" if prompt.path else key


def let_templates_see(settings: Mapping[str, Any], context: dict[str, str]) -> None:
    """Parameters, as templates see them: unset ones as what the API assumes."""
    for name, value in settings.items():
        context[name] = catalog.DEFAULTS.get(name, "") if value is None else as_text(value)
