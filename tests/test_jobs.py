"""The manifests that come along work, and between them show every key."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import batcher
from batcher.manifest import Problems, examine, json_schema
from batcher.manifest.yaml import parse

ROOT = Path(batcher.__file__).parent.parent
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_every_job_expands_without_a_word_and_costs_nothing(path):
    (looked,) = examine([path], now=NOW)
    assert list(map(str, looked.problems)) == []
    assert looked.tasks
    assert looked.manifest.provider == "simulator"
    assert looked.manifest.job == path.stem


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_every_job_begins_with_its_schema_and_fits_it(path):
    import jsonschema  # noqa: PLC0415 - used by this one test

    first = path.read_text(encoding="utf-8").partition("\n")[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    schema = json.loads((path.parent / first.removeprefix(prefix)).read_text(encoding="utf-8"))
    document = _document(path)
    jsonschema.Draft202012Validator(schema).validate(document.root.plain())


def test_the_demo_is_small_and_shows_two_shapes():
    (demo,) = examine([ROOT / "jobs/demo.yaml"], now=NOW)
    ratios = [t.request["aspect_ratio"] for t in demo.manifest.expand(edition="")]
    assert 6 <= len(ratios) <= 8
    assert len(set(ratios)) > 1


def test_the_showcase_shows_every_key():
    """A key that is added to the models must be shown, in use or in a comment."""
    text = (ROOT / "jobs/showcase.yaml").read_text(encoding="utf-8")
    schema = json_schema()
    parts = [schema, *(schema["$defs"][name] for name in schema["$defs"] if name != "CameraMoves")]
    keys = {key for part in parts for key in part.get("properties", {})} - {"voice_id"}
    assert {key for key in keys if f"{key}:" not in text and f'"{key}":' not in text} == set()


def test_the_showcase_uses_every_kind_of_source():
    (shown,) = examine([ROOT / "jobs/showcase.yaml"], now=NOW)
    sources = {Path(t.source.rpartition(":")[0]).name for t in shown.manifest.expand(edition="x")}
    assert sources == {"showcase.yaml", "products.csv", "broll.txt", "shots.jsonl", "harbour.txt", "library.txt"}


def test_the_nightly_job_is_new_every_night_and_the_same_within_one():
    (nightly,) = examine([ROOT / "jobs/nightly.yaml"], now=NOW)
    assert nightly.manifest.render_edition(datetime(2026, 11, 22, 0, 30, tzinfo=UTC)) == "2026-11-22"
    assert nightly.manifest.render_edition(datetime(2026, 11, 22, 23, 30, tzinfo=UTC)) == "2026-11-23"


def _document(path):
    problems = Problems()
    document = parse(path.read_text(encoding="utf-8"), file=str(path), problems=problems)
    assert not problems.errors
    return document
