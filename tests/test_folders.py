"""Folders whose names survive a power cut."""

from __future__ import annotations

import os

import pytest
from syncs import watch_syncs

from batcher import folders


@pytest.fixture
def synced(monkeypatch):
    """The folders that were synced, in their order."""
    return watch_syncs(monkeypatch)


def test_they_are_made_durable_from_the_top(tmp_path, synced):
    """A folder's name is synced in its parent before anything is put into it."""
    folders.make(tmp_path / "a" / "b" / "c")
    assert synced[-3:] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_one_that_is_there_is_made_durable_too(tmp_path, synced):
    """A run that was killed may have made it, and not have come to that."""
    (tmp_path / "a").mkdir()
    folders.make(tmp_path / "a")
    assert synced == [tmp_path]


def test_one_below_a_folder_of_somebody_else_is_left_as_it_is(tmp_path, synced, monkeypatch):
    """Where we may not write no run of ours can have made it, and a sync may be refused."""
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    folders.make(tmp_path / "a")
    assert synced == []


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(NotADirectoryError):
        folders.make(tmp_path / "a" / "b")
