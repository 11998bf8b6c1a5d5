"""Which tasks a command is about, as a value and as an SQL condition. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from batcher.errors import UsageError
from batcher.tasks import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks a command is about."""

    job: str | None = None
    edition: str | None = None
    scope: str | None = None
    include: tuple[str, ...] = ()
    """Selectors: a name glob, `status:WORD` or `id:ID` (ours or the provider's). Any of them is enough."""
    exclude: tuple[str, ...] = ()
    ids: tuple[int, ...] | None = None
    """Only these rows."""
    orphaned: bool = False
    """Whether tasks that the manifest no longer names count."""

    @property
    def is_whole(self) -> bool:
        """Whether the counters can say all of it: no task is picked by itself."""
        return self.ids is None and not self.include and not self.exclude

    def counted(self) -> tuple[str, list[Any]]:
        """An SQL condition over what tasks and their counters share, and its parameters."""
        terms, values = [], []
        for column, value in (("scope", self.scope), ("job", self.job), ("edition", self.edition)):
            if value is not None:
                terms.append(f"{column} = ?")
                values.append(value)
        if not self.orphaned:
            terms.append("orphaned = 0")
        return " AND ".join(terms) or "1", values

    def where(self) -> tuple[str, list[Any]]:
        """An SQL condition over `tasks` and its parameters."""
        term, values = self.counted()
        terms = [term]
        if self.ids is not None:
            terms.append("id IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(self.ids))
        if self.include:
            terms.append("(" + " OR ".join(_term(s, values) for s in self.include) + ")")
        terms.extend(f"NOT {_term(selector, values)}" for selector in self.exclude)
        return " AND ".join(terms), values


def _term(selector: str, values: list[Any]) -> str:
    kind, colon, word = selector.partition(":")
    if colon and kind == "status":
        if word not in list(Status):
            raise UsageError(f"-s {selector}: no such status", hint=f"one of {', '.join(Status)}")
        values.append(word)
        return "(status = ?)"
    if colon and kind == "id":
        values.extend((word, word))
        return "(external_task_id = ? OR generation_id IS ?)"  # with `=` a NULL would be outside of NOT, too
    values.append(selector.replace("[!", "[^"))  # a shell takes either
    return "(name GLOB ?)"
