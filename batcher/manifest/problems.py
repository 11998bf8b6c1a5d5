"""What can be wrong with a manifest: the codes, one problem as a value, and how problems are shown. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.errors import UsageError
from batcher.text import command, no_orders, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Explanation(NamedTuple):
    """One code for the documentation: what it is called, why it happens, what to do."""

    title: str
    cause: str
    next: str


CODES: dict[str, Explanation] = {
    # the file and its text
    "E100": Explanation("cannot be read", "The file is missing, not a file, or too large.", "Check the path."),
    "E101": Explanation("not YAML", "The text breaks YAML's rules.", "Quote text that holds `: `, `#`, `@` or `%`."),
    "E102": Explanation("unknown key", "No such key here.", "Use the nearest name, or `vars` for values of yours."),
    "E103": Explanation("not one of", "Only certain values are taken.", "Use one of those named."),
    "E104": Explanation("wrong type", "Text where a number is wanted, or the like.", "Write the type named."),
    "E105": Explanation("out of range", "Too small, too large, too long or too short.", "Stay within the bounds."),
    "E106": Explanation("missing key", "A key that must be there is not.", "Add it."),
    "E107": Explanation("key given twice", "YAML would keep the last one silently.", "Remove one."),
    "E108": Explanation("not UTF-8 text", "Saved as UTF-16 or Latin-1, or it holds control bytes.", "Save as UTF-8."),
    "E109": Explanation(
        "YAML not taken here", "Tags, merge keys, several documents, odd keys.", "Write it out plainly."
    ),
    "E110": Explanation("too much", "Nested too deeply, or more nodes or tasks than the limit.", "Split it up."),
    "E111": Explanation(
        "cannot be stored", "NaN, infinity, beyond 64 bits, NUL, half a character, endless text.", "Change the value."
    ),
    "E112": Explanation("${...} not taken here", "Only a whole notify url may name a variable.", "Use `vars`."),
    "E113": Explanation(
        "batcher's own field", "It is set by batcher, or by a key outside `params`.", "Remove it there."
    ),
    "E114": Explanation(
        "malformed", "The value does not have the form that is asked for.", "Follow the example given."
    ),
    # sources and expansion
    "E201": Explanation("no such source", "No file matches.", "Check the path; it is relative to the manifest."),
    "E202": Explanation(
        "outside the folder", "Files must stay beside the manifest.", "Move it, or `--allow-outside`."
    ),
    "E203": Explanation("broken row", "A line is no CSV record or no JSON object.", "Fix the line."),
    "E204": Explanation("no prompts", "Nothing to make.", "Add a prompt."),
    "E205": Explanation("id given twice", "Ids are compared without case.", "Rename one."),
    "E206": Explanation("same request twice", "You would pay twice for one clip.", "Use `takes` to get more of one."),
    "E207": Explanation(
        "same name twice", "Two clips would have one file name.", "Add what differs to `output.name`."
    ),
    "E208": Explanation(
        "broken template", "Templates hold `{{ name }}` and `{{ name | filter }}`.", "Use only those."
    ),
    "E209": Explanation("unknown variable", "Nothing gives it a value.", "Add it to `vars`, or correct the name."),
    "E210": Explanation("zip of unequal lengths", "Its axes are walked together.", "Give each as many values."),
    "E211": Explanation(
        "prompt too long or empty", "The API takes 1 to 500 characters.", "Cut, or `run.prompt_limit`."
    ),
    "E212": Explanation("negative prompt too long", "The API takes 200 characters.", "Cut, or `run.prompt_limit`."),
    "E213": Explanation("leaves the output folder", "Clips stay below the job's folder.", "Change `output.name`."),
    "E214": Explanation("name used twice", "An axis, a key or batcher itself has it already.", "Rename one."),
    "E215": Explanation(
        "axis without effect", "No template uses it and the API has no such field.", "Use or remove it."
    ),
    # the rules of the models
    "E301": Explanation("no text to video", "The model makes no video from text.", "Choose another."),
    "E302": Explanation("mode not taken", "The model has other modes, or none.", "Choose another."),
    "E303": Explanation("duration not taken", "The model makes clips of other lengths.", "Choose another."),
    "E304": Explanation("no sound", "The model makes no sound, or not in this mode.", "Change mode or model."),
    "E305": Explanation("no cfg_scale", "The model does not take it.", "Remove it."),
    "E306": Explanation("no camera control", "Only kling-v1 in std for 5 seconds takes it.", "Change or remove it."),
    "E307": Explanation("shots do not fit", "The fields of a clip of several shots disagree.", "Follow the hint."),
    # warnings
    "W401": Explanation("unknown model", "Not in this version's table; passed on unchecked.", "Check the spelling."),
    "W402": Explanation("doubtful ratio", "CometAPI names it, Kling does not.", "Try one clip first."),
    "W403": Explanation("matches nothing", "An override or exclude applies to no task.", "Correct or remove it."),
    "W404": Explanation("never used", "No template uses this variable.", "Correct the name or remove it."),
    "W405": Explanation("edition not in names", "Clips of two editions get similar names.", "Add `{{ edition }}`."),
}
"""Every code there is. A code keeps its meaning for ever; `W` codes are warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in a file, and the line it stands on."""

    file: str
    """As typed on the command line, or reached from there."""
    line: int = 1
    column: int = 1
    """In characters, from 1."""
    width: int = 1
    excerpt: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    code: str
    place: Place
    path: str = ""
    """The key it is about: `defaults.aspect_ratio`, `prompts[2].mode`."""
    message: str
    hint: str | None = None

    @property
    def severity(self) -> str:
        return "warning" if self.code.startswith("W") else "error"

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.place.file}:{self.place.line}:{self.place.column}: {path}{self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The problem for `--output-format json`."""
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "end_column": self.place.column + self.place.width,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


