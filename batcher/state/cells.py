"""What the gallery shows of each task, read in one question: its request, its newest attempt's words, its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.state.tables import Tables

_EACH = """
SELECT t.name, t.edition, t.take, t.status, t.prompt, p.request, t.source, t.external_task_id, t.generation_id,
       t.attempt, t.cost_usd, t.cost_is_estimate, t.error_code, t.error_message, t.submitted_at, t.finished_at,
       p.model_name, p.mode, p.duration, p.aspect_ratio,
       v.path, v.bytes, v.seconds, v.width, v.height, v.sha256, v.downloaded_at, i.path AS poster
FROM tasks t JOIN parameters p ON p.id = t.parameters
LEFT JOIN assets v ON v.task = t.id AND v.kind = 'video'
LEFT JOIN assets i ON i.task = t.id AND i.kind = 'poster'
WHERE t.job = ? AND t.scope = ? AND t.status != 'cancelled' AND (t.orphaned = 0 OR v.path IS NOT NULL)
ORDER BY t.edition DESC, t.id
"""


def cells(state: Tables, *, job: str, scope: str) -> Iterator[dict[str, Any]]:
    """A row for each task of a job: the wanted ones, and others whose clip is here. The newest edition first."""
    return state.rows(_EACH, (job, scope))
