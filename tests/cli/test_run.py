"""`batcher run` and the verbs around it, against the real simulator over real HTTP."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import av
import pytest

from cli.conftest import KEY, MANIFEST, query


def ledger(provider) -> dict:
    with urllib.request.urlopen(f"{provider.base_url}/_ledger") as reply:
        return json.load(reply)


def clips(folder: str = "out/birds-simulated") -> list[str]:
    return sorted(path.name for path in Path(folder).glob("*.mp4"))


def test_a_run_leaves_playable_clips_sidecars_and_a_state(cli, manifest):
    """The main job: a prompt file in, videos on disk."""
    result = cli("run", manifest)
    assert result.code == 0, result.err
    assert clips() == [f"{name}-{ratio}-t1.mp4" for name in ("heron", "swift") for ratio in ("16x9", "9x16")]
    with av.open("out/birds-simulated/heron-16x9-t1.mp4") as clip:
        assert next(clip.decode(video=0)).width > 0
    sidecar = json.loads(Path("out/birds-simulated/heron-16x9-t1.json").read_text())
    assert sidecar["prompt"] == "A heron stands in the mist"
    assert sidecar["simulated"] is True
    assert Path("out/birds-simulated/heron-16x9-t1.jpg").stat().st_size > 0
    rows = query("SELECT status, count(*) FROM tasks GROUP BY status")
    assert rows == [("downloaded", 4)]


def test_run_says_simulated_and_ends_with_the_next_command(cli, manifest):
    """Nobody takes a rehearsal for the real thing, and everybody knows what to type next."""
    err = cli("run", manifest).err
    assert "SIMULATED" in err.splitlines()[0]
    assert "4 downloaded, 0 failed, 0 left" in err
    assert err.splitlines()[-1].endswith("next: batcher status birds")


def test_running_again_does_nothing(cli, manifest):
    """Run it again: it never pays twice."""
    cli("run", manifest)
    before = Path("state.db.simulator").read_text().count('"charged":true')
    result = cli("run", manifest)
    assert result.code == 0
    assert "0 to submit, 0 to resume, 4 already done" in result.err
    assert Path("state.db.simulator").read_text().count('"charged":true') == before == 4


def test_a_lost_state_costs_nothing(cli, manifest):
    """The state file deleted after a finished run: the clips on disk are adopted, nothing is bought."""
    cli("run", manifest)
    Path("state.db").unlink()
    result = cli("run", manifest)
    assert result.code == 0
    assert result.err.count("adopted") == 4
    assert Path("state.db.simulator").read_text().count('"charged":true') == 4


def test_a_lost_state_and_lost_folder_still_cost_nothing(cli, manifest):
    """State, clips, sidecars and receipts all gone: the ids are the same, so the provider refuses and we adopt."""
    cli("run", manifest)
    Path("state.db").unlink()
    for path in sorted(Path("out").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    result = cli("run", manifest)
    assert result.code == 0, result.err
    assert len(clips()) == 4
    assert Path("state.db.simulator").read_text().count('"charged":true') == 4


def test_a_deleted_clip_comes_back_without_a_submission(cli, manifest):
    """A paid clip is never lost to an `rm`."""
    cli("run", manifest)
    gone = Path("out/birds-simulated/swift-9x16-t1.mp4")
    gone.unlink()
    result = cli("run", manifest)
    assert result.code == 0
    assert gone.exists()
    assert Path("state.db.simulator").read_text().count('"charged":true') == 4


def test_the_paid_path(cli, paid, provider):
    """`provider: cometapi` pointed at a server on another port: the same code, the real key, real money rules."""
    result = cli("run", paid, "--max-usd", "5")
    assert result.code == 0, result.err
    assert "This run is PAID: up to 4 clips, estimated $1.04" in result.err
    assert "SIMULATED" not in result.err
    assert clips("out/birds") == [f"{n}-{r}-t1.mp4" for n in ("heron", "swift") for r in ("16x9", "9x16")]
    assert ledger(provider)["totals"]["charged"] == 4
    assert ledger(provider)["totals"]["leaks"] == 0


def test_a_paid_run_needs_consent_where_nobody_can_be_asked(cli, paid, provider):
    """Without a terminal, money needs a flag or a budget; the error names the line to add."""
    result = cli("run", paid)
    assert result.code == 2
    assert "nothing was sent" in result.err
    assert "--max-usd 1.05" in result.err
    assert ledger(provider)["totals"]["creates"] == 0


def test_a_key_alone_never_turns_a_demo_into_a_bill(cli, manifest, monkeypatch):
    """A key is set and no provider is named: the run is simulated, and says how to change that."""
    manifest.write_text(manifest.read_text().replace("provider: simulator\n", ""))
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    result = cli("run", manifest)
    assert result.code == 0
    assert "SIMULATED" in result.err
    assert "provider: cometapi" in result.err


def test_without_a_key_the_paid_path_says_so(cli, paid, monkeypatch):
    monkeypatch.delenv("COMETAPI_KEY")
    result = cli("run", paid, "-y")
    assert result.code == 64
    assert "COMETAPI_KEY" in result.err


def test_a_refused_key_stops_the_run_and_fails_nothing(cli, paid, monkeypatch):
    """401: exit 77, every task still pending, the next step named."""
    monkeypatch.setenv("COMETAPI_KEY", "sk-somebody-elses-key")
    result = cli("run", paid, "-y")
    assert result.code == 77
    assert "refuses the key" in result.err
    assert query("SELECT DISTINCT status FROM tasks") == [("pending",)]


def test_a_budget_stops_and_resumes(cli, paid, provider):
    """--max-usd holds: what fits is bought, exit 3, and a larger budget goes on from there."""
    result = cli("run", paid, "--max-usd", "0.60")
    assert result.code == 3
    assert ledger(provider)["totals"]["charged"] == 2
    assert len(clips("out/birds")) == 2
    again = cli("run", paid, "--max-usd", "2")
    assert again.code == 0
    assert ledger(provider)["totals"]["charged"] == 4


def test_the_key_is_nowhere(cli, paid, tmp_path):
    """Searched for in every file a run leaves and every line it prints."""
    result = cli("run", paid, "-y", "-v")
    shown = cli("show", "heron-16x9-t1")
    for text in (result.err, result.out, shown.out):
        assert KEY not in text
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_no_signed_url_survives(cli, manifest, tmp_path):
    """Signatures stay out of outputs and lines, and leave the state once the clip is home."""
    result = cli("run", manifest, "-v")
    assert "Signature=" not in result.err
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.name.startswith("state.db"):
            assert b"Signature=" not in path.read_bytes(), path
    assert query("SELECT count(*) FROM attempts WHERE asset_url LIKE '%?%'")[0] == (0,)


def test_json_is_one_event_a_line_and_ends_with_the_summary(cli, manifest):
    """For programs: JSON Lines on stdout, `schema` in each, the summary last."""
    result = cli("run", manifest, "--json")
    assert result.code == 0
    assert all(document["schema"] == 1 for document in result.documents)
    assert result.documents[-1]["event"] == "summary"
    assert result.documents[-1]["downloaded"] == 4
    assert {d["event"] for d in result.documents} >= {"run", "plan", "submit", "done"}


def test_moderation_fails_one_task_and_the_others_go_on(cli, manifest):
    """Exit 1; the failure has its code, reason and place; the next command is named."""
    manifest.write_text(manifest.read_text().replace("A swift cuts", "simulate refusal, a swift cuts"))
    result = cli("run", manifest)
    assert result.code == 1
    assert len(clips()) == 2
    assert re.search(r"failed +swift-16x9-t1.*1301.*birds\.yaml:\d+", result.err)
    assert "batcher retry birds --failed" in result.err
    status = cli("status", "birds", "--failed")
    assert "1301" in status.out


def test_retry_buys_a_new_attempt_only_where_one_was_bought(cli, manifest):
    """A refused task keeps its id and burns nothing; one that failed at the provider gets -a2."""
    text = manifest.read_text().replace("A swift cuts", "simulate failure, a swift cuts")
    manifest.write_text(text.replace("A heron stands", "simulate refusal, a heron stands"))
    cli("run", manifest)
    cli("retry", "birds", "--failed")
    ids = dict(query("SELECT name, external_task_id FROM tasks"))
    assert ids["heron-16x9-t1"].endswith("-a1")
    assert ids["swift-16x9-t1"].endswith("-a2")


def test_plan_writes_nothing_and_needs_no_key(cli, paid, provider, monkeypatch, tmp_path):
    """A plan is free to look at: no key, no request, no file."""
    monkeypatch.delenv("COMETAPI_KEY")
    before = sorted(tmp_path.rglob("*"))
    result = cli("plan", paid)
    assert result.code == 0
    assert "4 to submit" in result.out
    assert sorted(tmp_path.rglob("*")) == before
    assert ledger(provider)["totals"]["requests"] == 0
    assert cli("plan", paid, "--detailed-exitcode").code == 2
    assert json.loads(cli("plan", paid, "--json").out)["to_submit"] == 4


def test_submit_only_then_collect(cli, manifest):
    """Submit at night, collect in the morning: 75 says that something is left, collect buys nothing."""
    assert cli("run", manifest, "--submit-only").code == 75
    assert clips() == []
    result = cli("collect", "birds")
    assert result.code == 0, result.err
    assert len(clips()) == 4
    assert Path("state.db.simulator").read_text().count('"charged":true') == 4


def test_limit_and_select_submit_only_those(cli, manifest):
    assert cli("run", manifest, "--limit", "1").code == 0
    assert len(clips()) == 1
    assert cli("run", manifest, "-s", "swift-*").code == 0
    assert {name for name in clips() if name.startswith("swift")} == {"swift-16x9-t1.mp4", "swift-9x16-t1.mp4"}


def test_an_edited_prompt_is_a_new_task_and_the_paid_one_stays(cli, manifest):
    """The request is frozen at the first plan: words changed make a new task, the old one is orphaned, kept."""
    cli("run", manifest)
    manifest.write_text(manifest.read_text().replace("in the mist", "in the rain"))
    plan = cli("plan", manifest)
    assert "2 to submit" in plan.out
    assert "2 orphaned" in plan.out
    assert cli("run", manifest).code == 0
    assert len(clips()) == 6


def test_a_renamed_job_stops_before_it_buys_again(cli, manifest):
    """Renaming the job would pay for everything twice: the run stops and names the two ways on."""
    cli("run", manifest)
    manifest.write_text(manifest.read_text().replace("job: birds", "job: fowl"))
    result = cli("run", manifest)
    assert result.code == 2
    assert "--adopt-orphans" in result.err
    adopted = cli("run", manifest, "--adopt-orphans")
    assert adopted.code == 0
    assert Path("state.db.simulator").read_text().count('"charged":true') == 4


def test_resume_takes_the_last_manifest(cli, manifest):
    cli("run", manifest, "--limit", "1")
    result = cli("resume")
    assert result.code == 0, result.err
    assert len(clips()) == 4


def test_a_broken_manifest_sends_nothing(cli, paid, provider):
    """Ten mistakes, ten errors with their places, and the provider has seen nobody."""
    paid.write_text(
        """\
