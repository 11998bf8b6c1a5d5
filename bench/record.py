"""What every benchmark ends with: its table on the terminal, and with `--record` in docs/performance.md too.

A figure means little alone: each table holds a ratio of two things measured in the same run.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
SMOKE = "--smoke" in sys.argv
"""The smallest sizes that still walk every line: for a test that the benchmark runs, not for figures."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Or every process that is measured compiles the package anew, which an installed one never does."""


def publish(
    name: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, notes: Sequence[str] = ()
) -> None:
    """Show a table; keep it between the marks `bench: name` of the page where `--record` is given.

    `name` is that of the file in bench/, for a further table of the same file `file/table`.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (list(columns), *cells)) for i in range(len(columns))]
    lines = [_line(columns, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    lines += [_line(row, widths) for row in cells]
    command = f"python bench/{name.partition('/')[0]}.py"
    text = "\n".join([*lines, "", *(f"{note}  " for note in notes), f"_{machine()}: `{command}`_"])
    print(text)
    if "--record" in sys.argv:
        _keep(name, text)


def machine() -> str:
    """The date and what matters of this machine."""
    today = datetime.now(UTC).date().isoformat()
    system = f"{platform.system()} {platform.machine()}"
    return f"{today}, {os.cpu_count()} shared cores, {system}, Python {platform.python_version()}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _keep(name: str, text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(page):
        sys.exit(f"{PAGE} has no place for {name}: add  <!-- bench: {name} -->  and  <!-- end -->")
    PAGE.write_text(marks.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page), encoding="utf-8")
