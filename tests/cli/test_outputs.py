"""What strangers say through batcher: prompts, file names, a provider's words, a state's rows. None of it is obeyed.

Every output of every verb is read for what a terminal, a log reader, a page or a shell would act on.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import subprocess
import unicodedata
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batcher.cli.progress import JsonProgress, PlainProgress
from batcher.events import Event, EventKind
from batcher.simulator import checks, keys, world
from batcher.simulator.replies import Refusal
from cli.conftest import KEY, query
from cli.views import AT, make_event

STEERING = (
    "\x1b]0;owned\x07",  # a terminal's title
    "\x1b[2J\x9b2J\x7f\x08",  # a screen wiped, with C0, DEL and C1
    "\u202egnp.exe\u2066\u200b\u2028\ufeff\U000e0041",  # letters in another order, and hidden ones
    "[red]x[/red] [link=http://x]y[/link]",  # markup of the library that draws
    "\r\n::error::forged\n::stop-commands::t\n##[error]forged %0A::error::x",  # orders to GitHub Actions
    "<img src=x onerror=alert(1)> [a](http://x) ![](http://x)",  # a page
    "=cmd|' /C calc'!A0",  # a spreadsheet
    "$(touch owned) `touch owned`; touch owned #",  # a shell
)
HOSTILE = " ".join(STEERING)


def obeyed(text: str) -> list[str]:
    """What in a text would be acted on instead of read."""
    found = [repr(c) for c in set(text) - {"\n"} if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    orders = [line for line in text.split("\n") if line.lstrip().startswith("::")]
    found += [line for line in orders if not re.match(r"::(error|warning) (\w+=[^,:]*,?)+::", line)]
    return found + (["##["] if "##[" in text else [])


def pasted(text: str) -> list[str]:
    """The `next:` commands of a text which, typed into a shell, run something else."""
    lines = [line.removeprefix("next: ") for line in text.splitlines() if line.startswith("next: ")]
    parts = [part for line in lines for part in line.removesuffix(")" * ("(or: " in line)).split("   (or: ")]
    commands = [command for part in parts for command in part.split(" · ")]
    obeyed = []
    for command in commands:
        typed = f"batcher() {{ :; }}; {command.split(' --adopt TASK_ID')[0]}"
        subprocess.run(["/bin/sh", "-c", typed], capture_output=True, check=False, timeout=10)
        if Path("owned").exists():
            Path("owned").unlink()
            obeyed.append(command)
    return obeyed


@pytest.fixture
def words(monkeypatch):
    """A provider that says all of it, whatever it is asked."""

    def moderation(_, request, __, ___):
        return Refusal(status=400, code=1301, message=HOSTILE) if "refuse me" in request["prompt"] else None

    monkeypatch.setitem(checks._CHECKS, "moderation", moderation)
    monkeypatch.setitem(world._FAILURES, "risk-control", f"risk control system {HOSTILE}")


def quoted(text: str) -> str:
    """`text` in double quotes, as YAML reads it."""
    return json.dumps(text).replace("\\udb40\\udc41", "\\U000e0041")


MANIFEST = f"""\
version: 1
job: birds
edition: "[b]e %0A ::error::"
defaults: {{model_name: kling-v1-6, negative_prompt: {quoted(HOSTILE)}}}
vars: {{v: {quoted(HOSTILE)}}}
prompts:
  - {{id: {quoted(HOSTILE)}, prompt: {quoted("ok " + HOSTILE[:300])}, params: {{{quoted(HOSTILE)}: 1}}}}
  - {{id: refused, prompt: {quoted("refuse me " + HOSTILE[:300])}}}
  - {{id: fails, prompt: {quoted("make it nsfw " + HOSTILE[:300])}}}
  - {{id: "other {{{{ v }}}}", prompt: plain}}
  - {{file: "*.csv"}}
