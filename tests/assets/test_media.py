"""The first picture: a clip with whole boxes that does not play is no clip."""

import io

import pytest
from PIL import Image

from assets.samples import BOXES, render
from batcher.assets import media
from batcher.assets.mp4 import BrokenClipError


def write(tmp_path, data):
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    return path


def test_the_poster_is_the_first_picture_made_small(tmp_path):
    picture = media.first_picture(write(tmp_path, render("red", size=(1280, 720))))
    poster = Image.open(io.BytesIO(media.poster(picture)))
    assert (poster.format, poster.size) == ("JPEG", (640, 360))
    red, green, blue = poster.getpixel((320, 180))
    assert red > 200
    assert max(green, blue) < 60


def test_a_small_picture_is_not_blown_up(tmp_path, clip):
    poster = media.poster(media.first_picture(write(tmp_path, clip)))
    assert Image.open(io.BytesIO(poster)).size == (64, 36)


def test_whole_boxes_around_nothing_do_not_play(tmp_path):
    with pytest.raises(BrokenClipError, match="does not play"):
        media.first_picture(write(tmp_path, BOXES))


def test_another_format_under_our_name_is_not_opened(tmp_path):
    """The demuxer is ours to choose: a playlist that names other files reaches none of them."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{write(tmp_path, render())}\n"
    path = tmp_path / "list.mp4"
    path.write_text(playlist)
    with pytest.raises(BrokenClipError):
        media.first_picture(path)


def test_a_picture_larger_than_any_clip_is_not_decoded(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(media, "_MAX_PIXELS", 64 * 36 - 1)
    with pytest.raises(BrokenClipError, match="size"):
        media.first_picture(write(tmp_path, clip))


def test_memory_is_given_back_from_time_to_time_and_where_that_is_not_known_nothing_happens(
    tmp_path, clip, monkeypatch
):
    asked = []

    def library(name):
        asked.append(name)
        raise OSError("no such library")

    monkeypatch.setattr(media.sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", library)
    for _ in range(2 * media._TIDY_EVERY):
        media.first_picture(write(tmp_path, clip))
    assert len(asked) == 2
