"""`docs/reliability.md` is true: every fault has its row, and every test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENT = (PROJECT / "docs" / "reliability.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", DOCUMENT, re.MULTILINE)

FAULTS = {"P": 14, "N": 13, "V": 19, "F": 11, "D": 13, "C": 5, "I": 9, "O": 7, "H": 12, "B": 6, "M": 7}
"""How many faults of each kind are known. A new one gets the next number."""


def test_every_fault_has_one_row():
    wanted = [f"{kind}{number}" for kind, most in FAULTS.items() for number in range(1, most + 1)]
    assert sorted(number for number, *_ in ROWS) == sorted(wanted)


def test_each_row_names_a_test_or_says_why_there_is_none():
    assert [number for number, _, _, proof in ROWS if "`" not in proof and not proof.startswith("none: ")] == []


def test_every_test_that_is_named_is_there():
    named = set(re.findall(r"`((?:[\w.]+/)*\w+\.py)::(\w+)`", DOCUMENT))
    assert len(named) > 100
    missing = [f"{file}::{test}" for file, test in sorted(named) if not _has(PROJECT / "tests" / file, test)]
    assert missing == []


def _has(file: Path, test: str) -> bool:
    return (
        file.is_file()
        and re.search(rf"^(?:async )?(?:    (?:async )?)?(?:def|class) {test}\b", file.read_text(), re.MULTILINE)
        is not None
    )
