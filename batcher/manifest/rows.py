"""The lines of a prompt file -> rows: one a CSV record, a JSON line, a line or a file. A stream. Pure.

A row is a mapping of column to value with a way back to its place; what the values mean is not decided here.
"""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.manifest.problems import Place, Problems
from batcher.manifest.values import MAX_KEYS, objection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_JSON_COLUMNS = frozenset(
    {
        "cfg_scale",
        "multi_shot",
        "priority",
        "camera_control",
        "watermark_info",
        "multi_prompt",
        "voice_list",
        "params",
    }
)
"""CSV columns whose cells are JSON, as they hold no text: `0.5`, `true`, `{"enabled": true}`."""


class Row(NamedTuple):
    """What one prompt is made from."""

    values: dict[str, Any]
    source: str
    """`prompts/shots.jsonl:14`, as `place("")` says it too."""
    place: Callable[[str], Place]
    """Where the value of a column stands; the row's first cell for a name that is no column."""


def is_table(file: str) -> bool:
    """Whether a file is CSV, whose records may end in other ways than at a newline."""
    return file.lower().endswith(".csv")


def read_rows(lines: Iterable[str], *, file: str, whole: bool, problems: Problems) -> Iterator[Row]:
    """The rows of a file, by its suffix, from its lines with their ends. `whole`: a text file is one prompt."""
    if is_table(file):
        return _csv_rows(lines, file, problems)
    if file.lower().endswith(".jsonl"):
        return _json_rows(lines, file, problems)
    return _whole_text("".join(lines), file) if whole else _text_rows(lines, file)


def _text_rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if (prompt := line.strip()) and not prompt.startswith("#"):
            column = len(line) - len(line.lstrip()) + 1
            place = Place(file=file, line=number, column=column, width=len(prompt), excerpt=line.rstrip("\r\n"))
            yield Row({"prompt": prompt}, str(place), _always(place))


def _always(place: Place) -> Callable[[str], Place]:
    return lambda _: place


def _whole_text(text: str, file: str) -> Iterator[Row]:
    first = text.partition("\n")[0].rstrip("\r")
    place = Place(file=file, width=max(1, len(first)), excerpt=first)
    yield Row({"prompt": text.strip(), "id": PurePath(file).stem}, str(place), _always(place))


def _json_rows(lines: Iterable[str], file: str, problems: Problems) -> Iterator[Row]:
    decode = json.JSONDecoder(object_pairs_hook=_without_duplicates).decode
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            values = decode(line)
        except json.JSONDecodeError as error:
            excerpt = line.rstrip("\r\n")
            at = Place(file=file, line=number, column=error.pos + 1, excerpt=excerpt)
            problems.add("E203", at, f"not JSON: {error.msg}", hint="one object a line, in double quotes")
            continue
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
            problems.add("E203", _line_place(file, number, line), reason)
            continue
        if not isinstance(values, dict):
            at = _line_place(file, number, line)
            problems.add("E203", at, "not a JSON object", hint='write {"prompt": "..."}')
        elif why := objection(values):
            problems.add("E111", _line_place(file, number, line), f"a value {why}")
        else:
            kept = {k: v for k, v in values.items() if v is not None}
            yield Row(kept, f"{file}:{number}", partial(_key_place, file, number, line))


def _line_place(file: str, number: int, line: str) -> Place:
    return Place(file=file, line=number, excerpt=line.rstrip("\r\n"))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"{_first_twice([k for k, _ in pairs])!r} is given twice")
    return values


