"""What the documents say is true: commands, outputs, exit codes, links, the example state."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from batcher import errors
from batcher.cli.entry import VERBS
from batcher.state.queries import Queries
from batcher.state.schema import APPLICATION_ID, STEPS
from batcher.state.selection import Selection

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text()

OUTPUTS = re.findall(r"<!-- output of: batcher (.+?) -->\n```\n(.*?)```", README, re.DOTALL)


def shape(line: str) -> str:
    """A line without what differs from run to run: times, ids, sizes."""
    line = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{8}", "RUN", line)
    line = re.sub(r"^[\d-]+T[\d:]+Z", "TIME", line)
    return re.sub(r"\d+(\.\d+)?( kB|s)\b", "N", line)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A user's folder with the project's `jobs/`, and a clean environment."""
    shutil.copytree(PROJECT / "jobs", tmp_path / "jobs")
    for name in list(os.environ):
        if name.startswith(("BATCHER_", "COMETAPI_", "GITHUB_")) or name == "CI":
            monkeypatch.delenv(name)
    monkeypatch.setenv("BATCHER_SIMULATOR", "time_scale=0.002")
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("version: 1\njob: broken\ndefaults:\n  aspect_ratio: 21:9\nprompts: [A bird]\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("command", "expected"), OUTPUTS, ids=[command for command, _ in OUTPUTS])
def test_the_outputs_in_the_readme_are_real(folder, command, expected):
    """Every line shown is printed by the command shown; `...` stands for lines left out."""
    done = subprocess.run(
        [sys.executable, "-m", "batcher", *command.split()], capture_output=True, text=True, check=False
    )
    printed = {shape(line) for line in (done.stderr + done.stdout).splitlines()}
    shown = [shape(line) for line in expected.splitlines() if line != "..."]
    assert [line for line in shown if line not in printed] == []


def test_the_readme_shows_outputs():
    assert {command for command, _ in OUTPUTS} == {"run jobs/demo.yaml", "check broken.yaml"}


def test_every_command_is_in_the_readme():
    assert [verb for verb in VERBS if not re.search(rf"`{verb}\b", README)] == []


def test_every_exit_code_is_in_the_readme():
    """The table names each code an error can end the process with."""
    table = README[README.index("| exit code |") :]
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    assert [code for code in codes if not re.search(rf"\b{code}\b", table)] == []


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (PROJECT / link).exists()] == []


@pytest.mark.slow
def test_the_library_example_works(folder, capsys):
    """The README's Python, run as it stands."""
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(first, "README", "exec"), {})
    assert capsys.readouterr().out.startswith("8 (")
    body = "\n".join(f"    {line}" for line in second.splitlines())
    names: dict = {}
    exec(compile(f"import batcher\nasync def main():\n{body}\n", "README", "exec"), names)
    asyncio.run(names["main"]())


def test_the_example_state_is_a_finished_demo_of_this_version():
    """`state.db.example` opens, is up to date, and shows eight clips downloaded."""
    path = PROJECT / "state.db.example"
    state = Queries.open(path)
    try:
        assert state.counts(Selection(job="demo")) == {"downloaded": 8}
    finally:
        state.close()
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    applied = [name for (name,) in plain.execute("SELECT name FROM _sqlite_migrations")]
    assert applied == [step.__name__ for step in STEPS]
    assert plain.execute("SELECT DISTINCT host FROM runs").fetchall() == [("example",)]
    for view in ("progress", "failures", "gallery", "spend_by_day", "slowest", "expiring"):
        plain.execute(f"SELECT * FROM {view}").fetchall()
    plain.close()
