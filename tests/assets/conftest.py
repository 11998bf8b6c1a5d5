from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from assets.cdn import Cdn, running
from assets.samples import render
from batcher.assets import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def clip() -> bytes:
    return render("teal")


@pytest.fixture(scope="session")
def other_clip() -> bytes:
    return render("coral")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out", "autumn")


@pytest.fixture
def cdn() -> Iterator[Cdn]:
    with running(Cdn()) as server:
        yield server
