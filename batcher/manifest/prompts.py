"""The `prompts` of a manifest -> one `Prompt` after the other, whatever they were written in. A stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batcher.manifest.explain import explain, nearest, spelt
from batcher.manifest.matrix import walked_together
from batcher.manifest.schema import PARAMETERS, RESERVED, FileEntry, PromptEntry, PromptFields
from batcher.manifest.templates import TemplateError, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batcher.manifest.explain import Path
    from batcher.manifest.files import Sources
    from batcher.manifest.problems import Place, Problems
    from batcher.manifest.rows import Row
    from batcher.manifest.schema import AxesBase, ManifestFile, Parameters
    from batcher.manifest.yaml import Document

_EMPTY_IS_UNSET = frozenset({*PARAMETERS, "id", "prompt", "priority", "params"})
"""Columns whose empty cells say nothing. In a column of yours an empty cell is empty text."""

_NOT_IN_ROWS = RESERVED | {"zip"}
_PARAMETERS = frozenset(PARAMETERS)


@dataclass(frozen=True, slots=True)
class Placed:
    """A value of an axis and where it stands; equal where the values are."""

    value: Any
    place: Callable[[], Place] = field(compare=False, repr=False)


NO_WALKS: list[dict[str, Placed]] = [{}]
"""The combinations of a prompt without axes of its own."""


@dataclass(slots=True, kw_only=True)  # not frozen: a million are made, and that is three times as dear
class Prompt:
    """One prompt before matrix and templates, from whatever source."""

    id: str | None
    """A template, as are `text` and a negative prompt."""
    text: str
    text_key: str = "prompt"
    """Where the text stands: `prompt`, or `template` of a file entry."""
    settings: Mapping[str, Any]
    """Parameters set here; None unsets a default."""
    passed: Mapping[str, Any]
    """Under `params`: fields for the API that this version does not know."""
    variables: Mapping[str, str]
    walks: list[dict[str, Placed]]
    """The combinations of its own `zip`; one empty one without."""
    priority: int
    place: Callable[[str], Place]
    """Where a key of it stands; the prompt as a whole for a key it has not."""
    path: str
    """`prompts[2]`, or the empty text for a row of a file."""
    source: str
    """`jobs/x.yaml:14`: where it stands as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """What a file entry says for all its rows."""

    settings: Mapping[str, Any]
    walks: list[dict[str, Placed]]


