"""Once a clip is home its signed address is nowhere in the state's files, not even in pages that nothing uses."""

from __future__ import annotations

import random

import pytest
from desk import NOW, Desk

from batcher.generations import Generation, GenerationStatus, Video
from batcher.state.file import open_for_writing
from batcher.state.queries import Queries
from batcher.tasks import Asset

SIGNATURE = b"canary-signature-9b1f6c2e7d40"


def url(length: int) -> str:
    return f"https://v1.klingai.com/x.mp4?Expires=4102444800&Signature={SIGNATURE.decode() * length}"


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


def succeed(desk, task, address):
    made = Generation(id="845", status=GenerationStatus.SUCCEEDED, videos=(Video(url=address),))
    return desk.store.succeeded(desk.send(task), made, now=NOW.timestamp())


def bring_home(desk, task):
    video = Asset(task_id=task.id, kind="video", path=f"{task.output}.mp4", size_bytes=1, sha256="0" * 64)
    desk.store.downloaded(task, [video], now=NOW.timestamp())


def traces(desk) -> dict[str, int]:
    files = (path for path in desk.home.rglob("*") if path.is_file())
    return {path.name: n for path in files if (n := path.read_bytes().count(SIGNATURE))}


@pytest.mark.parametrize("longest", [8, 200], ids=["in its page", "in pages of its own"])
def test_no_byte_of_a_signature_outlives_the_download(desk, longest):
    """Short ones lie in the row's page, 6 KB in overflow pages that become free; both are wiped as the run ends."""
    rng = random.Random(longest)
    waiting = []
    tasks = desk.plan(desk.write(*({"id": f"p{n}", "prompt": f"Scene {n}"} for n in range(60))))
    for task in tasks.values():
        waiting.append(succeed(desk, task, url(rng.randint(1, longest))))
        if rng.random() < 0.5:
            bring_home(desk, waiting.pop(rng.randrange(len(waiting))))
    assert traces(desk)
    while waiting:
        bring_home(desk, waiting.pop())
    reader = Queries.open(desk.state)  # `status --watch`, or a tool of their own: it keeps the log
    desk.store.close()
    assert (desk.home / "state.db-wal").exists()
    assert traces(desk) == {}
    reader.close()


def test_what_is_deleted_is_wiped_whatever_the_library_was_built_to_do(tmp_path):
    """Debian's SQLite does so by itself, others do not; FAST would leave the overflow pages."""
    db = open_for_writing(tmp_path / "state.db")
    assert db.execute("PRAGMA secure_delete").fetchone()[0] == 1
    db.close()