MAX_ERRORS = 10_000
"""After so many the rest of a manifest is not looked at."""


class Problems:
    """The problems found so far: each place says a thing once, and only the first `limit` errors are kept."""

    def __init__(self, limit: int = 100, *, only: frozenset[str] | None = None) -> None:
        """`only`: the codes that are noted; all others are not heard."""
        self.limit = limit
        self._only = only
        self.errors = 0
        """How many errors there were, kept or not."""
        self._kept: dict[tuple[str, Place, str], Problem] = {}

    def add(self, code: str, place: Place, message: str, *, path: str = "", hint: str | None = None) -> None:
        """Note a problem. Of several with one code about one key at one place, the first is kept."""
        key = (code, place, path)
        if key in self._kept or (self._only is not None and code not in self._only):
            return
        if not code.startswith("W"):
            self.errors += 1
        if len(self._kept) < self.limit:
            self._kept[key] = Problem(code=code, place=place, path=path, message=message, hint=hint)

    @property
    def is_full(self) -> bool:
        """Whether further ones are only counted: no trouble need be taken over their words."""
        return len(self._kept) >= self.limit

    @property
    def is_hopeless(self) -> bool:
        """Whether there are so many that looking on helps nobody."""
        return self.errors >= MAX_ERRORS

    def join(self, others: Problems) -> None:
        """Add what others hold, those included that they have only counted."""
        before = self.errors
        self.extend(others)
        self.errors = max(self.errors, before + others.errors)

    def extend(self, problems: Iterable[Problem]) -> None:
        for each in problems:
            self.add(each.code, each.place, each.message, path=each.path, hint=each.hint)

    def __iter__(self) -> Iterator[Problem]:
        """By file in the order they were met, then by place."""
        files = {file: n for n, file in enumerate(dict.fromkeys(p.place.file for p in self._kept.values()))}
        yield from sorted(
            self._kept.values(), key=lambda p: (files[p.place.file], p.place.line, p.place.column, p.code)
        )


class ManifestError(UsageError):
    """A manifest, or a file of prices, that cannot be used, with everything that is wrong with it."""

    def __init__(self, file: str, problems: Problems, *, check: str | None = None) -> None:
        """`check`: the command that looks at the file again, where that is not `batcher check`."""
        self.problems = tuple(problems)
        count, what = problems.errors, "problem"
        if not count:  # --strict
            count, what = len(self.problems), "warning"
        kept = sum(p.severity == "error" for p in self.problems)
        more = f", the first {kept} shown" if problems.errors > kept else ""
        check = check or command("check", file)
        super().__init__(
            f"{count} {what}{'' if count == 1 else 's'} in {printable(file)}{more}. Nothing was sent. "
            f"Next: fix and run  {check}",
            hint=check,
        )


def render_text(problems: Iterable[Problem]) -> str:
    """The problems as a compiler would show them, each with its line and carets under the place."""
    return "\n".join(_compiler_style(p) for p in problems)


def _compiler_style(problem: Problem) -> str:
    place = problem.place
    lines = [printable(f"{problem.severity}[{problem.code}]: {problem}")]
    if place.excerpt:
        number = str(place.line)
        before, marked = _window(place)
        gutter = " " * len(number)
        lines += [
            f"{gutter} |",
            f"{number} | {before}{marked.text}",
            f"{gutter} | {' ' * len(before)}{marked.carets}",
        ]
    if problem.hint:
        lines.append(printable(f"  = hint: {problem.hint}"))
    return "\n".join(lines)


class _Marked(NamedTuple):
    text: str
    carets: str


def _window(place: Place, width: int = 100) -> tuple[str, _Marked]:
    """The part of the line around the place, made printable without moving the carets off it."""
    start = place.column - 1
    first = max(0, start - width // 2) if len(place.excerpt) > width else 0
    last = first + width
    before = printable(place.excerpt[first:start].replace("\t", " "))
    shown = place.excerpt[start : min(start + place.width, last)]
    rest = printable(place.excerpt[start + len(shown) : last].replace("\t", " "))
    shown = printable(shown)
    left = "…" if first else ""
    right = "…" if last < len(place.excerpt) else ""
    return left + before, _Marked(shown + rest + right, "^" * max(1, len(shown)))


def render_json(problems: Iterable[Problem]) -> str:
    """One JSON document."""
    return no_orders(json.dumps({"schema": 1, "problems": [p.as_dict() for p in problems]}, indent=2))


def render_github(problems: Iterable[Problem]) -> str:
    """Workflow commands that GitHub Actions turns into annotations."""
    return "\n".join(_annotation(p) for p in problems)


def _annotation(problem: Problem) -> str:
    place = problem.place
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    if problem.hint:
        text += f" ({problem.hint})"
    fields = {
        "file": place.file,
        "line": place.line,
        "col": place.column,
        "endColumn": place.column + place.width,
        "title": f"{problem.code} {CODES[problem.code].title}",
    }
    properties = ",".join(f"{k}={_escape(str(v)).replace(':', '%3A').replace(',', '%2C')}" for k, v in fields.items())
    return f"::{problem.severity} {properties}::{_escape(text)}"


def _escape(text: str) -> str:
    return printable(text).replace("%", "%25")
