"""The gallery: one HTML file beside the clips, which needs no network and no server. Pure.

Everything from outside (prompts, names, a provider's words) goes in as JSON that no browser runs, and the script
shows it as text. The policy in its head lets run this one script, known by its hash, and load files of this folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os.path
import re
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from batcher.report.document import SCHEMA, plain
from batcher.text import command, html_text, human_duration, human_usd, printable, printable_lines
from batcher.times import unix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INDEX = "index.html"
MARK = b'<meta name="generator" content="batcher gallery">'
"""In every page of ours: a page without it is somebody else's and is not overwritten."""

_SQUARE = 1.0
_WORD_END = re.compile(r"[-_/ .]+")


def document(
    rows: Iterable[Mapping[str, Any]],
    *,
    job: str,
    folder: str,
    provider: str,
    simulated: bool,
    max_usd: float | None,
    at: str,
) -> dict[str, Any]:
    """What the page shows of one job. `folder` is the job's, below the output root; `at`: when it was read, UTC."""
    tasks = [_task(row, folder) for row in rows]
    _label(tasks)
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task["status"]] = counts.get(task["status"], 0) + 1
    spent = sum(task.pop("cost_usd") for task in tasks)
    waits = sorted(wait for task in tasks if (wait := task.pop("wait_s")) is not None)
    totals = [[f"{counts.get('downloaded', 0):,} / {len(tasks):,}", "downloaded"]]
    if spent:
        of = f"of {human_usd(max_usd)} budget" if max_usd is not None else "estimated"
        totals.append([f"≈ {human_usd(spent)}", "would cost" if simulated else of])
    if waits:
        totals.append([human_duration(waits[len(waits) // 2]), "median wait"])
    where = "simulator: placeholders, nothing was paid" if simulated else printable(provider)
    return {
        "schema": SCHEMA,
        "document": "gallery",
        "job": printable(job),
        "provider": provider,
        "simulated": simulated,
        "about": [where, f"updated {at[:16].replace('T', ' ')} UTC"],
        "totals": totals,
        "counts": counts,
        "next": _next(job, counts),
        "tasks": tasks,
    }


def page(content: Mapping[str, Any]) -> str:
    """The whole HTML file."""
    style, script = _part("gallery.css"), _part("gallery.js")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file:; media-src 'self' file:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return Template(_part("gallery.html")).substitute(
        policy=policy, title=f"{html_text(content['job'])} · batcher", style=style, script=script, data=_data(content)
    )


def _task(row: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """One cell. What is only read in the player stands in `facts`, in the order it is shown."""
    prompt, status = printable_lines(row["prompt"]), row["status"]
    path, paid = row["path"], row["generation_id"] is not None
    width, height = row["width"], row["height"]
    error = None
    if status in ("failed", "unclear") or row["error_message"]:
        error = printable(": ".join(filter(None, (row["error_code"], row["error_message"]))) or status)
    times = row["submitted_at"], row["finished_at"]
    wait_s = unix(times[1]) - unix(times[0]) if all(times) and status == "downloaded" else None
    facts = {
        "status": status,
        **_request(row["request"]),
        "source": row["source"],
        "edition": row["edition"],
        "take": row["take"],
        "attempt": row["attempt"],
        "external_task_id": row["external_task_id"],
        "task_id": row["generation_id"],
        "cost": None
        if row["cost_usd"] is None
        else ("≈ " if row["cost_is_estimate"] else "") + human_usd(row["cost_usd"]),
        "file": path,
        "size": f"{width}\N{MULTIPLICATION SIGN}{height}" if width and height else None,
        "seconds": row["seconds"],
        "sha256": row["sha256"],
        "submitted": row["submitted_at"],
        "downloaded": row["downloaded_at"],
        "error": error,
    }
    return {
        "name": printable(row["name"]),
        "edition": printable(row["edition"]),
        "source": printable(row["source"]),
        "status": status,
        "prompt": prompt,
        "external_task_id": row["external_task_id"],
        "model": printable(row["model_name"] or ""),
        "ratio": printable(row["aspect_ratio"] or ""),
        "shape": _shape(width, height, row["aspect_ratio"]),
        "file": None if path is None else _link(path, folder),
        "poster": None if row["poster"] is None else _link(row["poster"], folder),
        "bytes": row["bytes"],
        "seconds": row["seconds"],
        "error": error,
        "cost_usd": (row["cost_usd"] or 0.0) if paid else 0.0,
        "wait_s": wait_s,
        "facts": {name: printable(str(value)) for name, value in facts.items() if value not in (None, "")},
    }


def _request(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError:
        return {}
    return {str(k): v if isinstance(v, str) else json.dumps(plain(v)) for k, v in request.items()}


def _shape(width: int | None, height: int | None, ratio: str | None) -> float:
    """Width to height of a cell."""
    if width and height:
        return width / height
    across, _, down = (ratio or "").partition(":")
    return int(across) / int(down) if across.isdigit() and down.isdigit() and int(down) else _SQUARE


def _label(tasks: Sequence[dict[str, Any]]) -> None:
    """Name each row by what its clips' names share, and each cell by the rest."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for task in tasks:
        groups.setdefault((task["edition"], task["source"]), []).append(task)
    for group in groups.values():
        names = [task["name"] for task in group]
        shared = os.path.commonprefix(names)  # noqa: RUF071 - of words, not of paths
        row = _WORD_END.split(shared[::-1], maxsplit=1)[-1][::-1] if len(names) > 1 else shared
        for task in group:
            task["row"] = row or task["name"]
            task["label"] = (
                task["name"][len(row) :].lstrip("-_/ ") if len(names) > 1 else task["ratio"] or task["name"]
            )


def _link(path: str, folder: str) -> str:
    """A file below the output root as an address on the page, which lies in `folder`. Never one of a scheme."""
    inside = path.removeprefix(f"{folder}/")
    return quote(f"./{inside}" if inside != path else f"../{path}")


def _next(job: str, counts: Mapping[str, int]) -> list[str]:
    lines = []
    if counts.get("failed"):
        lines.append(command("retry", job, "--failed"))
    if counts.get("unclear"):
        lines.append(command("status", job))
    return lines


def _data(content: Mapping[str, Any]) -> str:
    """JSON that no HTML parser sees an end or a beginning of anything in."""
    text = json.dumps(plain(content), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _part(name: str) -> str:
    return (files("batcher.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
