"""Counters say what a count of all tasks would, whoever changed them; and the next tasks come from an index."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.errors import StateError
from batcher.state.counters import Counters
from batcher.state.file import open_nowhere
from batcher.state.planning import Planning
from batcher.state.selection import Selection
from batcher.state.store import Store
from batcher.tasks import Status
from state.samples import ALL, NOW, SCOPE, add, bring, planned, want

AUTUMN = Selection(job="autumn", edition="", scope=SCOPE)
SHORT, LONG = ({"prompt": name, "duration": duration} for name, duration in (("s", "5"), ("l", "10")))


def change(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_every_step_of_a_task_moves_one_from_counter_to_counter(store, task):
    for status in (Status.SUBMITTING, Status.SUBMITTED, Status.PROCESSING, Status.SUCCEEDED, Status.DOWNLOADED):
        task = bring(store, task, status)
        assert store.counts(AUTUMN) == {status: 1}
        assert store.miscounted() == 0


CHANGES = [
    "UPDATE tasks SET status = 'failed' WHERE id % 3 = 1",
    "UPDATE tasks SET status = 'succeeded', error_code = 'asset' WHERE id % 4 = 0",
    "UPDATE tasks SET status = 'processing', overdue = 1 WHERE id % 5 = 0",
    "UPDATE tasks SET orphaned = 1 - orphaned WHERE id % 2 = 0",
    "UPDATE tasks SET cost_usd = NULL WHERE id < 4",
    "UPDATE tasks SET cost_usd = 0.26, cost_is_estimate = 0",
    "UPDATE tasks SET job = 'spring' WHERE id > 7",
    "UPDATE tasks SET edition = 'x' || edition WHERE id = 3",
    "DELETE FROM tasks WHERE id = 6",
    "UPDATE tasks SET name = 'another'",
]


@given(st.lists(st.sampled_from(CHANGES), max_size=6))
@settings(deadline=None, max_examples=25)
def test_counters_are_right_whoever_writes(changes):
    """People edit their state with other tools: the triggers are in the file."""
    db = open_nowhere()
    state = Planning(db, Path("state.db"))
    add(state, *(want(f"t{n}", price_usd=n / 10 or None) for n in range(10)))
    for statement in changes:
        db.execute(statement)
        assert state.miscounted() == 0
    for orphaned in (False, True):
        kept = [t for t in state.tasks(ALL) if orphaned or not t.orphaned]
        assert state.counts(Selection(orphaned=orphaned)) == Counter(str(t.status) for t in kept)
    state.close()


def test_a_great_plan_is_counted_like_a_small_one(monkeypatch, store):
    """Its indexes and its trigger are away while it is added, and there again after it."""
    monkeypatch.setattr("batcher.state.bulk.GREAT", 3)
    before = list(store.rows("SELECT type, name, sql FROM sqlite_master ORDER BY name"))
    add(store, *(want(f"t{n}") for n in range(5)))
    assert store.miscounted() == 0
    assert list(store.rows("SELECT type, name, sql FROM sqlite_master ORDER BY name")) == before
    assert store.counts(AUTUMN) == {"pending": 5}
    assert len({task.external_task_id for task in store.tasks(ALL)}) == 5
    assert add(store, *(want(f"t{n}") for n in range(6)))[0].name == "t5"


def test_a_great_plan_with_two_tasks_of_one_path_tells_them_apart(monkeypatch, store):
    monkeypatch.setattr("batcher.state.bulk.GREAT", 3)
    added = add(store, *(want(f"t{n}", output="autumn/Clip" if n % 2 else "autumn/clip") for n in range(3)))
    assert len({task.output.casefold() for task in added}) == 3
    assert store.miscounted() == 0


def test_a_great_plan_that_fails_leaves_nothing(monkeypatch, store):
    monkeypatch.setattr("batcher.state.bulk.GREAT", 3)
    add(store, want("elk"))
    before = list(store.rows("SELECT type, name, sql FROM sqlite_master ORDER BY name"))
    with suppress(RuntimeError), planned(store, *(want(f"t{n}") for n in range(9))) as plan, store.transaction():
        store.add(plan, namespace="n", attempts=1, used={}, now=NOW)
        raise RuntimeError
    assert [task.name for task in store.tasks(ALL)] == ["elk"]
    assert list(store.rows("SELECT type, name, sql FROM sqlite_master ORDER BY name")) == before
    assert store.miscounted() == 0


def test_wrong_counters_are_put_right_when_the_state_is_opened(store, task, path):
    store.close()
    change(path, "UPDATE counters SET tasks = 7")
    with closing(Store(path)) as again:
        assert again.counts(AUTUMN) == {"pending": 1}


def test_a_state_without_our_trigger_is_refused(store, path):
    """Its counters would be wrong from then on."""
    store.close()
    change(path, "DROP TRIGGER tasks_changed")
    with pytest.raises(StateError, match="no trigger tasks_changed"):
        Store(path)


# ---- which go next ------------------------------------------------------------------------------------------------


def names(store, slowest_first=(), *, limit=9, **selection):
    chosen = Selection(**{"job": "autumn", "edition": "", "scope": SCOPE, **selection})
    return [t.name for t in store.ready(chosen, now=NOW, limit=limit, slowest_first=slowest_first)]


def test_long_ones_go_first_within_a_priority(store):
    """A long one begun last is waited for by itself."""
    add(
        store,
        want("s1", request=SHORT),
        want("l1", request=LONG),
        want("s2", request={**SHORT, "prompt": "s2"}, priority=5),
        want("l2", request={**LONG, "prompt": "l2"}),
    )
    slow, fast = "kling-v1 std 10s", "kling-v1 std 5s"
    assert names(store) == ["s2", "s1", "l1", "l2"]
    assert names(store, [slow, fast]) == ["s2", "l1", "l2", "s1"]
    assert names(store, [slow]) == ["s2", "l1", "l2", "s1"]
    assert names(store, ["unheard of"]) == names(store)
    assert names(store, [slow], limit=2) == ["s2", "l1"]
    assert names(store, [slow], include=("s*",)) == ["s2", "s1"]
    assert names(store, [slow], ids=(1, 4)) == ["l2", "s1"]
    assert names(store, [slow], job=None) == ["s2", "l1", "l2", "s1"]


def test_many_priorities_are_one_order_too(store, monkeypatch):
    monkeypatch.setattr("batcher.state.counters._ROUNDS", 2)
    add(
        store,
        *(want(f"t{n}", priority=n, request={**(LONG if n % 2 else SHORT), "prompt": f"{n}"}) for n in range(6)),
    )
    assert names(store, ["kling-v1 std 10s"]) == ["t5", "t4", "t3", "t2", "t1", "t0"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.ready(AUTUMN, now=NOW, limit=4, slowest_first=["kling-v1 std 10s"]),
        lambda s: s.ready(AUTUMN, now=NOW, limit=4),
        lambda s: s.counts(AUTUMN),
        lambda s: s.waiting(AUTUMN),
        lambda s: s.in_flight(SCOPE, overdue_before=NOW),
        lambda s: s.open_tasks(SCOPE),
        lambda s: s.editions(job="autumn", scope=SCOPE),
        lambda s: s.prices(AUTUMN),
        lambda s: s.tasks(AUTUMN, statuses=(Status.UNCLEAR,)),
        lambda s: s.tasks(AUTUMN, statuses=(Status.FAILED,)),
    ],
)
def test_no_question_of_a_run_reads_all_tasks(store, ask):
    """Each is answered from an index or a counter: no plan of SQLite's scans the table."""
    add(store, want("s", request=SHORT), want("l", request=LONG))
    asked = []
    connection = store.connection
    connection.set_trace_callback(asked.append)
    ask(store)
    connection.set_trace_callback(None)
    assert asked
    for statement in asked:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not any(line.startswith("SCAN tasks") for line in plan), (statement, plan)
        assert not any("SEARCH tasks" in line and "INDEX tasks_content" in line for line in plan)


def test_counters_are_a_floor_of_the_queries():
    assert issubclass(Store, Counters)
