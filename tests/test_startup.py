"""A command loads what it uses: start-up is mostly imports. How long they take is told by `bench/startup.py`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from batcher.simulator import Settings
from batcher.simulator.serving import start

KEY = "sk-startup-0001"
HTTP = {"httpx", "httpx2"}
SERVER = {"uvicorn", "starlette", "batcher.simulator"}
MEDIA = {"av", "PIL"}
LIVE = {"batcher.cli.screen"}
HEAVY = {"sqlite_utils", "pydantic", "rich", "anyio", "asyncio", "yaml", "ssl", *HTTP, *SERVER, *MEDIA, *LIVE}
"""What takes 20 ms and more, each."""

MANIFEST = "provider: {}\nprompts: [A heron, A swift]\nbudget: {{max_usd: 5}}\n"
CODE = """
import json, sys
from batcher.cli.entry import run_command_line
code = run_command_line(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump([code, sorted(sys.modules)], file)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def gateway():
    """The paid provider's place, in this process: what a child loads for it is only the client."""
    with start(Settings(time_scale=0.0005, clips="sample", keys=frozenset({KEY}))) as running:
        yield running.base_url


@pytest.fixture(scope="module")
def loaded(home, gateway):
    """Which of the heavy modules a command loads, by its exit code."""
    for provider in ("simulator", "cometapi"):
        (home / f"{provider}.yaml").write_text(MANIFEST.format(provider))

    def run(*arguments, code=0):
        environment = {"PATH": "", "COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": gateway}
        report = home / "report.json"
        subprocess.run([sys.executable, "-c", CODE, report, *arguments], cwd=home, env=environment, check=True)
        told, modules = json.loads(report.read_text())
        assert told == code
        return HEAVY & set(modules)

    run("run", "cometapi.yaml", "--submit-only", "-q", code=75)
    return run


def test_the_package_itself_is_next_to_nothing():
    script = "import sys; before = set(sys.modules); import batcher; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("batcher")}
    assert ours == {"batcher"}
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["status"], ["status", "--json"], ["show", "a-heron"]]
)
def test_what_only_tells_loads_nothing_heavy(loaded, arguments):
    assert loaded(*arguments, code=2 if arguments[0] == "show" else 0) == set()


@pytest.mark.parametrize("verb", ["plan", "check"])
def test_what_reads_a_manifest_loads_no_client_and_no_server(loaded, verb):
    assert loaded(verb, "cometapi.yaml") <= {"pydantic", "yaml", "anyio"}


def test_a_paid_run_loads_no_simulator_no_live_view_and_no_pictures(loaded):
    """On a state that is there already; a new one is made by sqlite-utils."""
    modules = loaded("run", "cometapi.yaml", "--submit-only", "-q", code=75)
    assert modules & HTTP, "the search finds what is there"
    assert not modules & ({"sqlite_utils"} | SERVER | MEDIA | LIVE)
    assert "rich" not in modules or "httpx2" not in modules, "httpx loads it for a command of its own"


def test_a_new_state_is_made_by_sqlite_utils(loaded, home):
    assert "sqlite_utils" in loaded(
        "run", "cometapi.yaml", "--submit-only", "-q", "--state", "new.db", "-o", "new", code=75
    )
