"""Smaller counts, as three silences in a row are as good as thirty to see what follows them."""

import pytest

from batcher.policy import submission


@pytest.fixture(autouse=True)
def few_of_each(monkeypatch):
    monkeypatch.setattr(submission, "MAX_ROUNDS", 2)
    monkeypatch.setattr(submission, "MAX_DEAF_LOOKS", 2)
    monkeypatch.setattr(submission, "MAX_SILENT_LOOKS", 3)
