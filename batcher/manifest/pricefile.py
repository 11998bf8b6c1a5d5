"""A file of prices -> `Prices`, checked as a manifest is: all problems at once, each with its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batcher.catalog import DEFAULTS, MODELS, WITH_SOUND
from batcher.manifest.explain import nearest
from batcher.manifest.files import decode, read_bytes
from batcher.manifest.problems import ManifestError, Place, Problems
from batcher.manifest.values import objection, shown
from batcher.manifest.yaml import Document, parse
from batcher.prices import Prices, PriceSource
from batcher.text import command, printable

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 2**20
MOST_USD = 1000.0
"""A clip for more than that is a slip of the pen."""
KEYS = ("as_of", "prices")
EXAMPLE = "kling-v3 pro 5s: 0.53"

_DATE = re.compile(r"20\d\d-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?")
_CLASS = re.compile(rf"(\S+) (\S+) ([1-9]\d?)s(?:{WITH_SOUND})?")


def read_prices(path: Path) -> Prices:
    """A person's own prices, over those of this version. Raises ManifestError with everything that is wrong."""
    file, problems = str(path), Problems()
    document = _document(path, file, problems)
    data: Any = document.root.plain() if document else None
    if document and not isinstance(data, dict):
        hint = f"begin with  as_of: 2026-11-20  and  prices:  with lines like  {EXAMPLE}"
        problems.add("E104", document.place(()), "a file of prices is a mapping of keys", hint=hint)
    elif document:
        _check(data, document, problems)
    if problems.errors:
        raise ManifestError(file, problems, check=command("plan", "MANIFEST", "--prices", file))
    return Prices(
        own={name: float(usd) for name, usd in data["prices"].items()},
        own_source=PriceSource(data["as_of"], printable(file)),
    )


def _document(path: Path, file: str, problems: Problems) -> Document | None:
    if why := objection(file):
        problems.add("E111", Place(file=printable(file)), f"the file's name {why}", hint="rename the file")
        return None
    data = read_bytes(path, file=file, at=Place(file=file), max_bytes=MAX_BYTES, problems=problems)
    text = None if data is None else decode(data, file=file, problems=problems)
    return None if text is None else parse(text, file=file, problems=problems)


def _check(data: dict[str, Any], document: Document, problems: Problems) -> None:
    for key in data:
        if key not in KEYS and not key.startswith("x-"):
            problems.add(
                "E102", document.place((key,), key=True), f"there is no key {key!r} here", hint=nearest(key, KEYS)
            )
    for key, example in (("as_of", "2026-11-20"), ("prices", f"with lines like  {EXAMPLE}")):
        if key not in data:
            problems.add("E106", document.place(()), f"{key} is missing", hint=f"add  {key}: {example}")
    as_of, prices = data.get("as_of"), data.get("prices")
    if "as_of" in data and not (isinstance(as_of, str) and _DATE.fullmatch(as_of)):
        message = f"must be the day or month of the prices, not {shown(as_of)}"
        problems.add("E114", document.place(("as_of",)), message, path="as_of", hint="write it like 2026-11-20")
    if isinstance(prices, dict) and prices:
        for name, usd in prices.items():
            _check_line(name, usd, document, problems)
    elif "prices" in data:
        message = f"must be a mapping of classes to US dollars, not {shown(prices)}"
        problems.add("E104", document.place(("prices",)), message, path="prices", hint=f"a line a class:  {EXAMPLE}")


def _check_line(name: str, usd: Any, document: Document, problems: Problems) -> None:
    path = f"prices.{name}"
    at_key, at_value = document.place(("prices", name), key=True), document.place(("prices", name))
    if not (found := _CLASS.fullmatch(name)):
        message = f"{name!r} is no class of clips: model, mode, duration, and  sound  for clips with it"
        problems.add("E114", at_key, message, path=path, hint=f"write it like  {EXAMPLE}")
    elif model := MODELS.get(found[1]):
        modes = model.modes or (DEFAULTS["mode"],)
        if found[2] not in modes:
            message = f"clips of {model.name} are priced as {' or '.join(modes)}, not {found[2]}"
            problems.add("E302", at_key, message, path=path, hint=f"write  {model.name} {modes[0]} {found[3]}s")
        if int(found[3]) not in model.durations:
            message = f"{model.name} makes no clips of {found[3]} seconds"
            problems.add("E303", at_key, message, path=path, hint="remove the line, or correct it")
    if isinstance(usd, bool) or not isinstance(usd, int | float):
        problems.add("E104", at_value, f"must be US dollars a clip, not {shown(usd)}", path=path, hint="like 0.53")
    elif not 0 <= usd <= MOST_USD:
        message = f"must be at least 0 and at most {MOST_USD:g} US dollars a clip, not {usd:g}"
        problems.add("E105", at_value, message, path=path)