run: {{prompt_limit: 2500}}
"""


@pytest.fixture
def planted(tmp_path, monkeypatch, words):
    """A folder in which everything that can have a name or a text has a hostile one."""
    monkeypatch.setenv("BATCHER_SIMULATOR", "time_scale=0.0005,clips=sample")
    folder = tmp_path / "a\x1b]0;owned\x07 ::error:: ##[error] $(touch owned)"
    folder.mkdir()
    monkeypatch.chdir(folder)
    name = "p\x1b[2J\u202e\n::error::forged\n##[error]$(touch owned).csv"
    Path(name).write_text("id,prompt\nrow,refuse me\n")
    path = Path("m\x1b]0;owned\x07\n::error::forged ##[error]$(touch owned).yaml")
    path.write_text(MANIFEST)
    return path


def test_no_output_of_a_run_is_obeyed(cli, planted, monkeypatch):
    """check, plan, run (lines and JSON), status, show, retry: on a machine of GitHub's, and a page of it."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    results = {
        name: cli(*arguments)
        for name, arguments in {
            "check": ("check", planted),
            "plan": ("plan", planted),
            "plan json": ("plan", planted, "--json"),
            "run": ("run", planted, "-v"),
            "status": ("status",),
            "status failed": ("status", "--failed"),
            "status json": ("status", "--json"),
            "retry": ("retry", "--failed", "-v"),
            "run json": ("run", planted, "--json"),
            "doctor": ("doctor",),
        }.items()
    }
    assert results["check"].code == 0, results["check"].err
    results |= {f"show {name}": cli("show", name) for (name,) in query("SELECT name FROM tasks")}
    assert results["run"].code == 1
    for name, result in results.items():
        assert "defect" not in result.err, (name, result.err)
        assert obeyed(result.out) == [], name
        assert obeyed(result.err) == [], name
        assert pasted(result.out + result.err) == [], name
    assert "::error file=" in results["run"].err
    assert r"\x1b]0;owned\x07" in results["run"].err, "the provider's words are shown, as text"
    assert json.loads(results["plan json"].out)["manifest"] == str(planted), "a program gets the words as they are"
    page = Path("page.md").read_text()
    assert obeyed(page) == []
    assert not re.search(r"<(?!/?(h3|pre)>)", page)
    assert not Path("owned").exists()


BROKEN = f"""\
version: 1
job: birds
{quoted(HOSTILE)}: 1
defaults: {{mode: {quoted(HOSTILE)}, {quoted(HOSTILE[:60])}: 1}}
prompts:
  - {{prompt: "{{{{ {"x" * 8}\\e]0;owned\\a }}}}"}}
  - {{prompt: "{{{{ nobody }}}} [red]x ::error::"}}
  - {{file: {quoted(HOSTILE)}}}
  - {{file: {quoted("/" + HOSTILE)}}}
"""


@pytest.mark.parametrize("output", ["text", "json", "github"])
def test_no_problem_of_a_manifest_is_obeyed(cli, planted, monkeypatch, output):
    """A review tool shows the problems of a stranger's manifest: its text stays text in each format."""
    planted.write_text(BROKEN)
    result = cli("check", planted, "--output-format", output)
    assert result.code == 2
    assert obeyed(result.out) == []
    assert obeyed(result.err) == []
    shown = result.out + result.err
    assert r"\x1b" in shown or r"\u001b" in shown
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert obeyed(cli("run", planted).err) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", HOSTILE),
        ("status", HOSTILE),
        ("retry", "-s", HOSTILE),
        ("retry", HOSTILE, "--failed"),
        ("collect", HOSTILE),
        ("resolve", HOSTILE, "--drop"),
        ("resolve", HOSTILE),
        ("run", "birds.yaml", "-s", HOSTILE),
        ("run", "birds.yaml", "--provider", HOSTILE),
        ("run", "birds.yaml", "--var", HOSTILE),
        ("run", "birds.yaml", f"--{HOSTILE}"),
        ("run", "birds.yaml", "-j", HOSTILE),
        ("run", "birds.yaml", "--deadline", HOSTILE),
        ("run", "birds.yaml", "--env-file", HOSTILE),
        ("run", HOSTILE),
        ("check", HOSTILE),
        (HOSTILE,),
        ("status", "--state", HOSTILE),
        ("init", "folder \x1b]0;owned\x07\n::error::x"),
    ],
)
def test_no_mistake_on_the_command_line_is_obeyed(cli, manifest, arguments):
    """A script hands on a name it found somewhere: the error that quotes it is only read."""
    shutil.copy(Path(__file__).parents[2] / "state.db.example", "state.db")
    result = cli(*arguments)
    assert obeyed(result.out) == []
    assert obeyed(result.err) == []
    assert "defect" not in result.err
    assert "owned" in result.out + result.err or result.err == "nothing to retry\n"


