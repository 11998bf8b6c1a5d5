"""What a run keeps in memory is about the tasks under way, never about those that are finished."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import fields

import pytest

from batcher.events import EventKind

from .harness import Lab

pytestmark = pytest.mark.anyio

SLOTS = 5


def sizes(batch):
    """How much is in each container of a run: the session's, the batch's, the folders'."""
    s = batch.session
    holders = {
        "session": {f.name: getattr(s, f.name) for f in fields(s)},
        "batch": vars(batch),
        "store": vars(s.store),
    }
    holders |= {f"folder {folder.path.name}": vars(folder) for folder in batch._folders.values()}
    return {
        f"{holder}.{name}": len(value)
        for holder, members in holders.items()
        for name, value in members.items()
        if isinstance(value, Sized) and not isinstance(value, str)
    }


async def most_held(lab, tasks):
    """The largest size of each container at the moments when a clip is home, and at the end."""
    most: dict[str, int] = {}

    def watch(event):
        if event.kind in (EventKind.DONE, EventKind.SUMMARY, EventKind.FAILED):
            for name, size in sizes(lab.batch).items():
                most[name] = max(size, most.get(name, 0))

    words = [f"scene {n} at the sea" + (", simulate failure" if n % 7 == 0 else "") for n in range(tasks)]
    ran = await lab.run(lab.manifest(words), concurrency=SLOTS, watch=watch)
    assert ran.summary.downloaded == len(ran.summary.files) == len(ran.of(EventKind.DONE))
    assert ran.summary.downloaded > tasks / 2
    return most


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_nothing_grows_with_the_tasks_that_are_finished(tmp_path):
    """With refusals, failures and trouble on the way, eight times the tasks need no larger container."""
    kept = []
    for tasks in (15, 120):
        home = tmp_path / str(tasks)
        home.mkdir()
        lab = Lab(home, limit=SLOTS - 1, faults={"1302": 0.1, "html-502": 0.05})
        kept.append(await most_held(lab, tasks))
    few, many = kept
    grown = {name: (few.get(name, 0), size) for name, size in many.items() if size > max(few.get(name, 0), 2 * SLOTS)}
    assert not grown
    assert {"session.walking", "session.looks", "session.refusals", "session.tally"} <= set(many)
