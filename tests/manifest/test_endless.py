"""Small files that ask for endless work: each is refused in seconds, where it once took minutes or all memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batcher.manifest import LoadOptions, Problems, check
from batcher.manifest.load import read
from batcher.manifest.problems import MAX_ERRORS

MANY = 100_000


def numbers(count: int) -> list[int]:
    return list(range(count))


def rules(count: int, key: str) -> dict:
    return {"a": numbers(1000), "b": numbers(100), key: [{"a": n, "b": 1000 + n} for n in numbers(count)]}


ENDLESS = {
    # every header name was compared with every other
    "columns": ({"prompts": [{"file": "p.csv"}]}, ",".join(f"c{n}" for n in numbers(MANY)) + ",prompt\n", "E203"),
    # and so was every key before the one that was there twice
    "keys of a row": (
        {"prompts": [{"file": "p.jsonl"}]},
        "{" + ",".join(f'"k{n}":1' for n in [*numbers(MANY), MANY - 1]) + "}\n",
        "E203",
    ),
    "excludes": ({"prompts": ["{{ a }} {{ b }}"], "matrix": rules(2000, "exclude")}, "", "E110"),
    "includes": ({"prompts": ["{{ a }} {{ b }}"], "matrix": rules(2000, "include")}, "", "E110"),
    "a zip beside a matrix": (
        {"prompts": ["{{ a }} {{ z }}"], "matrix": {"a": numbers(20_000)}, "zip": {"z": numbers(20_000)}},
        "",
        "E110",
    ),
    "a zip of a prompt beside a matrix": (
        {"prompts": [{"prompt": "{{ a }} {{ z }}", "zip": {"z": numbers(20_000)}}], "matrix": {"a": numbers(20_000)}},
        "",
        "E110",
    ),
    # a template of 40 kB would have made 4 GB
    "a template that grows": ({"prompts": ["{{ a }}" * 2800], "vars": {"a": "x" * 99_999}}, "", "E105"),
    "a name that grows": (
        {"prompts": [{"id": "{{ a }}" * 2800, "prompt": "A"}], "vars": {"a": "x" * 99_999}},
        "",
        "E105",
    ),
    "a template of filters": (
        {"prompts": ["{{ a" + "|title" * 3000 + " }}"], "vars": {"a": "x" * 99_999}},
        "",
        "E208",
    ),
    "a long value": ({"prompts": ["A"], "vars": {"a": "x" * 1_000_000}}, "", "E111"),
    "a long cell": ({"prompts": [{"file": "p.csv"}]}, "prompt\n" + "x" * 1_000_000 + "\n", "E203"),
    "keys": ({"prompts": ["A"], "vars": {f"v{n}": 1 for n in numbers(MANY)}}, "", "E110"),
    # each unknown name was compared with each known one
    "unknown names": (
        {"prompts": [f"{{{{ nam{n}e }}}}" for n in numbers(8_000)], "vars": {f"name{n}": 1 for n in numbers(1990)}},
        "",
        "E209",
    ),
    "errors": ({"prompts": [{"file": "p.csv"}]}, "prompt,mode\n" + "x,bad\n" * 500_000, "E103"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_work_is_refused(name, write, monkeypatch):
    """The test's own time limit is what fails where the work has no bound."""
    monkeypatch.setattr("batcher.manifest.axes.MAX_WORK", 2_000_000)
    monkeypatch.setattr("batcher.manifest.expand.MAX_TASKS", 5_000)
    manifest, rows, code = ENDLESS[name]
    write(job_yaml=json.dumps(manifest), p_csv=rows, p_jsonl=rows)
    problems = check([Path("job.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert code in {problem.code for problem in problems}


def test_overrides_times_tasks_are_bounded(write, monkeypatch):
    monkeypatch.setattr("batcher.manifest.expand.MAX_WORK", 10_000)
    overrides = [{"when": {"a": n}, "set": {"priority": 1}} for n in numbers(500)]
    write(job_yaml=json.dumps({"prompts": ["{{ a }}"], "matrix": {"a": numbers(500)}, "overrides": overrides}))
    problems = check([Path("job.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert [(problem.code, problem.path) for problem in problems] == [("E110", "overrides")]


def test_what_is_hopeless_is_not_read_to_its_end(write):
    """After ten thousand errors the eleventh thousand tells nobody more; the count says how far it was read."""
    write(job_yaml="prompts: [{file: p.csv}]\n", p_csv="prompt,mode\n" + "x,bad\n" * (3 * MAX_ERRORS))
    problems = Problems()
    manifest = read(Path("job.yaml"), LoadOptions(), problems)
    for _ in manifest.expansion(problems, edition="").tasks():
        pass
    assert MAX_ERRORS <= problems.errors <= MAX_ERRORS + 10
