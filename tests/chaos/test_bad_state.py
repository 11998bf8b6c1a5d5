"""A state file that is damaged, foreign, old, edited or gone, between two runs and under one: refused or recovered,
and never a reason to pay twice."""

from __future__ import annotations

import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from storm import Storm, poll, wait_for

pytestmark = pytest.mark.timeout(60)

QUICK = ("--time-scale", "0.001")


def checkpoint(weather):
    """All of the state in its one file, as after a run that ended well."""
    with closing(sqlite3.connect(weather.state)) as state:
        state.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# ---- between two runs: refused before the first call ---------------------------------------------------------------


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """A storm of which two clips are home, one was killed in the middle, and one waits."""
    weather = Storm(tmp_path_factory.mktemp("half-way"), 4, *QUICK)
    assert weather.run("--limit", "2").code == 0
    weather.script("stall-after")
    process = weather.start("--limit", "1")
    poll(lambda: weather.charged == 3)
    process.kill()
    process.wait()
    checkpoint(weather)
    for suffix in ("-wal", "-shm"):
        weather.state.with_name(f"state.db{suffix}").unlink(missing_ok=True)
    assert weather.statuses() == {"downloaded": 2, "submitting": 1, "pending": 1}
    weather.intact = weather.state.read_bytes()
    shutil.copytree(weather.out, weather.folder / "out-intact")
    yield weather
    weather.finish()
    weather.assert_each_paid_once_and_whole()
    weather.close()


def put_back(weather):
    """The state and its folder as they were: a receipt of a later claim is a doubt, and what it doubts is bought."""
    for file in weather.folder.glob("state.db*"):
        if not file.name.endswith(".lock"):
            file.unlink()
    weather.state.write_bytes(weather.intact)
    shutil.rmtree(weather.out)
    shutil.copytree(weather.folder / "out-intact", weather.out)


def emptied(weather):
    weather.state.write_bytes(b"")


