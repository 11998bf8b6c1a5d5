"""A manifest file -> `Manifest`: read and checked against the models. All problems at once."""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batcher.manifest.explain import explain, spelt
from batcher.manifest.files import MAX_BYTES, decode, read_bytes
from batcher.manifest.manifest import Budget, LoadOptions, Manifest, Notify, RunSettings, Schedule
from batcher.manifest.names import slug
from batcher.manifest.problems import ManifestError, Place, Problems
from batcher.manifest.schema import ManifestFile
from batcher.manifest.templates import TemplateError
from batcher.manifest.values import objection
from batcher.manifest.yaml import Document, parse
from batcher.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.manifest.explain import Path as Keys

MAX_EDITION = 64
_ROUNDS = 5
"""How often the model is tried again without what was wrong: nested errors show one after the other."""
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


def load(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    max_bytes: int = MAX_BYTES,
    prompt_limit: int | None = None,
) -> Manifest:
    """Read a manifest. Raises ManifestError with everything that is wrong, as far as its prompts can be read.

    Its prompts are expanded by `Manifest.expand`, which has problems of its own. `variables` replace those of
    `vars`, `prompt_limit` replaces `run.prompt_limit`; files outside its folder or above `max_bytes` are refused.
    """
    options = LoadOptions(
        variables=variables or {}, allow_outside=allow_outside, max_bytes=max_bytes, prompt_limit=prompt_limit
    )
    problems = Problems()
    manifest = read(path, options, problems)
    if manifest is None:
        raise ManifestError(str(path), problems)
    return manifest


def read(path: Path, options: LoadOptions, problems: Problems) -> Manifest | None:
    """The manifest, or None and everything that is wrong in `problems`."""
    file = str(path)
    if why := objection(file):
        problems.add("E111", Place(file=printable(file)), f"the file's name {why}", hint="rename the file")
        return None
    data = read_bytes(path, file=file, at=Place(file=file), max_bytes=options.max_bytes, problems=problems)
    text = None if data is None else decode(data, file=file, problems=problems)
    document = None if text is None else parse(text, file=file, problems=problems)
    if data is None or document is None:
        return None
    if not isinstance(document.root.value, dict):
        hint = "begin with `prompts:`; see  batcher init"
        problems.add("E104", document.place(()), "a manifest is a mapping of keys", hint=hint)
        return None
    _check_dollars(document, problems)
    model, skip, silent = _validated(document, problems)
    if model is None:
        return None
    manifest = _manifest(path, model, document, options, sha256=hashlib.sha256(data).hexdigest())
    if "edition" in model.model_fields_set:
        _check_edition(manifest, problems)
    if not problems.errors:
        return replace(manifest, warnings=tuple(problems))
    # It cannot be run. What is left of it is expanded all the same: its other problems should be seen now.
    more = Problems()
    for _ in manifest.expansion(more, edition="").tasks(skip=skip):
        pass
    problems.extend(problem for problem in more if problem.code not in silent)
    return None


def _validated(document: Document, problems: Problems) -> tuple[ManifestFile | None, frozenset[int], frozenset[str]]:
    """The model, or what is left of it when all that is wrong is put aside.

    With it the prompts put aside, by index, and the codes of problems that would only follow from that.
    """
    data = {key: value for key, value in document.root.plain().items() if not key.startswith("x-")}
    skip: set[int] = set()
    dropped: set[str] = set()
    for _ in range(_ROUNDS):
        try:
            return ManifestFile.model_validate(data), frozenset(skip), _follow_ups(dropped)
        except ValidationError as error:
            found = explain(
                error, ManifestFile, place=lambda path, key: document.place(path, key=key), problems=problems
            )
        data = copy.deepcopy(data)
        dropped.update(_put_aside(data, kind, path, skip) for kind, path in found)
        if "prompts" not in data:
            break
    return None, frozenset(), frozenset()


