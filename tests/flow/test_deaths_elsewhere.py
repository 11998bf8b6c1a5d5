"""Deaths outside a run's main road: a state being made or migrated, a note beside the clips, a person's decision."""

from __future__ import annotations

import importlib
import random
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlite_utils
from mortal import Mortal, mortal_code
from scenes import Scene, deaths, dying_retries, judge, live, live_on, retry, run

from batcher.assets import Folder
from batcher.errors import UsageError
from batcher.state import schema
from batcher.tasks import Status

pytestmark = pytest.mark.slow

resolving = importlib.import_module("batcher.cli.resolve")

WITH_SQLITE_UTILS = mortal_code((str(Path(sqlite_utils.__file__).parent), __file__))


# ---- the state file ---------------------------------------------------------------------------------------------


async def open_and_close(lab):
    async with lab.open():
        pass


def is_whole(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    finally:
        connection.close()


def test_a_state_appears_whole_or_not_at_all(tmp_path):
    """Killed while it makes a new state: the next run makes one, or finds one that is complete."""
    rng = random.Random(0)

    def make(name):
        return Scene(provider="takes it").lab(tmp_path / name, rng)

    for lab in deaths(make, open_and_close, sample=4, prefixes=WITH_SQLITE_UTILS):
        if lab.state.exists():
            assert lab.tasks() == []
        assert live(lab, open_and_close).exit_code == 0
        assert is_whole(lab.state)
        assert not list(lab.folder.glob("*.new"))


@pytest.fixture
def later_version():
    """What batcher will be one day: its set of migrations has one more. Returns what makes a life one of today."""
    today = list(schema.STEPS)

    def m999_moods(db):
        db.execute("ALTER TABLE tasks ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")
        db.execute("CREATE TABLE moods (mood TEXT PRIMARY KEY) STRICT")
        db.execute("UPDATE tasks SET mood = 'stormy' WHERE name = 's01-t1'")
        db.execute("INSERT INTO moods SELECT DISTINCT mood FROM tasks")

    schema.STEPS.append(m999_moods)
    yield lambda: schema.STEPS.remove(m999_moods)
    schema.STEPS[:] = today


def test_a_migration_that_is_killed_half_way(tmp_path, later_version):
    """It happened as a whole or not at all; another start completes it, and every row is as it was."""
    scene = Scene(provider="takes it")
    today = scene.lab(tmp_path / "today", random.Random(0))
    assert today.live(run, before=later_version).exit_code == 0
    assert moods(today) is None

    def make(name):
        return today.twin(tmp_path / name)

    for lab in deaths(make, open_and_close, sample=4, prefixes=WITH_SQLITE_UTILS, born=Mortal.live):
        assert moods(lab) in (None, ["stormy", "calm"])
        judge(lab, scene, live(lab))
        assert moods(lab) == ["stormy", "calm"]
        assert is_whole(lab.state)


def moods(lab):
    """None: the migration has not happened."""
    connection = sqlite3.connect(lab.state)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        columns = {row[1] for row in connection.execute("PRAGMA table_info(tasks)")}
        names = connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id").fetchall()
        is_later = ("m999_moods",) in names
        assert ("moods" in tables) == ("mood" in columns) == is_later
        return [mood for (mood,) in connection.execute("SELECT mood FROM tasks ORDER BY id")] if is_later else None
    finally:
        connection.close()


# ---- notes beside the clips -------------------------------------------------------------------------------------


async def note(lab):
    folder = Folder(lab.out, "film", inline=True)
    folder.store_namespace(job="film", scope="cometapi@elsewhere", namespace="second")
    await folder.receipts.append("film-2-a1", "hash-2", account="key", now=1.0)


def test_notes_outlive_a_death_at_any_statement(tmp_path):
    """A namespace is the old file or the new one, a receipt is there or not; what was there before always is."""

    def make(name):
        (tmp_path / name).mkdir()
        lab = Mortal(tmp_path / name, rng=random.Random(0))
        folder = Folder(lab.out, "film", inline=True)
        folder.prepare()
        folder.store_namespace(job="film", scope="cometapi", namespace="first")
        folder.receipts._append('{"external_task_id": "film-1-a1", "content_hash": "hash-1", "at": "now"}')
        return lab

    for lab in deaths(make, note, sample=6):
        folder = Folder(lab.out, "film", inline=True)
        assert folder.namespaces() in ({"cometapi": "first"}, {"cometapi": "first", "cometapi@elsewhere": "second"})
        assert list(folder.receipts.read()) in (["film-1-a1"], ["film-1-a1", "film-2-a1"])
        live(lab, note)
        assert folder.namespaces() == {"cometapi": "first", "cometapi@elsewhere": "second"}
        assert list(folder.receipts.read()) == ["film-1-a1", "film-2-a1"]
        assert not list(lab.out.rglob("*.part"))


# ---- a person's decision ----------------------------------------------------------------------------------------


def test_a_retry_buys_once_more_and_once_only(tmp_path):
    """Killed once or twice, and typed again: the failed clip is bought a second time, never a third."""
    for number, (lab, scene, rng) in enumerate(dying_retries(tmp_path, seed=0, every=20, until="books.jsonl")):
        if number % 3 == 0:
            live(lab, retry, die_at=rng.randrange(200, 2000))
        live_on(lab, scene, work=retry)


DECISIONS = {
    "adopt": ("takes it, then says 500", Status.DOWNLOADED),
    "resubmit": ("does not take it, and says 502", Status.DOWNLOADED),
    "drop": ("takes it, then says 500", Status.CANCELLED),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_decision_is_taken_whole(tmp_path, decision):
    """Killed at any statement of `resolve` and typed again: it holds, and nothing is paid for it twice."""
    provider, end = DECISIONS[decision]
    scene = Scene(provider=provider, sight="is blind")
    rng = random.Random(0)

    unclear = scene.lab(tmp_path / "unclear", rng)
    assert live(unclear).exit_code == 1
    (task,) = unclear.tasks(Status.UNCLEAR)
    unclear.allowed[task.prompt] = 1  # dropped, it was paid for all the same

    def make(name):
        return unclear.twin(tmp_path / name)

    async def resolve(lab):
        shared = SimpleNamespace(state=lab.state, environment=lambda: lab.environment)
        bought = [g["task_id"] for a in lab.world.ledger(now=0.0)["accounts"].values() for g in a["generations"]]
        resolving.open_batch = lambda *_, **__: lab.open()
        resolving.click = SimpleNamespace(echo=lambda _: None)
        try:
            adopt = bought[-1] if decision == "adopt" else None
            await resolving._resolve(shared, task.name, lab.endpoint.scope, adopt, decision == "drop")
        except UsageError:  # it was taken already
            assert lab.tasks(Status.UNCLEAR) == []

    for lab in deaths(make, resolve, every=3):
        live(lab, resolve)
        live_on(lab, scene)
        assert lab.tasks()[1].status is end
