"""What a task's clip is called and where it goes: always below the job's folder, never two in one place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from batcher.manifest.names import file_part
from batcher.manifest.templates import Template, TemplateError, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batcher.manifest.problems import Problems
    from batcher.manifest.schema import ManifestFile
    from batcher.manifest.yaml import Document

DEFAULT = "{{ job }}/{{ id }}{{ axes }}-t{{ take }}"
DEFAULT_WITH_EDITION = "{{ job }}/{{ edition }}/{{ id }}{{ axes }}-t{{ take }}"


class _Flat(Mapping[str, str]):
    """The variables without slashes in their values. Only those that a name uses are looked at."""

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context

    def __getitem__(self, name: str) -> str:
        return self._context[name].replace("/", "-").replace("\\", "-")

    def __iter__(self) -> Iterator[str]:
        return iter(self._context)

    def __len__(self) -> int:
        return len(self._context)


class Naming:
    """The names of one job's tasks."""

    def __init__(self, manifest: ManifestFile, document: Document, *, edition: str, problems: Problems) -> None:
        self._problems = problems
        self._place = document.place(("output", "name"))
        default = DEFAULT_WITH_EDITION if edition else DEFAULT
        self._given = manifest.output.name
        self._template = self._parsed(self._given or default) or parse(default)
        self._own_slashes = sum(part.count("/") for part in self._template.parts if isinstance(part, str))
        if self._given and edition and "edition" not in self.names:
            self._say("W405", "two editions' clips differ by a number only", "put {{ edition }} into the name")

    @property
    def names(self) -> frozenset[str]:
        """The variables that names are made from."""
        return self._template.names

    def output(self, context: Mapping[str, str]) -> str | None:
        """The path of a task's files, relative to the output root and without extension; None where it has none.

        Its first part is the job. A slash in the template makes folders, one in a value does not.
        """
        try:
            parts = self._rendered(context).split("/")
        except TemplateError as error:
            self._say(error.code, error.message, error.hint)
            return None
        if any(part.strip() in {"", ".", ".."} for part in parts):
            self._say("E213", f"{'/'.join(parts)!r} leaves the job's folder", "write {{ id }}{{ axes }}-t{{ take }}")
            return None
        job = context["job"]
        below = parts[1:] if parts[0] == job and len(parts) > 1 else parts
        return "/".join((job, *(file_part(part) for part in below)))

    def _rendered(self, context: Mapping[str, str]) -> str:
        """The template filled with values in which no slash makes a folder."""
        if self._template.pattern:
            text = self._template.render(context)
            if text.count("/") == self._own_slashes and "\\" not in text:
                return text
        return self._template.render(_Flat(context))

    def clash(self, name: str, *, first: str, axes: Iterable[str]) -> str:
        """What to say of a task whose name another has, the one from `first`."""
        missing = [each for each in axes if each not in self.names] if "axes" not in self.names else []
        hint = f"; output.name does not tell {', '.join(missing)} apart" if missing else ""
        return f"its name is {name!r}, and so is that of {first}{hint}"

    def _parsed(self, text: str) -> Template | None:
        try:
            return parse(text)
        except TemplateError as error:
            self._say(error.code, error.message, error.hint)
            return None

    def _say(self, code: str, message: str, hint: str) -> None:
        self._problems.add(code, self._place, message, path="output.name", hint=hint)
