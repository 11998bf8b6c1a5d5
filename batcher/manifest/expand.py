"""Prompts x matrix x zip x takes -> tasks, in that order; then overrides, then templates. A stream.

Everything is checked here that needs a whole task: lengths, the rules of its model, names, and that no request is
there twice. Problems are collected while tasks are yielded; a caller buys nothing before the stream has ended.
Nothing is kept of a task that was yielded but the numbers which tell that something was there twice; where was, it is
all read a second time for the two places.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from batcher import catalog
from batcher.identity import request_text
from batcher.manifest.axes import MAX_WORK, axes_text, changes, varying, walks
from batcher.manifest.draft import Draft, Ready, let_templates_see, own_place
from batcher.manifest.explain import nearest, spelt
from batcher.manifest.names import id_from_words, same_key
from batcher.manifest.naming import Naming
from batcher.manifest.problems import Place, Problems
from batcher.manifest.prompts import NO_WALKS, PromptReader, names_in, settings_of
from batcher.manifest.schema import PARAMETERS, RESERVED
from batcher.manifest.templates import TemplateError, parse
from batcher.manifest.twice import Met
from batcher.manifest.values import objection
from batcher.tasks import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from batcher.manifest.axes import Walk
    from batcher.manifest.files import Sources
    from batcher.manifest.prompts import Prompt
    from batcher.manifest.schema import ManifestFile
    from batcher.manifest.templates import Template
    from batcher.manifest.yaml import Document

    Where = Callable[[], tuple[Place, str]]

MAX_TASKS = 1_000_000
_PARAMETERS = frozenset(PARAMETERS)
_NOT_FOR_VARIABLES = RESERVED | {"id", "prompt"}
_BUILT_IN = _NOT_FOR_VARIABLES | _PARAMETERS
_TWICE = frozenset({"E205", "E206", "E207"})
_MOST_SOUND = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is known of a job before its prompts are read."""

    job: str
    edition: str
    variables: Mapping[str, str]
    """`vars`, with what the command line replaces."""
    prompt_limit: int
    negative_prompt_limit: int


class _Skip(Exception):  # noqa: N818  # no error
    """The problem is noted, and this task is not made."""