class PromptReader:
    """Reads the prompts of one manifest, in a stream. What is wrong goes to `problems`."""

    def __init__(self, manifest: ManifestFile, document: Document, sources: Sources, problems: Problems) -> None:
        self._manifest, self._document, self._sources, self._problems = manifest, document, sources, problems
        self._nodes = document.root.value["prompts"].value

    def prompts(self, *, skip: frozenset[int], used: frozenset[str]) -> Iterator[Prompt]:
        """Every prompt. Entries in `skip` are left out; `used` are names that templates elsewhere use."""
        for index, entry in enumerate(self._manifest.prompts):
            if index in skip:
                continue
            extras: Mapping[str, str] = {} if isinstance(entry, str) else entry.__pydantic_extra__
            unused = set(extras) - used
            for prompt in self._of_entry(index, entry):
                if unused:
                    for text in (prompt.text, prompt.id or "", str(prompt.settings.get("negative_prompt", ""))):
                        unused -= names_in(text)
                yield prompt
            for name in sorted(unused):
                place = self._document.place(("prompts", index, name), key=True)
                message = f"there is no key {name!r} here, and no template of this prompt uses it as a variable"
                hint = nearest(name, sorted(type(entry).model_fields) if isinstance(entry, PromptFields) else [])
                self._problems.add("E102", place, message, path=f"prompts[{index}].{name}", hint=hint)

    def _of_entry(self, index: int, entry: str | PromptEntry | FileEntry) -> Iterator[Prompt]:
        if isinstance(entry, str):
            yield self._from_entry(index, PromptEntry(prompt=entry))
        elif isinstance(entry, PromptEntry):
            yield self._from_entry(index, entry)
        else:
            at = self._entry_place(index, "file")
            errors, empty = self._problems.errors, True
            own = _Own(settings=settings_of(entry), walks=self._own_walks(index, entry.zip))
            for row in self._sources.rows(entry.file, at):
                empty = False
                if self._problems.is_hopeless:
                    return
                if prompt := self._from_row(index, entry, own, row):
                    yield prompt
            if empty and self._problems.errors == errors:
                self._problems.add("E204", at, f"{entry.file} holds no prompts", hint="add one, or remove this entry")

    def _from_entry(self, index: int, entry: PromptEntry) -> Prompt:
        return Prompt(
            id=entry.id,
            text=entry.prompt,
            settings=settings_of(entry),
            passed=entry.params or {},
            variables=entry.__pydantic_extra__,
            walks=self._own_walks(index, entry.zip),
            priority=entry.priority,
            place=partial(self._entry_place, index),
            path=f"prompts[{index}]",
            source=str(self._entry_place(index, "")),
        )

    def _from_row(self, index: int, entry: FileEntry, own: _Own, row: Row) -> Prompt | None:
        """A row in the light of its file's entry: what the row says itself wins."""
        values = row.values
        if "" in values.values():
            values = {k: v for k, v in values.items() if v != "" or k not in _EMPTY_IS_UNSET}
        if taken := _NOT_IN_ROWS.intersection(values):
            name = min(taken)
            self._problems.add("E214", row.place(name), f"{name!r} is batcher's own name", hint="rename the column")
            return None
        try:
            fields = (PromptFields if entry.template else PromptEntry).model_validate(values)
        except ValidationError as error:
            explain(error, PromptEntry, place=partial(_row_place, row), problems=self._problems)
            return None
        extras, fields_set = fields.__pydantic_extra__, fields.model_fields_set
        own_id = {} if fields.id is None else {"id": fields.id}
        return Prompt(
            id=entry.id or fields.id,
            text=entry.template or fields.prompt if isinstance(fields, PromptEntry) else str(entry.template),
            text_key="template" if entry.template else "prompt",
            settings=own.settings if fields_set.isdisjoint(_PARAMETERS) else {**own.settings, **settings_of(fields)},
            passed={**(entry.params or {}), **(fields.params or {})} if entry.params or fields.params else {},
            variables={**entry.__pydantic_extra__, **extras, **own_id},
            walks=own.walks,
            priority=fields.priority if "priority" in fields_set else entry.priority,
            place=partial(self._row_or_entry_place, index, row),
            path="",
            source=row.source,
        )

    def _own_walks(self, index: int, axes: AxesBase | None) -> list[dict[str, Placed]]:
        if axes is None:
            return NO_WALKS
        path = ("prompts", index, "zip")
        return walks_of(axes_of(axes, self._document, path), self._document, path, self._problems)

    def _entry_place(self, index: int, key: str) -> Place:
        node = self._nodes[index]
        path = ("prompts", index, key) if isinstance(node.value, dict) and key in node.value else ("prompts", index)
        return self._document.place(path)

    def _row_or_entry_place(self, index: int, row: Row, key: str) -> Place:
        if key in row.values or key not in self._nodes[index].value:
            return row.place(key)
        return self._entry_place(index, key)


def settings_of(model: Parameters) -> dict[str, Any]:
    """The parameters that are set in a model, None included, as the API takes them."""
    if model.model_fields_set.isdisjoint(_PARAMETERS):
        return {}
    return model.model_dump(include=set(PARAMETERS), exclude_unset=True)


def axes_of(axes: AxesBase, document: Document, path: Path) -> dict[str, list[Placed]]:
    """The axes that are set, in the order they are written, each value with its place."""
    values = axes.model_dump(include=set(PARAMETERS), exclude_none=True) | axes.__pydantic_extra__
    names = [name for name in document.root.at(path).keys if name in values]
    return {
        name: [Placed(v, partial(document.place, (*path, name, n))) for n, v in enumerate(values[name])]
        for name in names
    }


def walks_of(
    axes: dict[str, list[Placed]], document: Document, path: Path, problems: Problems
) -> list[dict[str, Placed]]:
    """The axes walked together; none and a problem where their lengths differ."""
    try:
        return walked_together(axes)
    except ValueError:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in axes.items())
        message = f"axes of unequal length: {lengths}"
        problems.add("E210", document.place(path, key=True), message, path=spelt(path), hint="make them equal")
        return []


def names_in(text: str) -> frozenset[str]:
    """The variables a template uses; none where it cannot be read, which is said elsewhere."""
    try:
        return parse(text).names if "{{" in text else frozenset()
    except TemplateError:
        return frozenset()


def _row_place(row: Row, path: Path, _at_key: bool) -> Place:  # noqa: FBT001  # the signature that `explain` calls
    return row.place(str(path[0]) if path else "")
