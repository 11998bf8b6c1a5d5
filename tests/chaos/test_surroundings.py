"""Where a run may find itself: no terminal, no room, few descriptors, little memory, cron's bare world, bad keys."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from storm import BATCHER, KEY, poll, wait_for

pytestmark = pytest.mark.timeout(60)

QUICK = ("--time-scale", "0.001")
MEBIBYTE = 2**20


def shell(weather, line):
    """Run a line of shell, in which `$B` is batcher."""
    environment = weather.environment | {"B": " ".join(BATCHER)}
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=weather.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


# ---- nobody listens ------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "$B run storm.yaml --json >/dev/full",
        "$B run storm.yaml >/dev/full 2>/dev/full",
        "$B run storm.yaml --json >&-",
        "$B run storm.yaml -v <&- >&- 2>&-",
        "$B run storm.yaml --json | head -1",
        "$B run storm.yaml -v 2>&1 | head -1",
    ],
)
def test_a_stream_that_takes_nothing_stops_no_run(storm, line):
    """Full, closed before we began, or left by its reader: the clips come home, and no traceback is seen."""
    weather = storm(2, *QUICK)
    shell(weather, line)
    weather.assert_each_paid_once_and_whole()


def test_no_file_of_ours_takes_the_number_of_a_closed_stream(storm):
    """Started with none of the three: a state opened as number 2 would hold whatever a library complains of."""
    weather = storm(2, "--time-scale", "0.005")
    process = weather.start(before=("bash", "-c", 'exec "$@" <&- >&- 2>&-', "-"))
    poll(lambda: weather.charged)
    numbers = Path(f"/proc/{process.pid}/fd")
    assert [os.readlink(numbers / str(number)) for number in range(3)] == [os.devnull] * 3  # noqa: PTH115
    assert process.wait(timeout=40) == 0
    weather.assert_each_paid_once_and_whole()


def test_a_result_that_cannot_be_printed_is_no_success(storm):
    """`status >/dev/full`: the command's work is its output."""
    weather = storm(1, *QUICK)
    weather.finish()
    for verb in ("status", "schema"):
        done = shell(weather, f"$B {verb} >/dev/full")
        assert done.returncode != 0, verb
        assert "defect" not in done.stderr, done.stderr


# ---- too little of everything ------------------------------------------------------------


def limited(number, value):
    resource.setrlimit(number, (value, value))


@pytest.mark.parametrize(
    ("number", "amounts", "enough"),
    [
        (resource.RLIMIT_NOFILE, (9, 10), 64),
        (resource.RLIMIT_AS, (60 * MEBIBYTE, 200 * MEBIBYTE), 1500 * MEBIBYTE),
    ],
    ids=["descriptors", "memory"],
)
def test_too_little_stops_the_buying_clearly(storm, number, amounts, enough):
    """From what is hardly enough to start up to what will do: what is missing is told, and how to get it (78)."""
    weather = storm(6, *QUICK)
    for amount in amounts:
        ended = weather.run("-j", "1", preexec_fn=partial(limited, number, amount))
        assert ended.code == 78, (amount, ended.err)
        assert "hint: " in ended.err
        assert "Traceback" not in ended.err
        assert "defect" not in ended.err, (amount, ended.err)
    assert weather.charged < 6
    ended = weather.run("-j", "6", preexec_fn=partial(limited, number, enough))
    assert ended.code == 0, ended.err
    weather.assert_each_paid_once_and_whole()


# ---- cron ------------------------------------------------------------

ELSEWHERE = "Eine Möwe über dem Kai, 波が砕ける, 🌊 {{ n }}"


