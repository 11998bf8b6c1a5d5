"""A state file from a stranger on the command line: what it says is neither followed nor shown as a defect."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batcher.tasks import Status
from cli.conftest import query


def edit(statement: str, *values: object) -> None:
    with closing(sqlite3.connect("state.db")) as state:
        state.execute("PRAGMA synchronous = OFF")  # a thousand edits, none of which has to outlive a power cut
        with state:
            state.execute(statement, values)


def keep() -> None:
    """Keep the state of this moment whole, as one file."""
    with closing(sqlite3.connect("state.db")) as state:
        state.execute("VACUUM INTO 'good.db'")


def put_back() -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"state.db{suffix}").unlink(missing_ok=True)
    shutil.copy("good.db", "state.db")


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "folder"])
@pytest.mark.parametrize("verb", [("collect",), ("retry", "--failed"), ("run", "birds.yaml")])
def test_a_path_in_a_state_leads_nowhere_we_never_were(cli, manifest, tmp_path, monkeypatch, way, verb):
    """Root, folder and links of a state somebody sent: no file appears outside the folder it lies in."""
    victim = tmp_path / "home"
    victim.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(manifest, work)
    monkeypatch.chdir(work)
    assert cli("run", "birds.yaml").code == 0
    match way:
        case "absolute":
            edit("UPDATE jobs SET root = ?", str(victim))
        case "dots":
            edit("UPDATE jobs SET root = '../home'")
        case "folder":
            edit("UPDATE jobs SET folder = '../../home'")
        case "link":
            shutil.rmtree("out")
            Path("out").symlink_to(victim)
    edit("UPDATE tasks SET status = 'failed' WHERE id = 1")
    edit("UPDATE tasks SET status = 'succeeded' WHERE id = 2")
    if verb[0] == "run":  # another job's manifest: it brings home what every job of the account left
        text = Path("birds.yaml").read_text().replace("job: birds", "job: other\noutput: {dir: mine}")
        Path("birds.yaml").write_text(text.replace("mist", "sun").replace("evening", "morning"))
    result = cli(*verb)
    assert result.code == 78, result.err
    assert "defect" not in result.err
    assert "where batcher never worked" in result.err or "leads out of" in result.err
    assert files(victim) == []


def test_an_output_folder_elsewhere_is_found_again(cli, manifest, tmp_path):
    """`-o /other/disk` works for collect and retry too: the folder itself says that it is ours."""
    assert cli("run", manifest, "-o", tmp_path.parent / f"{tmp_path.name}-disk").code == 0
    clip = next((tmp_path.parent / f"{tmp_path.name}-disk").rglob("heron*.mp4"))
    clip.unlink()
    result = cli("collect")
    assert result.code == 0, result.err
    assert clip.exists()
    shutil.rmtree(clip.parent)
    result = cli("collect")
    assert result.code == 78
    assert "run the manifest again with  -o" in result.err


ODD_TEXTS = ("x", "[" * 50_000, "[]", "9999-12-31T23:59:59+23:59")
ODD_NUMBERS = (2**63 - 1,)
KEPT = {"id", "task"}


def columns() -> list[tuple[str, str, str]]:
    return [
        (table, name, kind)
        for table in ("tasks", "attempts", "jobs", "assets", "events", "limits", "accounts", "runs")
        for _, name, kind, *_ in query(f"PRAGMA table_info({table})")
        if name not in KEPT
    ]


@pytest.mark.slow
def test_a_state_edited_by_hand_shows_no_defect(cli, manifest):
    """Each column of each table with each odd value: the verbs that read it work, or say what is wrong and where."""
    assert cli("run", manifest).code == 0
    for n, status in enumerate((Status.FAILED, Status.UNCLEAR, Status.PROCESSING), 1):
        edit("UPDATE tasks SET status = ?, overdue = 0 WHERE id = ?", status, n)
    shutil.copy("state.db", "good.db")
    edit("INSERT OR REPLACE INTO limits VALUES ('simulator', 'kling', 1, '[1]', 'x')")
    verbs = [
        ("status",),
        ("status", "birds", "--json"),
        ("show", "heron-9x16-t1"),
        ("plan", "birds.yaml"),
        ("doctor",),
    ]
    tried, trouble = 0, []
    for table, column, kind in columns():
        for value in ODD_NUMBERS if kind in ("INTEGER", "REAL") else ODD_TEXTS:
            put_back()
            try:
                edit(f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", value)
            except sqlite3.IntegrityError:
                continue  # the file itself refuses it
            for verb in verbs:
                result = cli(*verb)
                tried += 1
                if "defect" in result.err or result.code not in (0, 2, 78):
                    trouble.append((table, column, str(value)[:30], verb[0], result.code, result.err[-300:]))
    assert trouble == []
    assert tried > 400


@pytest.mark.slow
def test_a_state_edited_by_hand_stops_no_run_with_a_defect(cli, manifest):
    """The same for what a run parses of an open task: it stops, or goes on; exit 78 is not a stack of frames."""
    assert cli("run", manifest).code == 0
    keep()
    cases = [
        ("succeeded", "parameters", "request", "[" * 50_000), ("pending", "parameters", "request", "[]"),
        ("processing", "tasks", "submitted_at", "yesterday"), ("succeeded", "tasks", "finished_at", "x"),
        ("pending", "tasks", "not_before", "zzz"), ("succeeded", "tasks", "output", "../../x"),
        ("succeeded", "tasks", "output", "a" * 300), ("succeeded", "tasks", "output", "a\0b"),
        ("succeeded", "tasks", "output", ""), ("processing", "tasks", "generation_id", ".."),
        ("processing", "tasks", "external_task_id", "/../x"), ("pending", "jobs", "settings", "[" * 50_000),
        ("pending", "jobs", "settings", '{"timeout_s": "x"}'), ("pending", "jobs", "settings", '{"concurrency": -1}'),
        ("pending", "accounts", "namespace", ""), ("pending", "limits", "durations", '["x"]'),
        ("downloaded", "assets", "path", "../../etc/passwd"), ("downloaded", "assets", "path", "a\0b"),
    ]  # fmt: skip
    for status, table, column, value in cases:
        put_back()
        edit("UPDATE tasks SET status = ? WHERE id = 1", status)
        edit(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", value)
        result = cli("collect", "--deadline", "0.3s")
        assert "defect" not in result.err, (table, column, value[:20], status, result.err)
        assert result.code in (0, 1, 2, 75, 78), (table, column, value[:20], result)
    assert json.loads(Path("out/birds-simulated/.batcher.json").read_text())["schema"] == 1
