"""A canary key and a canary signature, looked for in everything that a process says, leaves or shows of itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import SIGNATURE
from siege import KEY

LISTENER = """
import asyncio, logging, sys
logging.basicConfig(filename="all.log", level=logging.DEBUG)
import batcher, batcher.http
for name in ("", "httpx", "httpx2", "httpcore", "httpcore2", "httpcore.http11", "asyncio", "anyio", "batcher"):
    logging.getLogger(name).setLevel(logging.DEBUG)
summary = batcher.run("siege.yaml", provider="cometapi", yes=True)
print(summary, file=open("summary.txt", "w"))
sys.exit(summary.exit_code)
"""

DEFECTS = {
    "batcher.providers.cometapi.CometApi.create": 75,
    "batcher.runner.run._Loop._claim": 78,
    "batcher.state.store.Store.end_run": 78,
}
"""Where something breaks with the key and a signed URL in its message -> how the run ends."""


@pytest.mark.parametrize("where", DEFECTS)
def test_a_defect_says_where_and_never_what(siege, tmp_path, where):
    """An error of ours with the key and a signed URL in its message: type and place are told, the words are not."""
    besieged = siege(1)
    planted = tmp_path / "planted"
    planted.mkdir()
    module, name, method = where.rsplit(".", 2)
    (planted / "sitecustomize.py").write_text(
        f"import {module}\n"
        "def broken(*_, **__):\n"
        f"    raise ValueError('{KEY} https://cdn.example/x?Signature={SIGNATURE}')\n"
        f"{module}.{name}.{method} = broken\n"
    )
    ended = besieged.run("-v", PYTHONPATH=str(planted))
    said = ended.out + ended.err
    assert "defect" in said
    assert "ValueError" in said
    assert KEY not in said
    assert SIGNATURE not in said
    assert ended.code == DEFECTS[where], said


def test_a_crash_shows_nothing(siege):
    """Killed by SIGABRT in the middle of a create call, fault handler on: no key in its last words, no core file."""
    besieged = siege(1)
    besieged.enemy.faults = {"create": iter(("taken stall",))}
    command = [sys.executable, "-m", "batcher", "run", "siege.yaml", "-v"]
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh", *command],
        cwd=besieged.folder,
        env=besieged.environment | {"PYTHONFAULTHANDLER": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    besieged.enemy.wait_until(lambda books: books.made)
    if sys.platform == "linux":
        about = Path(f"/proc/{process.pid}")
        assert KEY.encode() not in (about / "cmdline").read_bytes()
        limit = next(line for line in (about / "limits").read_text().splitlines() if "core file" in line)
        assert limit.split()[4] in "01"
    process.send_signal(signal.SIGABRT)
    _, last_words = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error" in last_words
    assert KEY not in last_words
    assert not list(besieged.folder.glob("core*"))
    besieged.enemy.calm()
    assert besieged.run().code == 0
    besieged.assert_all_home()


def test_a_library_user_who_logs_everything_logs_no_secret(siege):
    """Every logger there is at DEBUG, into a file, in asyncio's debug mode."""
    besieged = siege(3)
    besieged.enemy.faults = {
        "create": iter(("honest", "taken reset")),
        "look": iter(("honest", "honest", "500", "cookie", "big head")),
        "clip": iter(("302 to elsewhere", "cut body")),
    }
    script = besieged.folder / "listener.py"
    script.write_text(LISTENER)
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=besieged.folder,
        env=besieged.environment | {"PYTHONASYNCIODEBUG": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    log = (besieged.folder / "all.log").read_text()
    assert "asyncio" in log
    assert "httpcore" in log
    for text in (ended.stdout, ended.stderr, log, (besieged.folder / "summary.txt").read_text()):
        assert KEY not in text
        assert SIGNATURE not in text
