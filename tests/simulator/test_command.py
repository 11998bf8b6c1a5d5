from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx
import pytest
from click.testing import CliRunner

from batcher.cli.simulate import simulate

COMMAND = [sys.executable, "-c", "from batcher.cli.simulate import simulate; simulate()"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_well_on_a_signal(number, tmp_path):
    arguments = ["--fault", "look-502=1", "--script", "1303", "--key", "k", "--world", tmp_path / "w.jsonl"]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        url = re.match(
            r"simulator listening on (http://127\.0\.0\.1:\d+)  ledger: \1/_ledger  \(nothing here costs money\)$",
            line,
        )
        assert url, line
        api = f"{url[1]}/kling/v1/videos/text2video"
        headers = {"authorization": "Bearer k"}
        assert httpx.post(api, json={"prompt": "a"}, headers=headers).json()["code"] == 1303
        assert httpx.get(f"{api}/x", headers=headers).status_code == 502
        assert httpx.get(api, headers={"authorization": "Bearer other"}).json()["code"] == 1002
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "nonsense=0.1"], "no fault is called 'nonsense'"),
        (["--fault", "html-502"], "NAME=CHANCE"),
        (["--limit", "0"], "limit must be at least 1"),
        (["--generation-s", "-1"], "generation_s must be above 0"),
        (["--certfile", "x.pem"], "go together"),
    ],
)
def test_what_cannot_be_is_a_usage_error(arguments, words):
    result = CliRunner().invoke(simulate, arguments)
    assert (result.exit_code, words in result.output) == (2, True), result.output


def test_the_faults_can_be_listed():
    result = CliRunner().invoke(simulate, ["--list-faults"])
    assert result.exit_code == 0
    assert "reset-after        create  created, but the connection is reset" in result.output
