"""The sidecar: everything about a clip, nothing secret, and read back only when it is ours."""

import json

import pytest

from assets.samples import make_task
from batcher.assets import sidecar
from batcher.tasks import Asset

VIDEO = Asset(
    task_id=7,
    kind="video",
    path="autumn/fox-t1.mp4",
    size_bytes=1234,
    sha256="ab" * 32,
    width=1280,
    height=720,
    duration_s=5.041,
    downloaded_at="2026-11-22T13:06:33.120Z",
)


def render(task):
    return sidecar.render(task, VIDEO, version="0.1.0")


def test_it_tells_everything_in_the_order_of_interest():
    content = json.loads(render(make_task()))
    assert list(content)[:5] == ["name", "prompt", "parameters", "job", "edition"]
    expected = {
        "prompt": "A fox, at dawn — 狐",
        "parameters": {"model_name": "kling-v2-5-turbo", "duration": "5"},
        "source": "jobs/autumn.yaml:14",
        "simulated": False,
        "provider": "cometapi",
        "external_task_id": "autumn-0123456789abcdef01234567-a1",
        "generation_id": "845678901234567890",
        "cost_usd": 0.35,
        "cost_is_estimate": True,
        "file": "fox-t1.mp4",
        "bytes": 1234,
        "sha256": "ab" * 32,
        "downloaded_at": "2026-11-22T13:06:33.120Z",
        "batcher": "0.1.0",
    }
    assert expected.items() <= content.items()


def test_the_same_facts_are_the_same_bytes():
    assert render(make_task()) == render(make_task())
    assert render(make_task()).startswith(b'{\n  "name": "fox-t1",\n  "prompt": "A fox, at dawn \xe2\x80\x94')


def test_a_callback_address_never_gets_in():
    """Requests hold none; should one ever, its token still stays out of a file that is published."""
    task = make_task(request={"prompt": "x", "callback_url": "https://me.example/TOKEN", "external_task_id": "x"})
    assert b"TOKEN" not in render(task)
    assert "TOKEN" not in sidecar.metadata_row(task, VIDEO, file_name="x.mp4")


@pytest.mark.parametrize(
    ("scope", "simulated"), [("simulator", True), ("cometapi", False), ("cometapi@https://simulator.example", False)]
)
def test_a_simulated_clip_says_so(scope, simulated):
    task = make_task(scope=scope)
    assert json.loads(render(task))["simulated"] is simulated
    assert json.loads(sidecar.metadata_row(task, VIDEO, file_name="x.mp4"))["simulated"] is simulated


def test_it_is_read_back():
    claim = sidecar.parse(render(make_task()))
    assert claim == sidecar.Claim(
        external_task_id=make_task().external_task_id,
        content_hash="c0ffee",
        generation_id="845678901234567890",
        size_bytes=1234,
        sha256="ab" * 32,
        width=1280,
        height=720,
        duration_s=5.041,
        downloaded_at="2026-11-22T13:06:33.120Z",
    )


OURS = json.loads(render(make_task()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"schema": 1}',
        b"[" * 100_000,
        json.dumps(OURS | {"schema": 2}).encode(),
        json.dumps(OURS | {"schema": None}).encode(),
        json.dumps(OURS | {"external_task_id": 7}).encode(),
        json.dumps(OURS | {"external_task_id": ""}).encode(),
        json.dumps(OURS | {"content_hash": None}).encode(),
        json.dumps(OURS | {"sha256": ["ab"]}).encode(),
        json.dumps(OURS | {"bytes": float("inf")}).encode(),
    ],
)
def test_what_is_no_sidecar_of_ours_is_nothing(data):
    assert sidecar.parse(data) is None


def test_odd_facts_do_not_hide_whose_clip_it_is():
    odd = {"width": "wide", "duration_s": None, "height": 1.5, "generation_id": ["845"]}
    claim = sidecar.parse(json.dumps(OURS | odd).encode())
    assert claim
    assert (claim.width, claim.height, claim.duration_s, claim.generation_id) == (None, None, None, None)


def test_a_clip_of_which_nobody_knew_the_providers_id_is_ours_all_the_same():
    """Adopted itself, by a sidecar that had lost it."""
    claim = sidecar.parse(render(make_task(generation_id=None)))
    assert claim
    assert claim.generation_id is None


def test_metadata_is_flat_and_on_one_line():
    task = make_task(
        request={"prompt": "two\nlines", "cfg_scale": 0.5, "camera_control": {"type": "simple"}}, take="r1"
    )
    line = sidecar.metadata_row(task, VIDEO, file_name="fox-t1.mp4")
    assert "\n" not in line
    row = json.loads(line)
    assert next(iter(row)) == "file_name"
    assert {"prompt": "two\nlines", "cfg_scale": 0.5, "take": "r1", "duration_s": 5.041}.items() <= row.items()
    assert "camera_control" not in row