def truncated(weather):
    weather.state.write_bytes(weather.intact[: len(weather.intact) // 2])


def text(weather):
    weather.state.write_text("SELECT * FROM tasks;\n" * 100)


def foreign(weather):
    weather.state.unlink()
    with closing(sqlite3.connect(weather.state)) as other:
        other.execute("CREATE TABLE tasks (id INTEGER)")


def newer(weather):
    weather.edit(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('batcher', 'm999_colours', '')"
    )


def made_up(weather):
    with closing(sqlite3.connect(weather.state)) as state:
        state.execute("PRAGMA ignore_check_constraints = ON")
        state.execute("UPDATE tasks SET status = 'bought' WHERE status = 'pending'")
        state.commit()


def no_request(weather):
    weather.edit("UPDATE parameters SET request = 'A wave'")


def bought_again(weather):
    weather.edit("UPDATE tasks SET status = 'pending', attempt = 1 WHERE status = 'downloaded'")


def bit(weather):
    """One bit of a prompt that waits, in the file itself: `over` becomes `over` with another letter."""
    [(prompt,)] = weather.rows("SELECT prompt FROM tasks WHERE status = 'pending'")
    before = prompt.encode()
    assert weather.intact.count(before) == 1
    weather.state.write_bytes(weather.intact.replace(before, before.replace(b"breaks", b"creaks")))


def bit_of_an_id(weather):
    """One bit of the id under which a killed run submitted: looked up, it would not be found, and be bought again."""
    [(task, external_id)] = weather.rows("SELECT id, external_task_id FROM tasks WHERE status = 'submitting'")
    weather.edit(
        "UPDATE tasks SET external_task_id = ? WHERE id = ?", external_id[:-4] + "x" + external_id[-3:], task
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (emptied, r"state\.db is empty \(0 bytes\)"),
        (truncated, r"state\.db is damaged"),
        (text, r"state\.db is damaged or no SQLite file"),
        (foreign, r"state\.db is an SQLite file of another program"),
        (newer, r"state\.db was written by a newer batcher \(m999_colours\)"),
        (made_up, r"state\.db is damaged: CHECK constraint failed in tasks"),
        (no_request, r"row 1 of parameters in the state cannot be read"),
        (bought_again, r"waits in state\.db, but was accepted as generation \d+"),
        (bit, r"the row of wave-3-t1 \(task 4\) is damaged"),
        (bit_of_an_id, r"wave-2-t1 was being submitted under an id of which the state knows no attempt"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_trusted_is_refused_before_the_first_call(half_way, harm, message):
    """Said with the file, what is wrong, and the way out; put back, the state goes on as if nothing had been."""
    before = len(half_way.creates)
    harm(half_way)
    ended = half_way.run()
    assert ended.code == 78, ended.err
    assert re.search(message, ended.err), ended.err
    assert "hint: " in ended.err
    assert "Traceback" not in ended.err
    assert "defect" not in ended.err
    assert len(half_way.creates) == before
    put_back(half_way)


def test_any_page_of_garbage_is_refused_or_harmless(half_way, seed):
    """SQLite's own check, ours and the hashes of rows: whatever they miss buys nothing that is not wanted."""
    rng = random.Random(f"garbage {seed}")
    before = half_way.charged
    pages = len(half_way.intact) // 4096
    for _ in range(3):
        data = bytearray(half_way.intact)
        start = rng.randrange(pages) * 4096 + rng.randrange(4000)
        data[start : start + 60] = rng.randbytes(60)
        half_way.state.write_bytes(data)
        ended = half_way.run("--limit", "0")
        assert "Traceback" not in ended.err
        assert half_way.charged == before
        put_back(half_way)


# ---- between two runs: lost, moved, old ---------------------------------------------------------------


def killed_half_way(storm, *simulate):
    """A storm of six, killed when some are home and some are under way; its `-wal` holds what came last."""
    weather = storm(6, "--time-scale", "0.002", *simulate)
    process = weather.start("-v")
    wait_for(process, "done ", 2)
    weather.kill(process)
    return weather


def deleted(weather):
    for file in weather.folder.glob("state.db*"):
        file.unlink()


def deleted_without_its_log(weather):
    weather.state.unlink()


def moved_away(weather):
    weather.state.rename(weather.folder / "elsewhere.db")


def copied_without_its_log(weather):
    """`cp state.db backup.db` under a run leaves out all that is in the log yet; and then the copy is put back."""
    copy = weather.state.read_bytes()
    deleted(weather)
    weather.state.write_bytes(copy)


def log_cut_short(weather):
    log = weather.state.with_name("state.db-wal")
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])


def deleted_with_the_receipts(weather):
    """The provider alone knows the ids now."""
    deleted(weather)
    shutil.rmtree(weather.out)


@pytest.mark.parametrize(
    ("loss", "used_ids"),
    [
        (deleted, "create"),
        (deleted_without_its_log, "create"),
        (moved_away, "refuse"),
        (copied_without_its_log, "create"),
        (log_cut_short, "create"),
        (deleted_with_the_receipts, "refuse"),  # nobody else is left who knows
    ],
)
def test_a_lost_or_outdated_state_costs_nothing(storm, loss, used_ids):
    """What the files or the provider remember is found by its id; only with both gone must a used id be refused."""
    weather = killed_half_way(storm, "--used-ids", used_ids)
    loss(weather)
    ended = weather.run()
    assert ended.code == 0, ended.err
    weather.assert_each_paid_once_and_whole()


def test_an_old_backup_put_back_costs_nothing(storm):
    """Rows that have gone on since are missing or as they were: what was sent meanwhile is known by its receipts."""
    weather = storm(6, *QUICK, "--used-ids", "create")
    weather.run("--limit", "2")
    backup = weather.state.read_bytes()
    weather.run("--limit", "2")
    process = weather.start("-v")
    wait_for(process, "submit ")
    weather.kill(process)
    deleted(weather)
    weather.state.write_bytes(backup)
    weather.finish()
    weather.assert_each_paid_once_and_whole()


# ---- under a run ---------------------------------------------------------------


def gone(weather):
    weather.state.unlink()


def renamed(weather):
    weather.state.rename(weather.folder / "elsewhere.db")


def replaced(weather):
    """By an older copy of itself, as a file synchroniser does."""
    copy = weather.folder / "copy.db"
    shutil.copy(weather.state, copy)
    copy.replace(weather.state)


def emptied_in_place(weather):
    weather.state.write_bytes(b"")


def overwritten_in_place(weather):
    size = weather.state.stat().st_size
    with weather.state.open("r+b") as file:
        file.write(b"\xa5" * size)


def edited(weather):
    """By a person in a shell, between two of the run's own steps."""
    weather.edit("UPDATE tasks SET status = 'pending' WHERE status IN ('submitted', 'processing')")


@pytest.mark.parametrize("harm", [gone, renamed, replaced, emptied_in_place, overwritten_in_place, edited])
def test_a_state_harmed_under_a_run_stops_the_buying(storm, harm):
    """Noticed before the next create call or at the next write, told with the file; then nothing is bought twice."""
    weather = storm(8, "--time-scale", "0.003")
    process = weather.start("-v", "-j", "3")
    wait_for(process, "submitted ", 2)
    harm(weather)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    assert "state.db" in err
    assert "hint: " in err
    assert "Traceback" not in err
    assert weather.charged < 8
    if harm in (emptied_in_place, overwritten_in_place):
        refused = weather.run()
        assert refused.code == 78
        assert "nothing is paid twice" in refused.err
        deleted(weather)
    if harm is edited:
        refused = weather.run()
        assert refused.code == 78
        assert "was accepted as generation" in refused.err
        weather.edit("UPDATE tasks SET status = 'submitted' WHERE status = 'pending' AND generation_id IS NOT NULL")
    weather.finish()
    weather.assert_each_paid_once_and_whole()


# ---- locked by another program ---------------------------------------------------------------

LOCK = """
import sqlite3, sys
state = sqlite3.connect(sys.argv[1], isolation_level=None)
state.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def lock(weather):
    """Another program that writes to the state, and does not come to an end before it is told."""
    command = [sys.executable, "-c", LOCK, str(weather.state)]
    holder = weather.launch(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_state_locked_for_a_while_is_waited_for(storm):
    """A person's shell, a backup tool: the run sends nothing meanwhile, and goes on when it is free."""
    weather = storm(2, *QUICK)
    weather.run("--limit", "0")
    holder = lock(weather)
    process = weather.start("-v")
    poll(lambda: weather.is_waiting_for_the_state(process))
    assert not weather.creates
    holder.communicate("")
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    weather.assert_each_paid_once_and_whole()


def test_a_state_locked_at_the_acceptance_is_waited_for(storm):
    """The answer is held in hand as long as it takes."""
    weather = storm(2, *QUICK)
    weather.provider.send_signal(signal.SIGSTOP)
    process = weather.start("-v")
    poll(weather.has_request_waiting)
    holder = lock(weather)
    weather.provider.send_signal(signal.SIGCONT)
    poll(lambda: weather.charged == 1)
    holder.communicate("")
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert len(weather.creates) == 2
    weather.assert_each_paid_once_and_whole()


IMPATIENT = """
import sys
from batcher.state import file
file.BUSY_TIMEOUT_S = 0.1
from batcher.cli.entry import run_command_line
sys.exit(run_command_line(sys.argv[1:]))
"""


def test_a_state_locked_for_too_long_is_told_before_the_first_call(storm):
    """The half minute of patience is a tenth of a second here."""
    weather = storm(2, *QUICK)
    weather.run("--limit", "0")
    holder = lock(weather)
    process = weather.launch([sys.executable, "-c", IMPATIENT, "run", "storm.yaml"])
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    assert "state.db is locked by another program" in err
    assert not weather.creates
    holder.communicate("")
    weather.finish()


def test_a_state_locked_for_too_long_at_the_acceptance_tells_the_generation(storm):
    """What could not be written down is on the screen, with the command that puts it in."""
    weather = storm(2, *QUICK)
    weather.provider.send_signal(signal.SIGSTOP)
    process = weather.launch([sys.executable, "-c", IMPATIENT, "run", "storm.yaml"])
    poll(weather.has_request_waiting)
    holder = lock(weather)
    weather.provider.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 78, err
    [create] = weather.creates
    assert "locked by another program" in err
    assert f"batcher resolve wave-0-t1 --adopt {create['task_id']}" in err
    holder.communicate("")
    weather.finish()
    weather.assert_each_paid_once_and_whole()
