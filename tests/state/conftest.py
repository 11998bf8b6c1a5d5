from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batcher.state.store import Store
from state.samples import add, want

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.tasks import Task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
def task(store: Store) -> Task:
    [task] = add(store, want())
    return task
