"""Courses of a job that a power cut may come into: killed, continued, with files deleted in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from power.recorder import Recorder

if TYPE_CHECKING:
    from storm import Storm

EARLY_CHECKPOINTS = """
import batcher.state.store as store
real = store.open_for_writing
def opened(path):
    db = real(path)
    db.conn.execute("PRAGMA wal_autocheckpoint = 12")
    return db
store.open_for_writing = opened
"""
"""SQLite moves its log into the state file every 12 pages, not every 1,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One `batcher run`, and what a person deletes before it."""

    flags: tuple[str, ...] = ()
    kill: str = ""
    wrapper: str = ""
    without: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    """Made before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Runs one after the other; the last one ends well."""

    runs: tuple[Run, ...]
    state: str = "state.db"
    edition: str = ""
    about: str = field(default="", compare=False)


COURSES = {
    "plain": Course(runs=(Run(flags=("--limit", "2")), Run())),
    "the log moved into the state on the way": Course(runs=(Run(wrapper=EARLY_CHECKPOINTS),)),
    "a state in a folder of its own": Course(runs=(Run(folders=("out",)),), state="kept/here/state.db"),
    "killed when the state had its name": Course(runs=(Run(kill="fsync:1"), Run())),
    "killed when the output folder was made": Course(runs=(Run(kill="fsync:2"), Run())),
    "killed when the job's folder was made": Course(runs=(Run(kill="fsync:3"), Run())),
    "killed when the namespace was written": Course(runs=(Run(kill="fsync:5"), Run())),
    "killed when the edition's folder was made": Course(
        runs=(Run(flags=("--submit-only",)), Run(kill="mkdir:2"), Run()), edition="one"
    ),
    "killed when a clip had its name, and the state was lost": Course(
        runs=(Run(flags=("--submit-only",)), Run(kill="rename:1"), Run(without=("state.db", "state.db-wal")))
    ),
    "the state lost": Course(runs=(Run(flags=("--limit", "2")), Run(without=("state.db",)))),
    "a clip deleted": Course(runs=(Run(), Run(without=("out/storm/wave-1-t1.mp4",)))),
}


def play(course: Course, storm: Storm) -> Recorder:
    """Carry a course out and record it."""
    if course.edition:
        manifest = storm.folder / "storm.yaml"
        manifest.write_text(f"{manifest.read_text()}edition: {course.edition}\n")
    for folder in course.runs[0].folders:
        (storm.folder / folder).mkdir(parents=True)
    record = Recorder(storm)
    for run in course.runs:
        for path in run.without:
            if (storm.folder / path).exists():
                record.remove(path)
        process = record.run("--state", course.state, *run.flags, kill=run.kill, wrapper=run.wrapper)
        assert process.returncode == (-9 if run.kill else 75 if "--submit-only" in run.flags else 0), process.stderr
    return record
