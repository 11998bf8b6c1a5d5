"""Small real things for the tests of assets: boxes, clips, tasks, and a fetch without a network."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, BinaryIO

import av
from PIL import Image

from batcher.fetch import Fetched, Intake
from batcher.tasks import Status, Task

if TYPE_CHECKING:
    from batcher.fetch import Fetch, Notes

NOW = 1_795_352_793.120
"""2026-11-22T13:06:33.120Z."""


def box(kind: bytes, payload: bytes = b"", *, size: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(payload) if size is None else size) + kind + payload


FTYP = box(b"ftyp", b"isom\0\0\0\0")
MVHD = box(b"mvhd", struct.pack(">4xIIII", 0, 0, 1000, 5041) + bytes(80))
TKHD = box(b"tkhd", bytes(76) + struct.pack(">II", 1280 << 16, 720 << 16))
MOOV = box(b"moov", MVHD + box(b"trak", TKHD))
MDAT = box(b"mdat", b"pictures" * 32)
BOXES = FTYP + MOOV + MDAT
"""A file whose boxes are whole, 5.041 s of 1280x720, though no player would play it."""


def render(color: str = "teal", *, size: tuple[int, int] = (64, 36), frames: int = 3) -> bytes:
    """A clip that plays."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=3)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", size, color))))
        container.mux(stream.encode())
    return data.getvalue()


def make_task(**changes) -> Task:
    facts = {
        "id": 7,
        "job": "autumn",
        "name": "fox-t1",
        "edition": "",
        "take": "1",
        "scope": "cometapi",
        "content_hash": "c0ffee",
        "status": Status.SUCCEEDED,
        "external_task_id": "autumn-0123456789abcdef01234567-a1",
        "request": {"prompt": "A fox, at dawn — 狐", "model_name": "kling-v2-5-turbo", "duration": "5"},
        "source": "jobs/autumn.yaml:14",
        "priority": 0,
        "output": "autumn/fox-t1",
        "attempt": 1,
        "generation_id": "845678901234567890",
        "attempts_allowed": 1,
        "cost_usd": 0.35,
        "cost_is_estimate": True,
        "error_class": None,
        "error_code": None,
        "error_message": None,
        "not_before": None,
        "created_at": "2026-11-22T13:00:00.000Z",
        "submitted_at": "2026-11-22T13:00:01.000Z",
        "finished_at": "2026-11-22T13:02:00.000Z",
        "overdue": False,
        "orphaned": False,
    }
    return Task(**(facts | changes))


def fetch_of(body: bytes, *, announces: bool = True) -> Fetch:
    """A fetch that has the bytes already."""

    async def fetch(url: str, sink: BinaryIO, notes: Notes | None = None) -> Fetched:
        intake = Intake(sink, max_bytes=10_000_000)
        intake.take(body)
        return intake.close(announced=len(body) if announces else None)

    return fetch


def tree(root) -> dict[str, bytes]:
    """Every file below a folder, by its relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
