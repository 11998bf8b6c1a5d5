"""What a manifest wants, beside the state it is compared with: in a file without a name, gone when it is closed.

The state is only read. A million tasks lie on disk, not in memory, and what is new, known, orphaned and what it costs
are questions to SQLite.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.catalog import class_of
from batcher.identity import content_hash
from batcher.state.file import storage_errors
from batcher.state.rows import Line
from batcher.state.slim import shared
from batcher.tasks import Status, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from batcher.state.queries import Queries
    from batcher.tasks import Task

CHUNK = 1000
_MOST_SHARED = 10_000
"""Parameters whose rows are remembered while tasks are added."""

_ATTACHED = "planned"
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(slots=True, kw_only=True)  # not frozen: a million are made
class Wanted:
    """One task to add: what the manifest says, where its files go, what it may cost."""

    spec: TaskSpec
    output: str
    """Below the output root, without extension."""
    price_usd: float | None
    price_is_estimate: bool


class Plan:
    """The tasks that one manifest wants in one edition. Close it: until then it takes room on disk."""

    _numbers = count(1)

    def __init__(self, state: Queries, *, job: str, edition: str, scope: str) -> None:
        """Nothing is wanted yet. `state` must live as long as this."""
        self.job, self.edition, self.scope = job, edition, scope
        self.table = f"{_ATTACHED}.wanted{next(self._numbers)}"
        self.shared = f"{self.table}_shared"
        self._state, self._db = state, state.connection
        self._numbers_of: dict[Any, int] = {}
        with _temporary():
            if not any(row[1] == _ATTACHED for row in self._db.execute("PRAGMA database_list")):
                self._db.execute(f"ATTACH '' AS {_ATTACHED}")
                self._db.execute(f"PRAGMA {_ATTACHED}.journal_mode = OFF")
                self._db.execute(f"PRAGMA {_ATTACHED}.synchronous = OFF")
            self._db.execute(
                f"CREATE TABLE {self.table} (seq INTEGER PRIMARY KEY, content BLOB, known INTEGER, name TEXT,"
                " take TEXT, prompt TEXT, shared INTEGER, variables TEXT, source TEXT, priority INTEGER,"
                " output TEXT, cost_usd REAL, estimated INTEGER)"
            )
            self._db.execute(
                f"CREATE TABLE {self.shared} (id INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, class TEXT)"
            )
            self.is_first = not self._one("SELECT EXISTS (SELECT 1 FROM tasks)")

    def close(self) -> None:
        """Give the room on disk back."""
        with suppress(Exception):  # what is left goes with the connection
            self._db.execute(f"DROP TABLE IF EXISTS {self.table}")
            self._db.execute(f"DROP TABLE IF EXISTS {self.shared}")
            if not self._one(f"SELECT count(*) FROM {_ATTACHED}.sqlite_master WHERE type = 'table'"):
                self._db.execute(f"DETACH {_ATTACHED}")

    # ---- filling it -----------------------------------------------------------------------------------------

    def extend(self, wanted: Iterable[Wanted]) -> None:
        """Want these too, in their order."""
        known = "NULL" if self.is_first else "(SELECT id FROM tasks WHERE content_hash = ?1)"
        statement = (
            f"INSERT INTO {self.table} (content, known, name, take, prompt, shared, variables, source, priority,"
            f" output, cost_usd, estimated) VALUES (?1, {known}, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        )
        each = iter(wanted)
        while part := list(islice(each, CHUNK)):
            with _temporary():
                self._db.execute("SAVEPOINT planned_chunk")  # a row by itself would be a transaction by itself
                try:
                    self._db.executemany(statement, [self._row(one) for one in part])
                finally:
                    self._db.execute("RELEASE planned_chunk")

    def _row(self, wanted: Wanted) -> tuple[Any, ...]:
        spec = wanted.spec
        return (
            bytes.fromhex(content_hash(spec, scope=self.scope)),
            spec.name,
            spec.take,
            spec.request.get("prompt", ""),
            self._share(spec.request),
            _ENCODE(dict(spec.variables)) if spec.variables else "{}",
            spec.source,
            spec.priority,
            wanted.output,
            wanted.price_usd,
            wanted.price_is_estimate,
        )

    def _share(self, request: Mapping[str, Any]) -> int:
        """The number of what a request holds beside its prompt."""
        others = [(k, v) for k, v in request.items() if k != "prompt"]
        key: Any = (*others, *[type(v) for _, v in others])  # 1 and True are equal, and not the same
        try:
            if number := self._numbers_of.get(key):
                return number
        except TypeError:  # a list or a mapping
            key = None
        text = shared(dict(request))
        self._db.execute(
            f"INSERT INTO {self.shared} (request, class) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (text, class_of(request)),
        )
        number = int(self._one(f"SELECT id FROM {self.shared} WHERE request = ?", (text,)))
        if key is not None:
            if len(self._numbers_of) >= _MOST_SHARED:
                self._numbers_of.clear()
            self._numbers_of[key] = number
        return number

    def keep(self, contents: Iterable[str]) -> None:
        """Want nothing but these."""
        kept = {bytes.fromhex(content) for content in contents}
        gone = [
            (row["seq"],) for row in self._ask(f"SELECT seq, content FROM {self.table}") if row["content"] not in kept
        ]
        with _temporary():
            self._db.executemany(f"DELETE FROM {self.table} WHERE seq = ?", gone)

    def found(self, content: str, task_id: int) -> None:
        """This one is no longer new: the state has it as that task."""
        self._db.execute(f"UPDATE {self.table} SET known = ? WHERE content = ?", (task_id, bytes.fromhex(content)))

    # ---- asking it ------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many tasks are wanted."""
        return int(self._one(f"SELECT count(*) FROM {self.table}"))

    @property
    def new_size(self) -> int:
        """How many of them the state does not know."""
        return int(self._one(f"SELECT count(*) FROM {self.table} WHERE known IS NULL"))

    def hashes(self) -> list[str]:
        """The content hash of each, in their order."""
        return [row["content"].hex() for row in self._ask(f"SELECT content FROM {self.table} ORDER BY seq")]

    def wanted(self, *, new: bool = False, limit: int = -1) -> Iterator[Wanted]:
        """Each of them, or of the new ones, in their order."""
        some = " WHERE known IS NULL" if new else ""
        for row in self._ask(
            f"SELECT w.*, s.request FROM {self.table} w JOIN {self.shared} s ON s.id = w.shared{some}"
            " ORDER BY seq LIMIT ?",
            (limit,),
        ):
            yield Wanted(
                spec=TaskSpec(
                    job=self.job,
                    name=row["name"],
                    edition=self.edition,
                    take=row["take"],
                    request={"prompt": row["prompt"], **json.loads(row["request"])},
                    source=row["source"],
                    priority=row["priority"],
                    output=row["output"],
                    variables=json.loads(row["variables"]),
                ),
                output=row["output"],
                price_usd=row["cost_usd"],
                price_is_estimate=bool(row["estimated"]),
            )

    def names(self) -> Iterator[str]:
        """What each is called."""
        return (row["name"] for row in self._ask(f"SELECT name FROM {self.table} ORDER BY seq"))

    def known(self, *statuses: Status, limit: int = -1) -> Iterator[Task]:
        """The tasks that the state has of them."""
        if self.is_first:
            return iter(())
        marks = f" AND t.status IN ({', '.join('?' * len(statuses))})" if statuses else ""
        return self._state.stream(
            f"SELECT t.* FROM {self.table} w JOIN tasks t ON t.id = w.known WHERE w.known > 0{marks}"
            " ORDER BY w.seq LIMIT ?",
            (*statuses, limit),
        )

    def counts(self) -> dict[str, int]:
        """How many of the known ones have which status."""
        rows = self._ask(
            f"SELECT t.status, count(*) AS n FROM {self.table} w JOIN tasks t ON t.id = w.known WHERE w.known > 0"
            " GROUP BY t.status"
        )
        return {} if self.is_first else {row["status"]: row["n"] for row in rows}

    def orphans(self, *, limit: int = -1) -> Iterator[Task]:
        """Tasks of the edition that are not wanted. A reroll was never in a manifest: it is none."""
        return self._state.stream(
            f"SELECT * FROM tasks WHERE {self.orphaned} ORDER BY id LIMIT ?", (*self.key, limit)
        )

    def orphans_size(self) -> int:
        """How many these are."""
        return 0 if self.is_first else int(self._one(f"SELECT count(*) FROM tasks WHERE {self.orphaned}", self.key))

    @property
    def key(self) -> tuple[str, str, str]:
        return self.scope, self.job, self.edition

    @property
    def orphaned(self) -> str:
        """The condition over `tasks` for those of the edition (`key`) that are not wanted."""
        return (
            "scope = ? AND job = ? AND edition = ? AND take NOT GLOB 'r*'"
            f" AND id NOT IN (SELECT known FROM {self.table} WHERE known > 0)"
        )

    def prices(self, chosen: str, values: tuple[Any, ...], *, limit: int | None) -> Counter[Line]:
        """How many of which class would be submitted at which price: new ones, and those that wait.

        `chosen` is a condition over `name`; at most `limit` are counted.
        """
        waiting = (
            ""
            if self.is_first
            else " UNION ALL SELECT t.name, c.class, t.cost_usd, t.cost_is_estimate"
            f" FROM {self.table} w JOIN tasks t ON t.id = w.known JOIN classes c ON c.id = t.class"
            " WHERE w.known > 0 AND t.status = 'pending'"
        )
        rows = self._ask(
            "SELECT class, cost_usd, estimated, count(*) AS n FROM (SELECT * FROM ("
            f"SELECT name, s.class, cost_usd, estimated FROM {self.table} w JOIN {self.shared} s ON s.id = w.shared"
            f" WHERE known IS NULL{waiting}) WHERE {chosen} LIMIT ?) GROUP BY class, cost_usd, estimated",
            (*values, -1 if limit is None else limit),
        )
        return Counter({Line(row["class"], row["cost_usd"], bool(row["estimated"])): row["n"] for row in rows})

    def _ask(self, statement: str, parameters: tuple[Any, ...] = ()) -> Iterator[dict[str, Any]]:
        return self._state.rows(statement, parameters)

    def _one(self, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
        with storage_errors(self._state.path):
            return self._db.execute(statement, parameters).fetchone()[0]


def _temporary() -> AbstractContextManager[None]:
    """A full disk is not the state's here."""
    return storage_errors(Path(tempfile.gettempdir()))
