"""Courses of a job that a power cut may come into: killed, continued, with files deleted in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from power.recorder import Recorder

if TYPE_CHECKING:
    from storm import Storm

EARLY_CHECKPOINTS = """
import batcher.state.store as store
real = store.open_for_writing
def opened(path, network):
    db = real(path, network)
    db.execute("PRAGMA wal_autocheckpoint = 12")
    return db
store.open_for_writing = opened
"""
"""SQLite moves its log into the state file every 12 pages, not every 1,000."""


def dying_before_sync_of(path: str, *, when: str = "") -> str:
    """A process that SIGKILL meets as it is about to sync `path`, once the file `when` is there."""
    return f"""
import os, signal
sync = os.fsync
def fsync(fd):
    at = os.readlink(f"/proc/self/fd/{{fd}}")
    if at == os.path.realpath({path!r}) and os.path.lexists({(when or path)!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    sync(fd)
os.fsync = fsync
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One `batcher run`, and what a person deletes before it."""

    flags: tuple[str, ...] = ()
    plant: str = ""
    code: int = 0
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Runs one after the other; the last one ends well."""

    runs: tuple[Run, ...]
    state: str = "state.db"
    edition: str = ""
    folders: tuple[str, ...] = ()
    """There before it."""


def killed(path: str, *, when: str = "") -> Run:
    """A run that dies before it syncs `path`."""
    return Run(plant=dying_before_sync_of(path, when=when), code=-9)


PLAIN = Course(runs=(Run(flags=("--limit", "2")), Run()))

COURSES = {
    "the log moved into the state on the way": Course(runs=(Run(plant=EARLY_CHECKPOINTS),)),
    "killed between each name and its sync": Course(
        runs=(
            killed("kept", when="kept/here"),
            killed("kept/here", when="kept/here/state.db"),
            killed("out", when="out/storm"),
            killed("out/storm", when="out/storm/.batcher.json"),
            killed("out/storm", when="out/storm/.batcher-receipts.jsonl"),
            killed("out/storm", when="out/storm/one"),
            Run(),
        ),
        state="kept/here/state.db",
        edition="one",
        folders=("out",),
    ),
    "killed when the output folder was made": Course(runs=(killed(".", when="out"), Run())),
    "killed when a clip had its name, then the state lost": Course(
        runs=(killed("out/storm", when="out/storm/wave-0-t1.mp4"), Run(without=("state.db", "state.db-wal")))
    ),
    "the state lost": Course(runs=(Run(flags=("--limit", "1")), Run(without=("state.db",)))),
    "a clip deleted": Course(runs=(Run(), Run(without=("out/storm/wave-1-t1.mp4",)))),
}


def play(course: Course, storm: Storm) -> Recorder:
    """Carry a course out and record it."""
    if course.edition:
        manifest = storm.folder / "storm.yaml"
        manifest.write_text(f"{manifest.read_text()}edition: {course.edition}\n")
    for folder in course.folders:
        (storm.folder / folder).mkdir(parents=True)
    record = Recorder(storm)
    for run in course.runs:
        for path in run.without:
            if (storm.folder / path).exists():
                record.remove(path)
        process = record.run("--state", course.state, *run.flags, plant=run.plant)
        assert process.returncode == run.code, process.stderr
    return record
