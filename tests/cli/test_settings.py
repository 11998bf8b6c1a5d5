"""Where settings come from, where results go, and how a signal before the run ends it."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import anyio
import pytest

from batcher.cli.common import Shared
from batcher.cli.course import follow
from batcher.connect import open_batch


def test_options_stand_before_or_after_the_verb(cli, manifest):
    """And the one after it wins."""
    cli("run", manifest, "--limit", "1")
    assert json.loads(cli("--json", "status").out) == json.loads(cli("status", "--json").out)
    assert cli("--state", "nowhere.db", "status", "--state", "state.db").code == 0
    assert cli("--state", "nowhere.db", "status").code == 78


@pytest.mark.parametrize("option", [["--json"], ["--output-format", "json"]])
def test_check_tells_programs_too(cli, manifest, option):
    """`check --json` is `check --output-format json`."""
    manifest.write_text(manifest.read_text().replace("mode: std", "mode: fast"))
    result = cli("check", manifest, *option)
    assert result.code == 2
    problem = json.loads(result.out)["problems"][0]
    assert (problem["line"], problem["code"][0]) == (4, "E")
    assert result.err == ""


def test_the_state_may_be_named_in_the_env_file(cli, manifest):
    """BATCHER_STATE in .env holds for every verb; the environment and --state go before it."""
    Path(".env").write_text("BATCHER_STATE=elsewhere.db\n")
    assert cli("run", manifest, "--limit", "1").code == 0
    assert Path("elsewhere.db").exists()
    assert not Path("state.db").exists()
    assert cli("status").code == 0
    assert cli("status", "--state", "state.db").code == 78


@pytest.mark.parametrize("wish", ["limit=many", "limit=0", "time_scale=-1", "clips=none", "weather=fine"])
def test_a_simulator_that_cannot_be_is_a_mistake_not_a_defect(cli, manifest, monkeypatch, wish):
    monkeypatch.setenv("BATCHER_SIMULATOR", wish)
    result = cli("run", manifest)
    assert result.code == 78
    assert "BATCHER_SIMULATOR" in result.err
    assert "defect" not in result.err


def test_a_run_leaves_its_end_on_the_page_of_a_github_job(cli, manifest, monkeypatch, tmp_path):
    """GITHUB_STEP_SUMMARY is added to, not overwritten."""
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    cli("run", manifest, "--limit", "1")
    text = page.read_text()
    assert text.startswith("before\n<h3>batcher: birds</h3>\n")
    assert "1 downloaded" in text


def test_a_bad_manifest_is_annotated_in_a_github_job(cli, manifest, monkeypatch):
    """The review of a change shows the mistake at its line."""
    manifest.write_text(manifest.read_text().replace("mode: std", "mode: fast"))
    assert "::error" not in cli("run", manifest).err
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error file=birds.yaml,line=4" in cli("run", manifest).err.replace(f"{Path.cwd()}/", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_run_has_begun(cli, manifest, number, code):
    """Ctrl-C while the plan is still being made: it leaves with the exit code of a signal, and that is no defect."""
    shared = Shared(state=Path("state.db"), env_file=None, verbose=False, quiet=True, color="never", json=False)

    async def interrupted():
        environment = shared.environment()
        endpoint = environment.endpoint("simulator")
        async with open_batch(shared.state, endpoint=endpoint, environment=environment) as batch:

            async def work(emit):
                await anyio.lowlevel.checkpoint()
                while not signal.getsignal(number) or signal.getsignal(number) is signal.SIG_DFL:
                    await anyio.lowlevel.checkpoint()
                os.kill(os.getpid(), number)
                await anyio.sleep_forever()

            return await follow(batch, shared, work)

    assert anyio.run(interrupted) == code


@pytest.mark.parametrize("depth", [1, 2])
def test_a_full_disk_under_the_output_is_no_defect_however_deep_it_is_wrapped(cli, manifest, monkeypatch, depth):
    """Each task group that an error passes through wraps it once more."""
    error: Exception = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for _ in range(depth):
        error = ExceptionGroup("a task group", [error])

    def fails(*_, **__):
        raise error

    monkeypatch.setattr("batcher.cli.run.load_all", fails)
    told = cli("run", manifest)
    assert told.code == 78
    assert "the output cannot be written" in told.err
