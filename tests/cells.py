"""Rows as the state gives them to the gallery, made up."""

from __future__ import annotations

NASTY = "</script><script>alert(1)</script> \u202e\x1b[31m <!-- & &amp; \u2028 'javascript:alert(1)'"


def row(name="fox-16x9-t1", **more):
    """A finished clip, as the state tells of it."""
    return {
        "name": name,
        "edition": "",
        "take": "1",
        "status": "downloaded",
        "prompt": "A red fox",
        "request": '{"model_name": "kling-v1-6", "duration": "5"}',
        "source": "jobs/x.yaml:4",
        "external_task_id": f"x-{name}-a1",
        "generation_id": "77",
        "attempt": 1,
        "cost_usd": 0.26,
        "cost_is_estimate": 1,
        "error_code": None,
        "error_message": None,
        "submitted_at": "2026-11-27T02:00:00.000Z",
        "finished_at": "2026-11-27T02:01:30.000Z",
        "model_name": "kling-v1-6",
        "mode": "std",
        "duration": "5",
        "aspect_ratio": "16:9",
        "path": f"x/{name}.mp4",
        "bytes": 71_000,
        "seconds": 5.0,
        "width": 1280,
        "height": 720,
        "sha256": "ab" * 32,
        "downloaded_at": "2026-11-27T02:01:32.000Z",
        "poster": f"x/{name}.jpg",
    } | more


def waiting(name, **more):
    nothing = dict.fromkeys(("path", "bytes", "seconds", "width", "height", "sha256", "downloaded_at", "poster"))
    never = {"generation_id": None, "submitted_at": None, "finished_at": None}
    return row(name, **nothing | never | {"status": "pending"} | more)
