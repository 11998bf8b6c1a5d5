"""The box walk: what it reads of a whole clip, and what it does not take for one."""

import struct

import pytest

from assets.samples import BOXES, FTYP, MDAT, MOOV, MVHD, TKHD, box, render
from batcher.assets import mp4
from batcher.assets.mp4 import BrokenClipError, Mp4Facts


def check(tmp_path, data):
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    return mp4.check(path)


def test_reads_length_and_size(tmp_path):
    assert check(tmp_path, BOXES) == Mp4Facts(duration_s=5.041, width=1280, height=720)


def test_reads_what_a_real_encoder_wrote(tmp_path):
    assert check(tmp_path, render(size=(96, 54), frames=6)) == Mp4Facts(duration_s=2.0, width=96, height=54)


def test_reads_the_64_bit_forms_of_boxes(tmp_path):
    """Version 1 headers and 64-bit sizes say the same as the short ones."""
    mvhd = box(b"mvhd", b"\x01" + struct.pack(">3xQQIQ", 0, 0, 600, 1200) + bytes(80))
    tkhd = box(b"tkhd", b"\x01" + bytes(87) + struct.pack(">II", 720 << 16, 1280 << 16))
    mdat = struct.pack(">I4sQ", 1, b"mdat", 16 + 9) + b"pictures!"
    facts = check(tmp_path, FTYP + mdat + box(b"moov", mvhd + box(b"trak", tkhd)))
    assert facts == Mp4Facts(duration_s=2.0, width=720, height=1280)


def test_the_size_is_the_pictures_not_the_sound(tmp_path):
    sound = box(b"trak", box(b"tkhd", bytes(84)))
    assert check(tmp_path, FTYP + box(b"moov", sound + box(b"trak", TKHD)) + MDAT).width == 1280


def test_an_unknown_length_is_no_length(tmp_path):
    mvhd = box(b"mvhd", struct.pack(">4xIIII", 0, 0, 1000, 2**32 - 1) + bytes(80))
    assert check(tmp_path, FTYP + box(b"moov", mvhd) + MDAT).duration_s is None


def test_every_cut_of_a_clip_is_found(tmp_path, clip):
    """A clip cut after any of its bytes is refused."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    for length in range(len(clip) - 1, -1, -1):
        with path.open("r+b") as file:
            file.truncate(length)
        with pytest.raises(BrokenClipError):
            mp4.check(path)


def test_a_last_box_without_an_end_is_told(tmp_path):
    """A box that reaches to the end of the file hides a cut; the caller must know the length from elsewhere."""
    assert check(tmp_path, FTYP + MOOV + box(b"mdat", b"pictures", size=0)).is_open_ended
    assert not check(tmp_path, BOXES).is_open_ended


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin"),
        (b"<!doctype html><html><body>Log in to the hotel's network", "does not begin"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>', "does not begin"),
        (b"\0" * 4096, "does not begin"),
        (b"\x1f\x8b\x08\0\0\0\0\0" * 9, "does not begin"),
        (BOXES + b"\0" * 16, "no MP4 box"),
        (BOXES + b"more", "no MP4 box"),
        (BOXES + b"<script>alert(1)</script>", "cut"),
        (MOOV + FTYP + MDAT, "does not begin"),
        (FTYP + MDAT, "table of contents"),
        (FTYP + MOOV, "no pictures"),
        (FTYP + MOOV + box(b"mdat"), "no pictures"),
        (FTYP + box(b"mdat", size=4), "no size"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**63), "cut"),
        (FTYP + box(b"moov", MVHD[:20]) + MDAT, "cut"),
        (FTYP + box(b"moov", box(b"mvhd", b"\0" * 10)) + MDAT, "damaged"),
        (FTYP + box(b"free") * 10_001 + MOOV + MDAT, "more than 10,000"),
    ],
)
def test_what_is_no_whole_clip_is_refused(tmp_path, data, reason):
    with pytest.raises(BrokenClipError, match=reason):
        check(tmp_path, data)
