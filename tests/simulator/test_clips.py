from __future__ import annotations

import io
import subprocess
import sys

import av
import pytest

from batcher.simulator import clips


def opened(content):
    with av.open(io.BytesIO(content)) as container:
        video = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video))
        return video.width, video.height, float(video.duration * video.time_base), video.codec.name, frames


@pytest.mark.parametrize(("ratio", "seconds"), [("16:9", 5), ("9:16", 5), ("1:1", 3), ("4:3", 10), ("2:3", 15)])
def test_a_clip_plays_with_the_ratio_and_the_length_asked_for(ratio, seconds):
    width, height, duration, codec, frames = opened(clips.render("A red fox", aspect_ratio=ratio, seconds=seconds))
    across, down = map(int, ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.01)
    assert duration == pytest.approx(seconds + 1 / 24)
    assert (codec, frames >= 5 * seconds) == ("h264", True)


def test_the_index_comes_first_so_that_a_page_can_play_it_while_it_loads():
    content = clips.render("A red fox", seconds=15)
    assert content[4:8] == b"ftyp"
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_the_same_request_is_the_same_file():
    """A download may go on after a restart: no byte depends on anything but the request."""
    first = clips.render("A red fox", seconds=3, seed="1")
    clips.render.cache_clear()
    assert clips.render("A red fox", seconds=3, seed="1") == first
    assert clips.render("A red fox", seconds=3, seed="2") != first


def test_any_prompt_can_be_written_on_it():
    for prompt in ("", "x" * 3000, "狐狸 🦊 \u202e \ud800 \x00\n\ttab", "word " * 500):
        assert opened(clips.render(prompt, seconds=1))[4] > 1


def test_the_bundled_clip_is_small_and_plays():
    width, height, duration, codec, _ = opened(clips.sample())
    assert (codec, duration) == ("h264", pytest.approx(5 + 1 / 24))
    assert (width, height) == clips.size("16:9")
    assert len(clips.sample()) <= 60_000


def test_the_bundled_clip_can_be_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "SAMPLE", tmp_path / "sample.mp4")
    clips.write_sample()
    assert opened(clips.SAMPLE.read_bytes())[:3] == opened(clips.sample())[:3]


def test_without_av_and_pillow_the_bundled_clip_is_served():
    script = """
import sys
sys.modules["av"] = sys.modules["PIL"] = None
import httpx
from batcher.simulator import Settings, clips
from batcher.simulator.serving import start
with start(Settings(time_scale=1e-6)) as running:
    client = httpx.Client(base_url=running.base_url, headers={"authorization": "Bearer k"})
    api = "/kling/v1/videos/text2video"
    client.post(api, json={"prompt": "a", "external_task_id": "x"})
    while (task := client.get(f"{api}/x").json()["data"])["task_status"] != "succeed":
        pass
    clip = httpx.get(task["task_result"]["videos"][0]["url"]).content
    print(clips.CAN_RENDER, clip == clips.sample())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