def test_cron_has_no_locale_no_home_and_no_terminal(storm):
    """An ASCII locale and two settings are all there is; the prompts arrive as they were written."""
    weather = storm(2, *QUICK)
    manifest = weather.folder / "storm.yaml"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace("Wave number {{ n }} breaks over the pier", ELSEWHERE),
        encoding="utf-8",
    )
    bare = {name: weather.environment[name] for name in ("COMETAPI_KEY", "COMETAPI_BASE_URL", "BATCHER_QUIET_WINDOW")}
    bare |= {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for verb in (("run", "storm.yaml", "-v"), ("status",), ("show", "wave-0-t1"), ("status", "--json")):
        done = subprocess.run(
            [*BATCHER, *verb],
            cwd=weather.folder,
            env=bare,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    sold = {g["prompt"] for page in weather.ledger["accounts"].values() for g in page["generations"]}
    assert sold == {ELSEWHERE.replace("{{ n }}", str(n)) for n in range(2)}
    weather.assert_each_paid_once_and_whole()


# ---- keys and addresses ------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "code"),
    [("   ", 64), ("sk-of-somebody-else-000000", 77), (f"{KEY}\nX-Injected: yes", 78)],
    ids=["blank", "wrong", "newline"],
)
def test_a_bad_key_is_told_without_being_shown(storm, key, code):
    """Refused before the first call where that can be seen, at the first answer where it cannot."""
    weather = storm(2, *QUICK, "--key", KEY)
    ended = weather.run(env=weather.environment | {"COMETAPI_KEY": key})
    assert ended.code == code, ended.err
    assert "key" in ended.err
    assert not key.strip() or key[:20] not in ended.err
    assert "Traceback" not in ended.err
    assert weather.charged == 0
    weather.finish()
    weather.assert_each_paid_once_and_whole()


def test_a_key_with_a_line_end_is_the_key(storm):
    """As `$(cat key.txt)` does not leave it, but an editor and a secret store do."""
    weather = storm(1, *QUICK, "--key", KEY)
    ended = weather.run(env=weather.environment | {"COMETAPI_KEY": f" {KEY}\r\n"})
    assert ended.code == 0, ended.err


def test_a_key_that_expires_on_the_way_stops_the_run_and_fails_nothing(storm):
    weather = storm(4, *QUICK)
    weather.script("ok", "ok", "401")
    ended = weather.run("-j", "1")
    assert ended.code == 77, ended.err
    assert "failed" not in weather.statuses()
    weather.finish()
    weather.assert_each_paid_once_and_whole()


@pytest.mark.parametrize("address", ["http://api.cometapi.com", "nonsense"])
def test_a_wrong_base_url_is_refused_at_once(storm, address):
    """Plain http leaves this machine for nobody, and what is no address is said to be none."""
    weather = storm(1, *QUICK)
    ended = weather.run(env=weather.environment | {"COMETAPI_BASE_URL": address})
    assert ended.code == 78, ended.err
    assert "base URL" in ended.err or "COMETAPI_BASE_URL" in ended.err
    assert not weather.state.exists()


def test_what_was_bought_at_one_address_is_not_looked_for_at_another(storm):
    """The tasks of a state belong to a base URL: `collect` and `retry` refuse, and name the right one."""
    weather = storm(2, *QUICK)
    weather.run("--submit-only", "-j", "2")
    elsewhere = weather.environment | {"COMETAPI_BASE_URL": "http://127.0.0.1:1"}
    ended = weather.run(verb=("collect",), env=elsewhere)
    assert ended.code == 78
    assert f"set COMETAPI_BASE_URL={weather.environment['COMETAPI_BASE_URL']}" in ended.err
    weather.finish()
    weather.assert_each_paid_once_and_whole()


# ---- an upgrade ------------------------------------------------------------


def test_an_upgrade_during_a_run_waits_for_its_end(storm):
    """Another version, started meanwhile, meets the lock before it looks at the state; then it goes on with it."""
    weather = storm(3, "--time-scale", "0.008")
    first = weather.start("-v")
    wait_for(first, "submitted ")
    code = "import batcher; batcher.__version__ = '99.0.0'; from batcher.__main__ import main; main()"
    newer = [sys.executable, "-c", code, "run", "storm.yaml"]
    with weather.frozen():
        assert weather.launch(newer).wait(timeout=20) == 4
        weather.kill(first)
    assert weather.launch(newer).wait(timeout=40) == 0
    assert weather.rows("SELECT version FROM runs ORDER BY rowid DESC LIMIT 1") == [("99.0.0",)]
    weather.assert_each_paid_once_and_whole()
