"""`batcher verify` and `batcher backup` as typed: what they print, what they exit with, and that they never spend."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from batcher.state.file import hold_lock
from cli.conftest import query


def creates() -> int:
    return query("SELECT coalesce(sum(posts), 0) FROM attempts")[0][0]


def asked(provider) -> int:
    """How many create calls came."""
    with urllib.request.urlopen(f"{provider.base_url}/_ledger") as reply:
        return json.load(reply)["totals"]["creates"]


@pytest.fixture
def home(cli, manifest):
    """Four simulated clips at home."""
    assert cli("run", manifest).code == 0
    return Path("out/birds-simulated")


def clips(home: Path) -> list[Path]:
    return sorted(home.glob("*.mp4"))


def test_all_whole(cli, home):
    result = cli("verify")
    assert result.code == 0
    assert "files: " in result.out
    document = json.loads(cli("verify", "birds", "--json").out)
    assert document["document"] == "verify"
    assert document["files"] == document["whole"] >= 8


def test_what_is_not_whole_is_named_with_the_next_command(cli, home):
    clips(home)[0].unlink()
    result = cli("verify", "birds")
    assert result.code == 1
    assert "heron-16x9-t1  video  out/birds-simulated/heron-16x9-t1.mp4  missing" in result.out
    assert "next: batcher verify birds --repair" in result.out


def test_the_next_command_can_be_pasted_whatever_a_state_calls_its_manifest(cli, home):
    """A stranger's state names a manifest that a shell would run."""
    path = "a b; $(true).yaml"
    with contextlib.closing(sqlite3.connect("state.db")) as state, state:
        state.execute("UPDATE jobs SET manifest = ?", (path,))
        state.execute("UPDATE tasks SET prompt = replace(prompt, 'heron', 'egret')")
    commands = [
        shlex.split(line.removeprefix("next:")) for line in cli("verify").out.splitlines() if "recover" in line
    ]
    assert commands == [["batcher", "recover", path]]
    told = cli("verify", "--repair").err
    assert any(shlex.split(line)[-2:] == ["recover", path] for line in told.splitlines() if "batcher recover" in line)


def test_nobody_listens(cli, home, monkeypatch):
    """stderr was closed before we began: no bar, and the answer all the same."""
    monkeypatch.setattr("sys.stderr", None)
    assert cli("verify").code == 0


def test_repaired_it_is_whole_and_nothing_was_bought(cli, home):
    """Simulated clips too: the simulator's world goes on, and gives the clip again."""
    whole = clips(home)[0].read_bytes()
    clips(home)[0].unlink()
    before = creates()
    result = cli("verify", "birds", "--repair")
    assert result.code == 0, result.err
    assert "1 downloaded" in result.err
    assert "nothing bought" in result.err
    assert creates() == before
    assert clips(home)[0].read_bytes() == whole
    assert query("SELECT command, outcome, exit_code FROM runs ORDER BY started_at DESC")[0] == ("verify", "done", 0)


def test_repaired_as_json(cli, home):
    """Events as those of a run, the summary last."""
    clips(home)[0].unlink()
    documents = cli("verify", "--repair", "--json").documents
    assert documents[0]["event"] == "run"
    assert [d["findings"] for d in documents if d["event"] == "checked"] == [1]
    assert (documents[-1]["event"], documents[-1]["downloaded"]) == ("summary", 1)


def test_only_a_repair_needs_the_lock(cli, home):
    """Looking works while a run is going on; repairing says who works (4)."""
    with hold_lock(Path("state.db"), started_at="now"):
        assert cli("verify").code == 0
        assert cli("verify", "--repair").code == 4


def test_paid_clips_need_the_key_only_to_come_back(cli, paid, monkeypatch):
    assert cli("run", paid, "-y").code == 0
    monkeypatch.delenv("COMETAPI_KEY")
    clips(Path("out/birds"))[0].unlink()
    assert cli("verify").code == 1
    assert cli("verify", "--repair").code == 64


def test_paid_clips_come_back(cli, paid, provider):
    assert cli("run", paid, "-y").code == 0
    before = asked(provider)
    clips(Path("out/birds"))[0].unlink()
    assert cli("verify", "--repair").code == 0
    assert asked(provider) == before


def test_no_such_job(cli, home):
    assert cli("verify", "fish").code == 2
    assert cli("verify", "fish", "--repair").code == 2


# ---- backup -------------------------------------------------------------------------------------------------


def test_a_backup_is_a_state(cli, home):
    """One file, for our eyes only, whole; what is known of its clips is in it."""
    result = cli("backup", "copy.db")
    assert result.code == 0, result.err
    assert "next: " in result.out
    assert stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    assert not list(Path().glob("copy.db-*")) + list(Path().glob(".copy.db*"))
    with contextlib.closing(sqlite3.connect("copy.db")) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert copy.execute("SELECT count(*) FROM assets").fetchall() == query("SELECT count(*) FROM assets")
    assert cli("verify", "--state", "copy.db").code == 0
    assert json.loads(cli("backup", "other.db", "--json").out)["tasks"] == 4


@pytest.mark.parametrize("what", ["file", "link", "folder"])
def test_a_backup_overwrites_nothing(cli, home, what):
    copy = Path("copy.db")
    if what == "file":
        copy.write_text("mine")
    elif what == "link":
        copy.symlink_to("nowhere.db")
    else:
        copy.mkdir()
    assert cli("backup", copy).code == 2
    assert copy.is_dir() or copy.is_symlink() or copy.read_text() == "mine"
    assert not Path("nowhere.db").exists()
    assert cli("backup", "state.db").code == 2


def test_a_backup_of_nothing(cli, home):
    result = cli("backup", "copy.db", "--state", "nowhere.db")
    assert result.code == 78
    assert not list(Path().glob("*copy*"))


def test_a_backup_where_nothing_can_be_written(cli, home):
    Path("full").symlink_to("/proc")
    result = cli("backup", "full/copy.db")
    assert result.code == 78
    assert "copy.db" in result.err


@pytest.mark.slow
def test_a_backup_while_a_run_is_going_on(cli, manifest):
    """Each copy is whole and older than the next; the run does not notice."""
    environment = {**os.environ, "BATCHER_SIMULATOR": "time_scale=0.005,clips=sample"}
    run = subprocess.Popen(
        [sys.executable, "-m", "batcher", "run", str(manifest)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    counts = []
    while run.poll() is None and len(counts) < 200:
        if not Path("state.db").exists():
            time.sleep(0.01)
            continue
        copy = Path(f"copy-{len(counts)}.db")
        assert cli("backup", copy).code == 0
        with contextlib.closing(sqlite3.connect(copy)) as state:
            counts.append(state.execute("SELECT count(*) FROM events").fetchone()[0])
    assert run.wait() == 0
    assert counts == sorted(counts)
    assert cli("verify").code == 0
