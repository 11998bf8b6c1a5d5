"""Tasks as a table, for spreadsheets and data tools: which columns, and how a value is written. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batcher.text import spreadsheet_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = (
    "job",
    "edition",
    "name",
    "take",
    "status",
    "prompt",
    "model_name",
    "mode",
    "duration",
    "aspect_ratio",
    "parameters",
    "file",
    "bytes",
    "seconds",
    "width",
    "height",
    "sha256",
    "source",
    "external_task_id",
    "task_id",
    "attempt",
    "cost_usd",
    "cost_is_estimate",
    "submitted_at",
    "finished_at",
    "downloaded_at",
    "error_code",
    "error_message",
    "simulated",
)
"""In this order; new ones may come at the end. `file` is relative to the working directory where it lies below it."""


def record(row: Mapping[str, Any], *, job: str, file: str | None, simulated: bool) -> dict[str, Any]:
    """One task as an object: what JSON Lines hold."""
    try:
        parameters = json.loads(row["request"])
    except ValueError:
        parameters = {}
    told = dict(row) | {
        "job": job,
        "file": file,
        "parameters": parameters,
        "task_id": row["generation_id"],
        "cost_is_estimate": bool(row["cost_is_estimate"]),
        "simulated": simulated,
    }
    return {name: told[name] for name in COLUMNS}


def spreadsheet_row(of: Mapping[str, Any]) -> list[Any]:
    """The same as the cells of a CSV row: nothing in them is a formula, and what is not known is empty."""
    return [_cell(of[name]) for name in COLUMNS]


def _cell(value: Any) -> Any:
    match value:
        case str():
            return spreadsheet_cell(value)
        case bool():
            return str(value).lower()
        case dict():
            return json.dumps(value, ensure_ascii=False)
    return value