def _put_aside(data: dict[str, Any], kind: str, path: Keys, skip: set[int]) -> str:
    """Take what is wrong out of `data`, without moving the rest. Returns the key that is gone."""
    top = str(path[0])
    if top == "prompts" and len(path) > 1:
        index = int(path[1])
        entry = data["prompts"][index]
        key = path[2] if len(path) > 2 and isinstance(entry, dict) else None
        if key is not None and kind != "missing" and key not in {"prompt", "file"}:
            entry.pop(key, None)
            return str(key)
        skip.add(index)
        data["prompts"][index] = "put aside"
    elif top == "defaults" and len(path) > 1 and isinstance(data.get("defaults"), dict):
        data["defaults"].pop(path[1], None)
        return str(path[1])
    else:
        data.pop(top, None)
    return top


def _follow_ups(dropped: set[str]) -> frozenset[str]:
    codes = {"E206", "E207", "W403", "W404", "W405"} if dropped else set()
    if dropped & {"vars", "matrix", "zip"}:
        codes |= {"E102", "E209", "E210", "E214", "E215"}
    return frozenset(codes)


def _manifest(path: Path, model: ManifestFile, document: Document, options: LoadOptions, *, sha256: str) -> Manifest:
    run, budget = model.run, model.budget
    return Manifest(
        path=path,
        sha256=sha256,
        job=model.job or job_name(path.stem),
        provider=model.provider,
        edition=model.edition,
        output_dir=model.output.dir,
        settings=RunSettings(
            concurrency=run.concurrency,
            timeout_s=run.timeout,
            attempts=run.attempts,
            fail_fast=run.fail_fast,
            max_failures=run.max_failures,
            quiet_window_s=run.quiet_window,
        ),
        budget=Budget(max_usd=budget.max_usd, max_usd_per_day=budget.max_usd_per_day, max_tasks=budget.max_tasks),
        notify=tuple(Notify(on=tuple(each.on), url=each.url) for each in model.notify),
        schedule=Schedule(cron=model.schedule.cron, timezone=model.schedule.timezone),
        options=options,
        model=model,
        document=document,
    )


def job_name(stem: str) -> str:
    """The job of a manifest that names none: its file's name, as far as a job may be called that."""
    return slug(stem).replace(".", "-")[:63].strip("-")


def _check_edition(manifest: Manifest, problems: Problems) -> None:
    place = manifest.document.place(("edition",))
    try:
        text = manifest.edition_of(date(2026, 12, 31))  # any day: all have the same length
    except TemplateError as error:
        hint = 'write "{{ today }}", "{{ week }}" or "{{ month }}"' if error.code == "E209" else error.hint
        problems.add(
            error.code, manifest.document.within(place, error.fragment), error.message, path="edition", hint=hint
        )
        return
    if not 0 < len(text) <= MAX_EDITION or not text.isprintable():
        message = f"an edition has 1 to {MAX_EDITION} printable characters"
        problems.add("E105", place, message, path="edition", hint="shorten it")


def _check_dollars(document: Document, problems: Problems) -> None:
    """`${NAME}` outside a notify url: it would be sent as it stands. Prompts are looked at when they are filled."""
    stack: list[tuple[Keys, Any]] = [
        ((key,), node)
        for key, node in document.root.value.items()
        if key not in {"prompts", "notify"} and not key.startswith("x-")
    ]
    while stack:
        path, node = stack.pop()
        if isinstance(node.value, dict):
            stack.extend(((*path, key), child) for key, child in node.value.items())
        elif isinstance(node.value, list):
            stack.extend(((*path, n), child) for n, child in enumerate(node.value))
        elif isinstance(node.value, str) and (dollar := _VARIABLE.search(node.value)):
            place = document.within(document.place(path), dollar[0])
            hint = "write {{ name }}, and set it in `vars` or with --var"
            problems.add("E112", place, f"{dollar[0]} is not filled in here", path=spelt(path), hint=hint)
