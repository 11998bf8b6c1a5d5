"""`batcher export`: a table of what the state knows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from batcher.report.table import COLUMNS


@pytest.fixture
def finished(cli, manifest):
    assert cli("run", manifest).code == 0


def test_a_spreadsheet(cli, finished):
    result = cli("export", "--to", "csv")
    assert result.code == 0, result.err
    head, *rows = csv.reader(io.StringIO(result.out))
    assert tuple(head) == COLUMNS
    assert len(rows) == 4
    for row in rows:
        told = dict(zip(head, row, strict=True))
        assert told["status"] == "downloaded"
        assert told["simulated"] == "true"
        assert Path(told["file"]).stat().st_size == int(told["bytes"])
        assert json.loads(told["parameters"])["model_name"] == told["model_name"]


def test_lines_of_json(cli, finished):
    lines = [json.loads(line) for line in cli("export", "birds", "--to", "jsonl").out.splitlines()]
    assert [sorted(line) for line in lines] == [sorted(COLUMNS)] * 4
    assert {line["status"] for line in lines} == {"downloaded"}
    assert all(Path(line["file"]).exists() for line in lines)


def test_a_prompt_is_no_formula(cli, manifest):
    """What a spreadsheet would run gets an apostrophe before it; JSON keeps the words."""
    words = '=HYPERLINK("http://evil","x")'
    manifest.write_text(f"version: 1\njob: birds\nprompts: [{json.dumps({'id': 'a', 'prompt': words})}]\n")
    assert cli("run", manifest).code == 0
    [_, row] = csv.reader(io.StringIO(cli("export", "--to", "csv").out))
    assert row[COLUMNS.index("prompt")] == f"'{words}"
    assert json.loads(cli("export", "--to", "jsonl").out)["prompt"] == words


def test_into_a_file_and_over_none(cli, finished):
    assert cli("export", "--to", "csv", "-o", "birds.csv").code == 0
    whole = Path("birds.csv").read_bytes()
    assert len(whole.splitlines()) == 5
    result = cli("export", "--to", "jsonl", "-o", "birds.csv")
    assert result.code == 2
    assert "overwrites nothing" in result.err
    assert Path("birds.csv").read_bytes() == whole
    assert not list(Path().glob(".birds.csv*"))


def test_a_job_that_nobody_knows(cli, finished):
    result = cli("export", "bird", "--to", "csv")
    assert result.code == 2
    assert "jobs: birds" in result.err