def _first_twice(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _key_place(file: str, number: int, text: str, key: str) -> Place:
    """Where the value of a key begins: looked for only when there is something to say about it."""
    line = _line_place(file, number, text)
    if not key:
        return line
    quoted = json.dumps(key, ensure_ascii=False)
    at = line.excerpt.find(f"{quoted}:")
    if at < 0 and (at := line.excerpt.find(quoted)) < 0:
        return line
    start = at + len(quoted)
    while start < len(line.excerpt) and line.excerpt[start] in ": \t":
        start += 1
    try:
        _, end = json.JSONDecoder().raw_decode(line.excerpt, start)
    except ValueError:
        return line
    return Place(file=line.file, line=line.line, column=start + 1, width=end - start, excerpt=line.excerpt)


def _csv_rows(lines: Iterable[str], file: str, problems: Problems) -> Iterator[Row]:
    tape = _Tape(lines)
    reader = csv.reader(tape, strict=True)
    header: list[str] | None = None
    end = 0
    try:
        for cells in reader:
            record, first, end = tape.cut(), end, reader.line_num
            if not any(cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if not _is_header(header, _cell_place(file, record, first, 0), problems):
                    return
                plain = _JSON_COLUMNS.isdisjoint(header)
            elif len(cells) != len(header):
                at = _cell_place(file, record, first, min(len(cells), len(header)) - 1)
                count = f"{len(cells)} cells where the header has {len(header)}"
                problems.add("E203", at, count, hint="put text that holds a comma in double quotes")
            else:
                values = dict(zip(header, cells, strict=True))
                if not plain:
                    values = {name: _cell(name, cell) for name, cell in values.items()}
                if why := objection(values):
                    problems.add("E111", _cell_place(file, record, first, 0), f"a value {why}")
                    continue
                yield Row(values, f"{file}:{first + 1}", partial(_column_place, file, record, first, header))
    except csv.Error as error:
        at = _cell_place(file, tape.cut(), end, 0)
        problems.add("E203", at, f"not CSV: {error}", hint="close every double quote")


class _Tape:
    """Lines on their way to the reader, kept until the record that they make is done with."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._next = iter(lines).__next__
        self._record: list[str] = []

    def __iter__(self) -> _Tape:
        return self

    def __next__(self) -> str:
        line = self._next()
        self._record.append(line)
        return line

    def cut(self) -> list[str]:
        """The lines since the last cut."""
        record, self._record = self._record, []
        return record


def _is_header(header: list[str], at: Place, problems: Problems) -> bool:
    if len(header) == 1 and ";" in header[0]:
        problems.add("E203", at, "the columns are separated by ';'", hint="separate them by commas")
        return False
    if not all(header):
        problems.add("E203", at, f"column {header.index('') + 1} has no name", hint="name every column")
        return False
    if len(header) > MAX_KEYS:
        problems.add("E203", at, f"{len(header):,} columns; the most is {MAX_KEYS:,}", hint="remove some")
        return False
    if (twice := _first_twice(header)) is not None:
        problems.add("E107", at, f"the column {twice!r} is there twice", hint="rename one of them")
        return False
    return True


def _column_place(file: str, record: list[str], first: int, header: list[str], name: str) -> Place:
    return _cell_place(file, record, first, header.index(name) if name in header else 0)


def _cell(name: str, text: str) -> Any:
    if name not in _JSON_COLUMNS or not text.strip():
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # its type is wrong: refused with all other values, in the same words


def _cell_place(file: str, record: list[str], first: int, index: int) -> Place:
    """Where a cell begins, `first` lines into the file: counts separators outside quotes, over a record's lines."""
    cell, quoted = 0, False
    number, start = 0, 0
    for number in range(len(record)):
        line = record[number].rstrip("\r\n")
        start = 0
        for column, character in enumerate(line):
            if character == '"':
                quoted = not quoted
            elif character == "," and not quoted:
                if cell == index:
                    width = max(1, column - start)
                    return Place(file=file, line=first + number + 1, column=start + 1, width=width, excerpt=line)
                cell, start = cell + 1, column + 1
        if cell == index or not quoted:
            break
    line = record[number].rstrip("\r\n") if record else ""
    width = max(1, len(line) - start)
    return Place(file=file, line=first + number + 1, column=start + 1, width=width, excerpt=line)
