"""A new state's own name, and those of the folders that lead to it, survive a power cut."""

from __future__ import annotations

from contextlib import closing

from syncs import watch_syncs

from batcher.state.file import hold_lock
from batcher.state.store import Store


def test_the_folders_that_lead_to_a_new_state_are_durable_before_it_is_used(tmp_path, monkeypatch):
    synced = watch_syncs(monkeypatch)
    path = tmp_path / "kept" / "here" / "state.db"
    with hold_lock(path, started_at="2026-11-22T13:06:33.120Z"), closing(Store(path)):
        assert {tmp_path, tmp_path / "kept"} < set(synced)
        assert synced[-1] == path.parent
