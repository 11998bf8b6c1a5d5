"""The key and signed URLs are in no line, log, traceback or file, whatever goes wrong; what is private stays so."""

from __future__ import annotations

import ast
import logging
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from batcher.cli.entry import VERBS, batcher
from batcher.simulator import checks
from batcher.simulator.replies import Refusal
from cli.conftest import KEY

PACKAGE = Path(__file__).parents[2] / "batcher"


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_provider_that_echoes_the_key_spreads_it_nowhere(cli, paid, tmp_path, monkeypatch):
    """Refusals and failures that quote the key end up in the state, in sidecars and on the terminal: without it."""

    def echo(_, request, *__):
        return (
            Refusal(status=400, code=1301, message=f"no content for {KEY}") if "heron" in request["prompt"] else None
        )

    monkeypatch.setitem(checks._CHECKS, "moderation", echo)
    result = cli("run", paid, "-y", "-v")
    assert result.code == 1
    assert "no content for [key]" in result.err
    shown = [cli("status", "--failed").out, cli("show", "heron-16x9-t1").out, result.err]
    assert KEY not in "".join(shown)
    assert [name for name, data in written(tmp_path).items() if KEY.encode() in data] == []


def test_a_whole_run_logs_neither_key_nor_signature(cli, paid, caplog):
    """With every logger of the process turned up as far as it goes, as a program that uses the library may do."""
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if not name.startswith(("httpx", "httpcore")):  # set to WARNING by batcher, as at DEBUG they log headers
            caplog.set_level(logging.DEBUG, logger=name)
    assert cli("run", paid, "-y").code == 0
    ours = [r for r in caplog.records if not r.name.startswith("uvicorn")]  # the log of the provider in this test
    assert len(ours) > 3, "there is something to read"
    text = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in ours)
    assert KEY not in text
    assert "Signature=" not in text


@pytest.mark.parametrize("where", ["batcher.prepare.Wanted", "batcher.assets.folder.Folder._finish"])
def test_a_defect_shows_places_and_no_values(cli, paid, monkeypatch, where):
    """Neither the words of the exception nor the locals of its frames: they may be a key, or a signed URL."""

    def broken(*_, **__):
        secret = f"{KEY}?Signature=x"
        raise RuntimeError(secret)

    monkeypatch.setattr(where, broken)
    result = cli("run", paid, "-y")
    assert "a defect of batcher" in result.err
    assert "RuntimeError" in result.err
    for text in (result.err, result.out):
        assert KEY not in text
        assert "Signature" not in text
        assert "Traceback" not in text


def test_nothing_in_the_package_prints_locals():
    """No pretty tracebacks, no handler that shows what variables held."""
    forbidden = {"rich.traceback", "cgitb", "faulthandler", "print_exc", "print_exception", "format_exc"}
    forbidden |= {"show_locals", "capture_locals", "excepthook"}
    found = {
        (path.name, word)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for word in (getattr(node, "module", None), getattr(node, "attr", None), getattr(node, "arg", None))
        if word in forbidden
    }
    assert found == set()


def test_no_option_takes_a_key():
    """What stands on a command line is read by everybody on the machine. (`simulate --key` is a key to nothing.)"""
    context = click.Context(batcher)
    options = {
        (verb, name)
        for verb in VERBS
        if verb != "simulate" and (command := batcher.get_command(context, verb))
        for parameter in command.params
        for name in parameter.opts
    }
    assert len(options) > 50
    assert [each for each in options if any(word in each[1] for word in ("key", "token", "secret", "password"))] == []


def test_a_run_leaves_no_core_dump():
    """A core would hold the key; the limit is set before anything is read."""
    code = (
        "import resource; from batcher.cli.entry import run_command_line; run_command_line(['--version']);"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    raised = None if hard not in (limit[1], -1) else lambda: resource.setrlimit(resource.RLIMIT_CORE, limit)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=raised
    )
    assert result.stdout.splitlines()[-1] in ("0", "1")  # 1 byte: see `_no_core_dumps`


def test_what_is_private_is_for_its_owner_alone(cli, manifest, tmp_path):
    """State, journal, lock, world, receipts and namespaces, and a folder made for the state, under an open umask."""
    before = os.umask(0)
    try:
        result = cli("run", manifest, "--state", "made/state.db")
        assert result.code == 0, result.err
        modes = {p.relative_to(tmp_path).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    finally:
        os.umask(before)
    private = {name: mode for name, mode in modes.items() if name.startswith("made/") or "/.batcher" in name}
    assert {"made/state.db", "made/state.db.lock", "made/state.db.simulator"} <= private.keys()
    assert len([name for name in private if "/.batcher" in name]) == 2
    assert set(private.values()) == {0o600}
    assert modes["made"] == 0o700
    clips = {mode for name, mode in modes.items() if name.endswith((".mp4", ".json", ".jpg"))}
    assert clips <= {0o644, 0o600}


@pytest.mark.parametrize(
    "name", ["state.db.lock", "state.db.new", "state.db.simulator", "out/birds-simulated/.batcher.json"]
)
def test_a_link_planted_at_a_name_of_ours_harms_nothing(cli, manifest, tmp_path, name):
    """Somebody else's link where batcher writes: what it leads to keeps every byte."""
    victim = tmp_path / "victim"
    victim.write_text("precious\nand not ended")
    link = tmp_path / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    result = cli("run", manifest)
    assert "defect" not in result.err
    assert victim.read_text() == "precious\nand not ended"
    assert result.code in (0, 78)


@pytest.mark.parametrize(
    "name",
    ["state.db", "state.db.lock", "state.db.simulator", "birds.yaml", "out/birds-simulated/.batcher.json",
     "out/birds-simulated/.batcher-receipts.jsonl", "out/birds-simulated/metadata.jsonl",
     "out/birds-simulated/heron-16x9-t1.json", "out/birds-simulated/heron-16x9-t1.mp4"],
)  # fmt: skip
def test_a_pipe_under_a_name_of_ours_hangs_nothing(tmp_path, manifest, name):
    """An archive may hold named pipes: a run ends by itself, with all clips or with what is in the way."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    words = [sys.executable, "-m", "batcher", "run", "birds.yaml"]
    environment = {**os.environ, "BATCHER_SIMULATOR": "time_scale=0.0005,clips=sample"}
    result = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=40, check=False
    )
    assert result.returncode in (0, 2, 78), result.stderr
    assert "defect" not in result.stderr
    assert result.returncode == 0 or path.name in result.stderr
    assert stat.S_ISFIFO(path.lstat().st_mode)