@pytest.mark.parametrize("provider", [{"keys": frozenset({"another-key-of-sixteen"})}], indirect=True)
def test_no_refusal_of_the_key_is_obeyed(cli, paid, monkeypatch):
    monkeypatch.setattr(keys, "INVALID", HOSTILE, raising=False)
    result = cli("run", paid, "-y")
    assert result.code == 77
    assert obeyed(result.err) == []


TEXTS = {
    "tasks": ("job", "name", "edition", "source", "prompt", "error_class", "error_code", "error_message", "output"),
    "attempts": ("error_code", "error_message", "task_id", "request_id"),
    "assets": ("path", "kind"),
    "events": ("what", "detail"),
    "runs": ("job", "outcome", "manifest"),
    "jobs": ("job", "manifest"),
}
"""Texts of the state that are shown somewhere."""


def test_no_row_of_a_state_is_obeyed(cli, manifest):
    """A state is only a file: somebody else may have written it."""
    cli("run", manifest)
    with closing(sqlite3.connect("state.db")) as state, state:
        for table, columns in TEXTS.items():
            state.execute(f"UPDATE {table} SET {', '.join(f'{c} = ?' for c in columns)} WHERE rowid = 1",
                          [f"::error::{HOSTILE}" for _ in columns])  # fmt: skip
        state.execute("UPDATE tasks SET status = 'unclear', job = (SELECT job FROM jobs) WHERE id < 3")
        state.execute("UPDATE tasks SET status = 'failed', error_message = ?, job = (SELECT job FROM jobs)"
                      " WHERE id > 2", (HOSTILE,))  # fmt: skip
    (external_id,) = query("SELECT external_task_id FROM tasks WHERE id = 1")[0]
    for arguments in [
        ("status",),
        ("status", "--failed"),
        ("status", "--json"),
        ("show", external_id),
        ("show", external_id, "--json"),
        ("show", "nobody"),
        ("plan", manifest),
        ("collect",),
        ("resolve", external_id, "--adopt", HOSTILE),
        ("resolve", external_id, "--drop"),
        ("retry", "--failed"),
        ("resume",),
        ("doctor",),
    ]:
        result = cli(*arguments)
        assert "defect" not in result.err, (arguments, result.err)
        assert obeyed(result.out) == [], arguments
        assert obeyed(result.err) == [], arguments
        assert pasted(result.out + result.err) == [], arguments


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.SUMMARY])
@pytest.mark.parametrize("steering", STEERING)
def test_no_event_is_obeyed(kind, steering):
    """Each kind of event in each log, whichever of its fields a stranger filled."""
    detail = {"reason": steering, "message": steering, "code": steering, "how": steering, "next": steering,
              "provider": steering, "run": steering, "manifest": steering}  # fmt: skip
    event = make_event(kind, name=steering, source=f"{steering}:3", **detail)
    event = Event(kind=kind, at=AT, task=event.task, path=steering, detail=event.detail)
    for make in (
        lambda s: PlainProgress(s, loudness=9, annotations=True, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)),
        JsonProgress,
    ):
        stream = io.StringIO()
        make(stream).event(event)
        assert obeyed(stream.getvalue()) == []
    told = json.loads(stream.getvalue())
    assert told["task"]["name"] == steering, "a program gets the words as they are"


def test_this_test_can_fail(tmp_path, monkeypatch):
    """The judge of the others sees each kind of order."""
    for steering in ("\x1b]0;x", "\x7f", "\x9b", "\u202e", "\u200b", "a\n::error::x", "  ::error::x", "a ##[error]"):
        assert obeyed(steering)
    assert not obeyed("a :: b [red] =cmd\n::error file=a%3Ab,line=3::x ::error::")
    monkeypatch.chdir(tmp_path)
    assert pasted("next: batcher run x   (or: batcher show a$(touch owned))") == ["batcher show a$(touch owned)"]
    assert KEY not in HOSTILE
