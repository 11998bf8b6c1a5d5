"""Every benchmark runs, prints its tables, and has its place in docs/performance.md. No speed is asserted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PAGE = (PROJECT / "docs" / "performance.md").read_text()

BENCHES = {
    path.stem: text
    for path in sorted((PROJECT / "bench").glob("*.py"))
    if '__name__ == "__main__"' in (text := path.read_text())
}
"""The commands; `record` and `lab` are what they share."""

PLACES = dict(re.findall(r"<!-- bench: (\S+) -->\n(.*?)<!-- end -->", PAGE, re.DOTALL))


def tables(bench: str) -> list[str]:
    """The names under which a benchmark publishes."""
    return re.findall(r'\bpublish\(\s*"([^"]+)"', BENCHES[bench])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bench", BENCHES)
def test_a_benchmark_runs_in_its_smallest_size_and_prints_its_tables(bench, tmp_path):
    page = PROJECT / "docs" / "performance.md"
    before = page.read_text()
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("BATCHER_", "COMETAPI_"))}
    done = subprocess.run(
        [sys.executable, PROJECT / "bench" / f"{bench}.py", "--smoke"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rules = re.findall(r"^\|[-|]+\|\n\| .+ \|$", done.stdout, re.MULTILINE)  # each with a row at least
    assert len(rules) == len(tables(bench)), done.stdout
    assert f"`python bench/{bench}.py`" in done.stdout
    assert page.read_text() == before, "only --record writes"


@pytest.mark.parametrize("bench", BENCHES)
def test_each_table_of_a_benchmark_has_its_place_in_the_page(bench):
    names = tables(bench)
    assert names, "it publishes nothing"
    assert {name.partition("/")[0] for name in names} == {bench}, "the page says which command made a table"
    assert set(names) <= set(PLACES)


def test_no_table_of_the_page_is_without_its_benchmark():
    """A place that waits for its first figures is none."""
    published = {name for bench in BENCHES for name in tables(bench)}
    assert {name for name, table in PLACES.items() if table.strip()} <= published


def test_the_page_names_each_mark_once():
    marks = re.findall(r"<!-- bench: (\S+) -->", PAGE)
    assert sorted(marks) == sorted(PLACES), "each mark is named once, and ends"
