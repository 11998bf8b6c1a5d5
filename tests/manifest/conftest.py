from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from batcher.manifest import LoadOptions, check, load


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files below a fresh folder and works there, so that paths read as typed."""
    monkeypatch.chdir(tmp_path)

    def write_files(**texts):
        for name, text in texts.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write_files


@pytest.fixture
def job(write, tmp_path):
    """Loads and expands a manifest given as text; the tasks, in order."""

    def expand(text, *, edition="", **options):
        write(job_yaml=text)
        manifest = load(tmp_path / "job.yaml", **options)
        return list(manifest.expand(edition=edition))

    return expand


@pytest.fixture
def faults(write):
    """What is wrong with a manifest given as text: `(code, line, column)` of each problem, as reported."""

    def find(text, **options):
        write(job_yaml=text)
        found = check([Path("job.yaml")], now=datetime(2026, 11, 22, tzinfo=UTC), options=LoadOptions(**options))
        return [(p.code, p.place.line, p.place.column) for p in found]

    return find
