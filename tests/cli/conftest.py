"""The command line as a user meets it: a folder of its own, a clean environment, a quick built-in simulator."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from batcher.cli.entry import SETTINGS, run_command_line
from batcher.policy.polling import Pace
from batcher.simulator import Settings
from batcher.simulator.serving import start

QUICK = "time_scale=0.0005,clips=sample"
KEY = "sk-canary-7f3a9b2c5d8e1f40"

MANIFEST = """\
version: 1
job: birds
provider: {provider}
defaults: {{model_name: kling-v1-6, mode: std, duration: 5}}
prompts:
  - id: heron
    prompt: A heron stands in the mist
  - id: swift
    prompt: A swift cuts the evening air
matrix:
  aspect_ratio: [16:9, 9:16]
"""


def query(sql: str) -> list[tuple]:
    """What the state in this folder says."""
    with closing(sqlite3.connect("state.db")) as state:
        return state.execute(sql).fetchall()


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run the command line in this process, in a new folder."""
    for name in list(os.environ):
        if name.startswith(("BATCHER_", "COMETAPI_", "GITHUB_")) or name in ("CI", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    for name in SETTINGS:  # a `.env` may set them in this process: they are gone again after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("BATCHER_SIMULATOR", QUICK)
    monkeypatch.setattr(
        "batcher.compose.LOCAL_PACE", Pace(floor_s=0.02, cap_s=1.0, worth_s=0.03, list_worth_s=0.05, prior_s=1.0)
    )  # half of the time is waiting
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = run_command_line([str(word) for word in arguments])
        captured = capsys.readouterr()
        return Result(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Four clips on the simulator."""
    path = tmp_path / "birds.yaml"
    path.write_text(MANIFEST.format(provider="simulator"))
    return path


@pytest.fixture
def provider(request):
    """A simulator on a port of its own, as a stranger would meet it: the judge of what was asked.

    Its settings may be the test's parameter.
    """
    settings = {"time_scale": 0.0005, "clips": "sample", "keys": frozenset({KEY}), **getattr(request, "param", {})}
    with start(Settings(**settings)) as running:
        yield running


@pytest.fixture
def paid(tmp_path, monkeypatch, provider) -> Path:
    """The same four clips on the paid path, pointed at `provider`."""
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    monkeypatch.setenv("COMETAPI_BASE_URL", provider.base_url)
    path = tmp_path / "birds.yaml"
    path.write_text(MANIFEST.format(provider="cometapi"))
    return path
