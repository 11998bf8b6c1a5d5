"""The matrix, zip and overrides of a manifest, ready to be walked: which combinations, what they change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batcher.manifest.explain import nearest, spelt
from batcher.manifest.matrix import combinations, size
from batcher.manifest.names import cut, slug
from batcher.manifest.prompts import Placed, axes_of, settings_of, walks_of
from batcher.manifest.values import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batcher.manifest.problems import Problems
    from batcher.manifest.schema import Combination, ManifestFile
    from batcher.manifest.yaml import Document

MAX_COMBINATIONS = 100_000
MAX_WORK = 20_000_000
"""Comparisons of rules with combinations, or of overrides with tasks: some ten seconds."""

Walk = dict[str, Placed]
"""One combination of all axes."""


def walks(manifest: ManifestFile, document: Document, problems: Problems) -> list[Walk]:
    """Matrix times zip: every combination that each prompt is made in."""
    axes = axes_of(manifest.matrix, document, ("matrix",)) if "matrix" in manifest.model_fields_set else {}
    zipped = axes_of(manifest.zip, document, ("zip",)) if manifest.zip else {}
    for name in zipped:
        if name in axes:
            problems.add("E214", document.place(("zip", name), key=True), f"{name!r} is an axis of `matrix` too",
                         path=f"zip.{name}", hint="keep one of them")  # fmt: skip
    if size(axes) > MAX_COMBINATIONS:
        message = f"the matrix has {size(axes):,} combinations; the most is {MAX_COMBINATIONS:,}"
        problems.add("E110", document.place(("matrix",), key=True), message, path="matrix", hint="split the manifest")
        return []
    rules = len(manifest.matrix.exclude) + len(manifest.matrix.include)
    longest = max((len(values) for values in zipped.values()), default=1)
    if (size(axes) + rules) * max(rules, longest) > MAX_WORK:
        message = f"{size(axes):,} combinations, {rules:,} rules and a zip of {longest:,} are too much"
        problems.add("E110", document.place(("matrix",), key=True), message, path="matrix", hint="split the manifest")
        return []
    exclude = [_placed(c, document, ("matrix", "exclude", n)) for n, c in enumerate(manifest.matrix.exclude)]
    include = [_placed(c, document, ("matrix", "include", n)) for n, c in enumerate(manifest.matrix.include)]
    _check_excludes(axes, exclude, document, problems)
    together = walks_of(zipped, document, ("zip",), problems) if zipped else [{}]
    return [{**m, **z} for m in combinations(axes, exclude=exclude, include=include) for z in together]


def varying(walks_: Iterable[Walk]) -> list[str]:
    """The axes with more than one value, in order: those that a file name must tell apart."""
    seen: dict[str, list[Placed | None]] = {}
    all_walks = list(walks_)
    for name in dict.fromkeys(name for walk in all_walks for name in walk):
        values = seen.setdefault(name, [])
        for walk in all_walks:
            value = walk.get(name)
            if value not in values:
                values.append(value)
            if len(values) > 1:
                break
    return [name for name, values in seen.items() if len(values) > 1]


def axes_text(walk: Walk, names: Iterable[str]) -> str:
    """`-16x9-dawn`: what `{{ axes }}` stands for."""
    return "".join(f"-{_label(walk[name].value)}" for name in names if name in walk)


def _label(value: Any) -> str:
    return "default" if value is None else cut(slug(as_text(value)), 24)


def values_of(combination: Combination) -> dict[str, Any]:
    """The parameters and variables that a combination sets."""
    return {**settings_of(combination), **combination.__pydantic_extra__}


def _placed(combination: Combination, document: Document, path: tuple[str | int, ...]) -> Walk:
    values = values_of(combination)
    return {name: Placed(values[name], _at(document, (*path, name))) for name in document.root.at(path).keys}


def _at(document: Document, path: tuple[str | int, ...]) -> Any:
    return lambda: document.place(path)


def _check_excludes(
    axes: Mapping[str, list[Placed]], exclude: list[Walk], document: Document, problems: Problems
) -> None:
    for n, values in enumerate(exclude):
        for name, value in values.items():
            path = ("matrix", "exclude", n, name)
            if name not in axes:
                hint = nearest(name, sorted(axes))
                message = f"there is no axis {name!r} in `matrix`"
                problems.add("E102", document.place(path, key=True), message, path=spelt(path), hint=hint)
            elif value not in axes[name]:
                message = f"{as_text(value.value)!r} is no value of the axis {name}: nothing is excluded"
                problems.add("W403", document.place(path), message, path=spelt(path), hint="correct it, or remove it")


@dataclass(frozen=True, slots=True)
class Change:
    """One override: what it matches, as text, and what it sets."""

    index: int
    when: Mapping[str, str]
    settings: Mapping[str, Any]
    passed: Mapping[str, Any]
    priority: int | None

    def matches(self, context: Mapping[str, str]) -> bool:
        return all(context.get(name) == text for name, text in self.when.items())


def changes(manifest: ManifestFile) -> list[Change]:
    """The overrides, in order."""
    return [
        Change(
            index,
            {name: as_text(value) for name, value in values_of(each.when).items()},
            settings_of(each.set),
            each.set.params or {},
            each.set.priority,
        )
        for index, each in enumerate(manifest.overrides)
    ]