version: 1
job: Birds of Prey
provider: cometapi
promts: []
defaults:
  aspect_ratio: 21:9
  cfg_scale: 3
  duration: 7
  mode: fast
prompts:
  - id: a
    prompt: ""
  - id: b
    prompt: A {{ colour }} bird
  - file: missing.csv
run: {concurrency: 0, attempts: many}
budget: {max_usd: -1}
"""
    )
    result = cli("run", paid, "-y")
    assert result.code == 2
    places = re.findall(r"^error\[E\d+\]: \S*birds\.yaml:(\d+):\d+:", result.err, re.MULTILINE)
    assert len(places) >= 10, result.err
    assert "Nothing was sent" in result.err
    assert ledger(provider)["totals"]["requests"] == 0
    assert not Path("state.db").exists() or cli("status").code == 0


@pytest.mark.parametrize("arguments", [("run",), ("run", "x.yaml", "--frob"), ("frob",), ("resolve", "x")])
def test_bad_command_lines_exit_2(cli, arguments):
    assert cli(*arguments).code == 2


def test_a_typo_in_a_verb_is_understood(cli):
    assert "Did you mean status" in cli("staus").err


def test_status_without_a_state_says_what_makes_one(cli):
    result = cli("status")
    assert result.code == 78
    assert "batcher run MANIFEST" in result.err


def test_doctor_on_a_fresh_machine(cli):
    assert cli("doctor").code == 0


def test_doctor_asks_the_provider_and_spends_nothing(cli, paid, provider):
    result = cli("doctor")
    assert result.code == 0, result.out
    assert "accepts the key" in result.out
    assert ledger(provider)["totals"]["creates"] == 0


def test_two_manifests_in_one_command(cli, manifest, tmp_path):
    other = tmp_path / "fish.yaml"
    other.write_text(MANIFEST.format(provider="simulator").replace("birds", "fish"))
    assert cli("run", manifest, other).code == 0
    assert len(clips()) == len(clips("out/fish-simulated")) == 4


def test_a_log_file_has_every_event_whatever_the_terminal_shows(cli, manifest, tmp_path):
    """Appended to, run after run, for nobody else to read; where it cannot be written, nothing is sent."""
    log = tmp_path / "night.log"
    assert cli("-q", "run", manifest, "--log-file", log).code == 0
    lines = log.read_text().splitlines()
    assert sum(" processing " in line or " succeeded " in line for line in lines) >= 4
    assert all(line[:4].isdigit() for line in lines)
    assert log.stat().st_mode & 0o777 == 0o600
    cli("-q", "run", manifest, "--log-file", log)
    assert log.read_text().splitlines()[: len(lines)] == lines
    refused = cli("run", manifest, "--log-file", tmp_path / "none" / "night.log")
    assert refused.code == 78
    assert "name another file" in refused.err
