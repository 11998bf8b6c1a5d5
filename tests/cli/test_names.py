"""Odd names, from the manifest to the disk: a clip lies in its job's folder, under a name that every system takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import query

IDS = (
    *("../../etc/passwd", "/absolute", "a/b", "c\\d", "x" * 300, "y" * 299 + "1", "y" * 299 + "2", "café", "ÉCOLE"),
    *("\x1b[2J", "e\nf", "\u202egnp", "-rf", "--help", "CON", "nul.txt", "lpt1.tar.gz", "dot.", "blank "),
    *("~x~", "...", "$HOME", "$(id)", "*?<>|:2", ".hidden", ".batcher", "metadata", "狐", "🦊3"),
    *("%2e%2e%2f", "a'b\"c", "=1+1", "::error::x", "16:9"),
)


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_odd_ids_become_harmless_names(cli, tmp_path, monkeypatch):
    """Whatever ids hold: as many clips as tasks, none outside, none hidden, none that another system cannot hold."""
    monkeypatch.setenv("BATCHER_SIMULATOR", "time_scale=0.0001,clips=sample,limit=40")
    prompts = [{"id": name, "prompt": f"prompt {n}"} for n, name in enumerate(IDS)]
    Path("m.yaml").write_text(json.dumps({"job": "odd", "prompts": prompts}, ensure_ascii=False))
    result = cli("run", "m.yaml", "-j", "40", "--json")
    assert result.code == 0, result.err
    clips = [name for name in files(tmp_path) if name.endswith(".mp4")]
    assert len(clips) == len(IDS) == query("SELECT count(*) FROM tasks WHERE status = 'downloaded'")[0][0]
    for clip in clips:
        folder, _, name = clip.rpartition("/")
        assert folder == "out/odd-simulated"
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,83}\.mp4", name)
        assert name.partition(".")[0].upper() not in {"CON", "NUL", "LPT1"}
    assert len({clip.casefold() for clip in clips}) == len(clips)
    assert {name.partition("/")[0].partition(".")[0] for name in files(tmp_path)} == {"out", "m", "state"}


TEMPLATES = (
    *("../{{ id }}", "/abs/{{ id }}", "{{ job }}/../../{{ id }}", "a//{{ id }}", "{{ id }}/", "..", ".", "", " / "),
    *("{{ v }}", "{{ v }}/{{ id }}", "{{ job }}/{{ v }}/{{ id }}", "\x1b{{ id }}", "-{{ id }}", ".{{ id }}", "same"),
    *(
        "CON/{{ id }}",
        "{{ id.__class__ }}",
        "{{ id | attr('x') }}",
        "{% for x in y %}",
        "${HOME}/{{ id }}",
        "~/{{ id }}",
    ),
    *(
        ".batcher-receipts.jsonl",
        "{{ job }}/.batcher",
        "d" * 300 + "/{{ id }}",
        f"{'/'.join('abcdefgh')}/{{{{ id }}}}",
    ),
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_output_name_leads_out(cli, tmp_path, monkeypatch, template):
    """An `output.name` is refused before anything is sent, or everything it makes lies in the job's folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    manifest = {
        "job": "odd",
        "vars": {"v": "../../../up"},
        "output": {"name": template},
        "prompts": [{"id": "fox", "prompt": "A fox {{ v }}"}],
    }
    Path("m.yaml").write_text(json.dumps(manifest))
    result = cli("run", "m.yaml")
    assert result.code in (0, 2), result.err
    if result.code == 2:
        assert "error[E" in result.err
        assert all(name.startswith(("work/m.yaml", "work/state.db")) for name in files(tmp_path))
    else:
        made = {name for name in files(tmp_path) if not name.startswith(("work/state.db", "work/m.yaml"))}
        assert all(name.startswith("work/out/odd-simulated/") for name in made)
        assert len([name for name in made if name.endswith(".mp4")]) == 1


@pytest.mark.parametrize("pair", [("Video", "video"), ("café", "cafe\u0301"), ("STRASSE", "straße"), ("a b", "a b")])
def test_two_ids_that_a_file_system_takes_for_one_are_refused(cli, pair):
    """Case and the two ways to write é tell nothing apart on many disks: said with both places, before a request."""
    lines = [f"  - {{id: {json.dumps(name)}, prompt: prompt {n}}}" for n, name in enumerate(pair)]
    Path("m.yaml").write_text("prompts:\n" + "\n".join(lines) + "\n")
    result = cli("run", "m.yaml")
    assert result.code == 2
    assert "E205" in result.err
    assert "m.yaml:3" in result.err
    assert "m.yaml:2" in result.err
    assert not Path("out").exists()


SILENT = ("check", "plan", "run -n", "status", "show heron-16x9-t1", "schema", "init new", "resolve heron-16x9-t1")


def test_what_sends_nothing_opens_no_socket(tmp_path, manifest, monkeypatch):
    """Proved by the interpreter's own audit: no verb that promises to send nothing even makes a socket."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(__file__).parents[2] / "state.db.example", "state.db")
    code = (
        "import sys\n"
        "def audit(event, args):\n"
        "    if event.startswith('socket.') and event != 'socket.gethostname': print('SOCKET', event)\n"
        "from batcher.cli.entry import run_command_line\n"
        "sys.addaudithook(audit)\n"
        "for words in sys.argv[1:]:\n"
        "    print(words, run_command_line(words.split()))\n"
    )
    words = [f"{verb} {manifest.name}" if verb in ("check", "plan", "run -n") else verb for verb in SILENT]
    quick = "time_scale=0.0005,clips=sample"
    environment = {**os.environ, "COMETAPI_KEY": "sk-canary-7f3a9b2c5d8e1f40", "BATCHER_SIMULATOR": quick}
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, env=environment
    )
    assert "SOCKET" not in result.stdout
    assert f"check {manifest.name} 0" in result.stdout
    proof = subprocess.run(
        [sys.executable, "-c", code, f"run {manifest.name}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert "SOCKET" in proof.stdout, "a run does, so the audit sees it"
