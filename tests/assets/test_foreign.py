"""What a provider calls its file, and what it sends in place of a clip: neither gets a name of its choice."""

from __future__ import annotations

import pytest

from assets.samples import NOW, fetch_of, make_task, tree
from batcher.assets import BrokenClipError, Folder

NAMES = ["autumn/fox-t1.jpg", "autumn/fox-t1.json", "autumn/fox-t1.mp4"]


def now():
    return NOW


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url", ["https://v16.klingai.com/../../../.bashrc", "https://v16.klingai.com/evil.sh?filename=../x.sh", "x:y"]
)
async def test_the_name_is_ours_whatever_the_providers_url_is_called(tmp_path, clip, url):
    """Name and extension come from the task; what the URL or a header suggests is not even looked at."""
    folder = Folder(tmp_path / "out", "autumn")
    await folder.save(make_task(), url, fetch=fetch_of(clip), now=now)
    assert sorted(tree(tmp_path)) == [f"out/{name}" for name in NAMES]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<script>alert(1)</script>" * 200,
        b"#!/bin/sh\nrm -rf ~\n",
        b"MZ\x90\0" + b"\0" * 500,
        b"PK\x03\x04" + b"\0" * 500,
        b"GIF89a" + b"\0" * 500,
        b"\x7fELF" + b"\0" * 500,
        b"\0\0\0\x18ftyp<script>alert(1)</script>",
    ],
    ids=["svg", "script", "shell", "exe", "zip", "gif", "elf", "ftyp and a script"],
)
async def test_what_is_no_video_gets_no_name(folder, body):
    """Whatever calls itself a clip: without the boxes of one it is not published, so nothing serves or opens it."""
    with pytest.raises(BrokenClipError):
        await folder.save(make_task(), "https://v16.klingai.com/clip.mp4", fetch=fetch_of(body), now=now)
    assert tree(folder.root) == {}
