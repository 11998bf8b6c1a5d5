"""The library: `batcher.run` and `batcher.open`, on asyncio and trio, with the built-in simulator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import batcher
from batcher.errors import LockedError, MissingKeyError, UsageError
from batcher.manifest import ManifestError

MANIFEST = """\
version: 1
job: kites
provider: %s
defaults: {model_name: kling-v1-6, duration: 5}
prompts: [A red kite, A blue kite, A box kite]
"""


@pytest.fixture
def manifest(tmp_path, monkeypatch) -> Path:
    """Three clips, in a folder and an environment of their own."""
    for name in list(os.environ):
        if name.startswith(("BATCHER_", "COMETAPI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BATCHER_SIMULATOR", "time_scale=0.002,clips=sample")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kites.yaml"
    path.write_text(MANIFEST % "simulator")
    return path


def charged() -> int:
    return Path("state.db.simulator").read_text().count('"charged":true')


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def test_run_returns_what_happened(manifest):
    """Counts, files, cost: and the files are there."""
    result = batcher.run(manifest)
    assert (result.exit_code, result.downloaded, result.simulated) == (0, 3, True)
    assert len(result.files) == 3
    assert all(Path(path).stat().st_size > 0 for path in result.files)
    assert result.cost_usd == pytest.approx(0.78)


def test_run_again_buys_nothing(manifest):
    batcher.run(manifest)
    again = batcher.run(manifest)
    assert (again.submitted, again.downloaded, again.exit_code) == (0, 0, 0)


@pytest.mark.anyio
async def test_open_yields_what_happens_to_tasks(manifest):
    """The stream of the README: each event has a task; names, statuses, paths; the summary afterwards."""
    done = []
    async with batcher.open(manifest) as batch:
        async for event in batch.run(concurrency=2):
            assert event.task is not None
            if event.kind is batcher.EventKind.DONE:
                done.append((event.task.name, event.status, event.path))
    assert len(done) == 3
    assert all(status == "downloaded" and os.path.exists(path) for _, status, path in done)  # noqa: ASYNC240, PTH110
    assert batch.summary is not None
    assert batch.summary.downloaded == 3


@pytest.mark.anyio
async def test_everything_is_there_for_who_asks(manifest):
    """With `everything` the stream has the run's own events too, from its start to its summary."""
    async with batcher.open(manifest) as batch:
        kinds = [event.kind async for event in batch.run(everything=True)]
    assert kinds[:2] == [batcher.EventKind.RUN, batcher.EventKind.PLAN]
    assert kinds[-1] is batcher.EventKind.SUMMARY
    assert kinds.count(batcher.EventKind.DONE) == 3


@pytest.mark.anyio
async def test_leaving_the_loop_leaves_the_run_resumable(manifest):
    """A program that breaks out at the first clip: nothing is lost, the next run completes it."""
    async with batcher.open(manifest) as batch:
        async for event in batch.run(concurrency=1):
            if event.kind is batcher.EventKind.DONE:
                break
    async with batcher.open(manifest) as batch:
        async for _ in batch.run():
            pass
    assert batch.summary is not None
    assert batch.summary.counts == {"downloaded": 3}
    assert charged() == 3


@pytest.mark.anyio
async def test_two_programs_on_one_state(manifest):
    """The second is refused while the first has it open."""
    async with batcher.open(manifest):
        with pytest.raises(LockedError):
            async with batcher.open(manifest):
                pass


def test_a_bad_manifest_raises_with_every_problem(manifest):
    manifest.write_text("version: 1\njob: kites\nprompts: []\ndefaults: {mode: fast}\n")
    with pytest.raises(ManifestError) as caught:
        batcher.run(manifest)
    assert len(caught.value.problems) == 2


def test_a_paid_run_needs_consent_in_the_call(manifest, monkeypatch):
    """Calling a function is not consent to pay: yes, max_usd or a budget is."""
    manifest.write_text(MANIFEST % "cometapi")
    with pytest.raises(MissingKeyError):
        batcher.run(manifest)
    monkeypatch.setenv("COMETAPI_KEY", "sk-canary-0123456789abcdef")
    monkeypatch.setenv("COMETAPI_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="nothing was sent"):
        batcher.run(manifest)


def test_public_names_are_all_there():
    assert [name for name in batcher.__all__ if not hasattr(batcher, name)] == []
    with pytest.raises(AttributeError):
        batcher.frobnicate  # noqa: B018