class Expansion:
    """One manifest on its way to tasks."""

    def __init__(
        self, manifest: ManifestFile, document: Document, sources: Sources, *, settled: Settled, problems: Problems
    ) -> None:
        self._manifest, self._document, self._problems = manifest, document, problems
        self._settled, self._sources = settled, sources
        self._reader = PromptReader(manifest, document, sources, problems)
        self._naming = Naming(manifest, document, edition=settled.edition, problems=problems)
        self._defaults = settings_of(manifest.defaults)
        self._passed: Mapping[str, Any] = manifest.defaults.params or {}
        self._changes = changes(manifest)
        self._matched: set[int] = set()
        self._walks = walks(manifest, document, problems)
        self._axes = {name: walk[name] for walk in reversed(self._walks) for name in walk}
        self._used = self._naming.names.union(*(change.when for change in self._changes))
        self._used |= names_in(str(self._defaults.get("negative_prompt", "")))
        self._of_names = self._naming.names - _BUILT_IN
        self._base = {**catalog.DEFAULTS, **settled.variables, "job": settled.job, "edition": settled.edition}
        let_templates_see(self._defaults, self._base)
        self._twice: set[str] = set()
        self._ids, self._names, self._contents = Met(), Met(), Met()
        self._sound: set[Hashable] = set()
        """Requests, but for their prompts, that no rule of a model speaks against."""
        self._idle: dict[Place, str] = {}
        self._count = 0

    def tasks(self, *, skip: frozenset[int] = frozenset()) -> Iterator[TaskSpec]:
        """Every task that can be made, without the entries in `skip`. The problems are complete when it ends."""
        if not self._variables_are_usable():
            return
        yield from self._read(skip)
        suspects = [each.suspects() for each in (self._ids, self._names, self._contents)]
        if any(suspects) and not self._problems.is_hopeless:
            self._problems.join(self._read_again(skip, suspects))

    def _read(self, skip: frozenset[int]) -> Iterator[TaskSpec]:
        several = varying(self._walks)
        for prompt in self._reader.prompts(skip=skip, used=self._used):
            own = several if prompt.walks is NO_WALKS else [*several, *varying(prompt.walks)]
            try:
                yield from self._of_prompt(prompt, own)
            except _Skip:
                continue
            if self._is_too_much():
                return
        self._check_unused()

    def _read_again(self, skip: frozenset[int], suspects: Sequence[frozenset[int]]) -> Problems:
        """What is there twice, and where: nothing else is noted this time."""
        found = Problems(self._problems.limit, only=_TWICE)
        again = Expansion(
            self._manifest, self._document, self._sources.again(found), settled=self._settled, problems=found
        )
        again._ids, again._names, again._contents = map(Met, suspects)
        for _ in again._read(skip):
            pass
        return found

    def _of_prompt(self, prompt: Prompt, several: Sequence[str]) -> Iterator[TaskSpec]:
        ready = self._ready(prompt)
        for walk in self._walks:
            for own in prompt.walks:
                whole = {**walk, **own} if own else walk
                axes = axes_text(whole, several) if several else ""
                for take in range(1, self._manifest.takes + 1):
                    self._count += 1
                    if self._is_too_much():
                        return
                    try:
                        yield self._task(self._draft(ready, whole, axes=axes, take=take), several)
                    except _Skip:
                        continue

    def _is_too_much(self) -> bool:
        """Whether there is no use in going on: far too many tasks, too much to compare, or nothing but errors."""
        if self._count <= MAX_TASKS and self._count * len(self._changes) <= MAX_WORK:
            return self._problems.is_hopeless
        if self._count > MAX_TASKS:
            where = self._document.place(("prompts",), key=True)
            self._problems.add("E110", where, f"more than {MAX_TASKS:,} tasks", hint="split the manifest")
        else:
            where = self._document.place(("overrides",), key=True)
            message = f"{len(self._changes):,} overrides are too many for so many tasks"
            self._problems.add("E110", where, message, path="overrides", hint="split the manifest")
        return True

    def _ready(self, prompt: Prompt) -> Ready:
        if self._axes:
            self._check_axes(prompt)
        text = self._parsed(prompt.text, partial(own_place, prompt, prompt.text_key))
        used = text.names
        for template in (prompt.id, prompt.settings.get("negative_prompt")):
            if template and "{{" in template:
                used |= names_in(template)
        if not used <= self._used:
            self._used |= used
        context = {**self._base, **prompt.variables}
        context["id"] = self._id(prompt, text, context)
        if prompt.settings:
            let_templates_see(prompt.settings, context)
        return Ready(prompt=prompt, text=text, used=used, context=context)

    def _check_axes(self, prompt: Prompt) -> None:
        own_axes = {name for walk in prompt.walks for name in walk}
        for name in sorted(self._axes.keys() & (prompt.settings.keys() | prompt.variables.keys() | own_axes)):
            message = f"{name!r} is an axis of the whole manifest too"
            hint = "set it for one prompt under `overrides`" if name in PARAMETERS else "rename one of them"
            place, path = own_place(prompt, name)
            self._problems.add("E214", place, message, path=path, hint=hint)
            raise _Skip

    def _draft(self, ready: Ready, walk: Walk, *, axes: str, take: int) -> Draft:
        draft = Draft(
            ready=ready,
            walk=walk,
            context={**ready.context, "axes": axes, "take": str(take)},
            settings={**self._defaults, **ready.prompt.settings},
            passed={**self._passed, **ready.prompt.passed} if ready.prompt.passed else self._passed,
            priority=ready.prompt.priority,
            changed_by=[],
        )
        for name, placed in walk.items():
            if name in _PARAMETERS:
                draft.settings[name] = placed.value
                let_templates_see({name: placed.value}, draft.context)
            else:
                draft.context[name] = placed.value
        for change in self._changes:
            if change.matches(draft.context):
                draft.settings.update(change.settings)
                draft.passed = {**draft.passed, **change.passed}
                draft.priority = draft.priority if change.priority is None else change.priority
                draft.changed_by.append(change)
                self._matched.add(change.index)
                let_templates_see(change.settings, draft.context)
        return draft

    def _task(self, draft: Draft, several: Sequence[str]) -> TaskSpec:
        ready, context = draft.ready, draft.context
        request = self._request(draft)
        text = request_text(request)
        if (around := (text[0], text[2])) not in self._sound:
            self._check_rules(draft, request, around)
        output = self._naming.output(context)
        if output is None:
            raise _Skip
        filled = self._of_names | ready.used | draft.walk.keys() if ready.used or draft.walk else self._of_names
        variables = {name: context[name] for name in sorted(filled) if name in context and name not in _BUILT_IN}
        spec = TaskSpec(
            job=self._settled.job,
            name=output.rpartition("/")[2],
            edition=self._settled.edition,
            take=context["take"],
            request=request,
            source=ready.prompt.source,
            priority=draft.priority,
            output=output,
            variables=variables,
        )
        self._check_new(spec, draft, (*text, spec.take), several)
        return spec

    def _check_rules(self, draft: Draft, request: Mapping[str, Any], around: Hashable) -> None:
        """Hold it against its model's rules. They say nothing of prompts: the next one like it passes unseen."""
        is_sound = True
        for finding in catalog.findings(request):
            is_sound = False
            place, path = self._origin(draft, finding.field)
            self._problems.add(finding.code, place, finding.message, path=path, hint=finding.hint)
        if is_sound and len(self._sound) < _MOST_SOUND:
            self._sound.add(around)

    def _request(self, draft: Draft) -> dict[str, Any]:
        prompt, settled = draft.ready.prompt, self._settled
        text = self._rendered(draft.ready.text, draft.context, partial(own_place, prompt, prompt.text_key)).strip()
        if not 0 < len(text) <= settled.prompt_limit:
            place, path = own_place(prompt, "prompt")
            message = f"the prompt has {len(text)} characters, 1 to {settled.prompt_limit} are taken"
            hint = "change it; `run: {prompt_limit: 2500}` is for gateways that take more"
            self._problems.add("E211", place, message, path=path, hint=hint)
        settings = {name: value for name, value in draft.settings.items() if value is not None}
        if "negative_prompt" in settings:
            settings["negative_prompt"] = negative = self._part(draft, "negative_prompt", settings["negative_prompt"])
            if len(negative) > settled.negative_prompt_limit:
                place, path = self._origin(draft, "negative_prompt")
                message = (
                    f"the negative prompt has {len(negative)} characters, {settled.negative_prompt_limit} are taken"
                )
                self._problems.add("E212", place, message, path=path, hint="shorten it")
        if "multi_prompt" in settings:
            settings["multi_prompt"] = [
                {**shot, "prompt": self._part(draft, "multi_prompt", shot["prompt"])}
                for shot in settings["multi_prompt"]
            ]
        return {"prompt": text, **settings, **draft.passed}

    def _part(self, draft: Draft, field: str, text: str) -> str:
        """A text beside the prompt that is a template too."""
        if "{" not in text:
            return text
        where = partial(self._origin, draft, field)
        return self._rendered(self._parsed(text, where), draft.context, where)

    def _id(self, prompt: Prompt, text: Template, context: Mapping[str, str]) -> str:
        if prompt.id is None:
            return id_from_words(
                text.sketch({name: context[name] for name in text.names if name in self._own(prompt)})
            )
        where = partial(own_place, prompt, "id")
        template = self._parsed(prompt.id, where)
        rendered = self._rendered(template, self._own(prompt), where) if template.names else prompt.id
        if not rendered.strip():
            place, path = where()
            self._problems.add("E105", place, "the id is empty", path=path, hint="give it a name")
            raise _Skip
        if first := self._ids.before(same_key(rendered), at=prompt.source):
            place, path = where()
            message = f"the id {rendered!r} is given twice; first at {first}"
            self._problems.add("E205", place, message, path=path, hint="rename one of them")
            self._twice.add(rendered)
        return rendered

    def _own(self, prompt: Prompt) -> dict[str, str]:
        """What a prompt's id may be made of: it is the same in all combinations."""
        settled = self._settled
        return {**settled.variables, **prompt.variables, "job": settled.job, "edition": settled.edition}

    def _check_new(self, spec: TaskSpec, draft: Draft, content: Hashable, several: Sequence[str]) -> None:
        """No other task asks for the same: one clip would be paid twice. No other has its name."""
        ready = draft.ready
        if first := self._contents.before(content, at=spec.source):
            idle = [name for name in several if name not in ready.used | _PARAMETERS]
            place = ready.prompt.place("")
            if idle and first == spec.source:
                self._idle.setdefault(place, idle[0])
            else:
                message, hint = f"the same request as at {first}", "remove one; for more clips of one, use `takes`"
                self._problems.add("E206", place, message, path=ready.prompt.path, hint=hint)
            raise _Skip
        first = self._names.before(same_key(spec.name), at=spec.source)
        if first and draft.context["id"] not in self._twice:
            clash = self._naming.clash(spec.name, first=first, axes=several)
            hint = "give it another id, or name it by all that differs: {{ id }}{{ axes }}-t{{ take }}"
            self._problems.add("E207", ready.prompt.place(""), clash, path=ready.prompt.path, hint=hint)

    def _variables_are_usable(self) -> bool:
        """Whether their values are text. Names of batcher's own, and of the API's, are problems too."""
        usable = True
        for where, taken in (("vars", _BUILT_IN), ("matrix", _NOT_FOR_VARIABLES), ("zip", _NOT_FOR_VARIABLES)):
            for name in sorted(name for name in taken if self._document.has((where, name))):
                place = self._document.place((where, name), key=True)
                message = f"{name!r} is no name for a variable: it has a meaning already"
                self._problems.add("E214", place, message, path=f"{where}.{name}", hint="rename it")
        for name, text in self._settled.variables.items():
            place, path = Place(file=self._document.file), f"--var {name}"
            if why := objection(text):
                usable = False
                self._problems.add("E111", place, f"its value {why}", path=path, hint="change it")
            if name in _BUILT_IN and not self._document.has(("vars", name)):
                self._problems.add("E214", place, "it has a meaning already", path=path, hint="rename it")
        return usable

    def _check_unused(self) -> None:
        """What was written for nothing: variables, axes, overrides."""
        idle = {name for name in self._axes if name not in self._used | _PARAMETERS}
        for name in sorted(idle):
            message = f"no template uses the axis {name!r}, and the API has no such field"
            near = get_close_matches(name, _PARAMETERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"write {{{{ {name} }}}} where it belongs, or remove it"
            self._problems.add("E215", self._axes[name].place(), message, path=name, hint=hint)
        for place, name in self._idle.items():
            if name not in idle:
                message = f"this prompt does not use {{{{ {name} }}}}: each value of it makes the same request again"
                self._problems.add(
                    "E206", place, message, hint="use it here, or move the axis into other prompts' `zip`"
                )
        for name in sorted(self._settled.variables.keys() - self._used):
            if self._document.has(("vars", name)):
                place = self._document.place(("vars", name), key=True)
                self._problems.add("W404", place, "no template uses it", path=f"vars.{name}", hint="remove it")
            else:
                hint = nearest(name, sorted(self._used - _BUILT_IN)).replace("keys", "variables")
                place = Place(file=self._document.file)
                self._problems.add("E102", place, "no template uses it", path=f"--var {name}", hint=hint)
        for change in self._changes:
            if change.index not in self._matched:
                place = self._document.place(("overrides", change.index, "when"), key=True)
                self._problems.add("W403", place, "no task has these values", path=f"overrides[{change.index}].when",
                                   hint="correct it, or remove the override")  # fmt: skip

    def _origin(self, draft: Draft, field: str) -> tuple[Place, str]:
        """Where a task has a field from, and the path of that: the last layer that sets it."""
        prompt = draft.ready.prompt
        for change in reversed(draft.changed_by):
            if field in change.settings:
                path = ("overrides", change.index, "set", field)
                return self._document.place(path), spelt(path)
        if field in draft.walk:
            return draft.walk[field].place(), field
        if field not in prompt.settings and field in self._defaults:
            return self._document.place(("defaults", field)), f"defaults.{field}"
        return own_place(prompt, field)

    def _parsed(self, text: str, where: Where) -> Template:
        try:
            return parse(text)
        except TemplateError as error:
            raise self._note(error, where) from None

    def _rendered(self, template: Template, context: Mapping[str, str], where: Where) -> str:
        try:
            return template.render(context)
        except TemplateError as error:
            raise self._note(error, where) from None

    def _note(self, error: TemplateError, where: Where) -> _Skip:
        place, path = where()
        if self._problems.is_full:
            self._problems.add(error.code, place, error.message, path=path)
            return _Skip()
        hint = error.hint
        if error.near:  # a slip of the pen: what was meant is not unused
            self._used |= {error.near}
        name = error.fragment.strip("{ }").partition("|")[0].strip()
        if error.code == "E209" and name in self._axes:
            hint = "an id names a prompt in all its combinations; {{ axes }} in output.name tells them apart"
        elif error.code == "E209" and name in RESERVED:
            hint = 'a date belongs into `edition: "{{ today }}"`; here write {{ edition }}'
        place = self._document.within(place, error.fragment)
        self._problems.add(error.code, place, error.message, path=path, hint=hint)
        return _Skip()
