"""What the provider was asked, by account: the judge in tests. Pure.

`GET /_ledger` answers:

    {"schema": 1, "time": 1795377600.0,
     "totals": {"creates": 3, "charged": 2, "units": 4.0, "generations": 2, "looks": 9, "lists": 0, "downloads": 2,
                "asset_bytes": 96416, "requests": 12, "max_in_flight": 2, "in_flight": 0, "leaks": 0, "twice": []},
     "accounts": {"account-5e884898da28": {          <- a hash of the key, never the key
        "creates": [{"at": 1795377590.1, "external_task_id": "demo-...-a1", "outcome": "accepted",
                     "charged": true, "task_id": "867283741759111202", "fault": null}, ...],
        "generations": [{"task_id": "...", "external_task_id": "...", "prompt": "...", "status": "succeed",
                         "charged": true, "units": 2.0, "created_at": 1795377590.1, "downloads": 1}, ...],
        "charged": 2, "units": 4.0, "looks": 9, "lists": 0, "downloads": 2,
        "asset_bytes": 96416, "requests": 12,
        "in_flight": 0, "max_in_flight": 2, "twice": [],
        "leaks": [{"at": ..., "path": "/assets/...", "headers": ["authorization"]}]}}}

`outcome` is `accepted`, `refused 1303` (the code), `returned`, `delayed` (a zombie: a second line follows when it is
created), or `dropped` (a fault that creates nothing). `charged` counts generations created, failed ones included.
`twice` names the external ids charged more than once. Creates and generations outlive the process; the counts of
looks, lists, downloads, asset bytes (of clips, as they were given to the connection), requests and leaks begin with
it. `max_in_flight` is the peak of slots held.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batcher.simulator.generations import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """One create call that reached the provider, or one zombie's late birth."""

    at: float
    external_task_id: str
    outcome: str
    charged: bool
    task_id: str | None = None
    fault: str | None = None


@dataclass(slots=True, kw_only=True)
class Account:
    """Everything one key owns."""

    name: str
    generations: dict[str, Generation] = field(default_factory=dict)
    external: dict[str, Generation] = field(default_factory=dict)
    """The newest generation of each external id."""
    live: list[Generation] = field(default_factory=list)
    """Those that held a slot when last counted."""
    creates: list[Create] = field(default_factory=list)
    downloads: Counter[str] = field(default_factory=Counter)
    """By generation."""
    leaks: list[dict[str, Any]] = field(default_factory=list)
    asset_bytes: int = 0
    looks: int = 0
    lists: int = 0
    requests: int = 0
    max_in_flight: int = 0

    def in_flight(self, now: float) -> int:
        """Count the slots held."""
        self.live = [generation for generation in self.live if generation.is_live(now)]
        return len(self.live)

    def add(self, generation: Generation) -> None:
        """Own `generation` from now on."""
        self.generations[generation.id] = generation
        if generation.external_id:
            self.external[generation.external_id] = generation
        self.live.append(generation)
        self.max_in_flight = max(self.max_in_flight, self.in_flight(generation.created_at))


_SUMMED = (
    "creates",
    "charged",
    "units",
    "generations",
    "looks",
    "lists",
    "downloads",
    "asset_bytes",
    "requests",
    "leaks",
    "in_flight",
)


def ledger(accounts: dict[str, Account], *, now: float) -> dict[str, Any]:
    """Return the document described above."""
    pages = {name: _page(account, now) for name, account in accounts.items()}
    totals: dict[str, Any] = {key: sum(_size(page[key]) for page in pages.values()) for key in _SUMMED}
    totals["max_in_flight"] = max((page["max_in_flight"] for page in pages.values()), default=0)
    totals["twice"] = sorted(name for page in pages.values() for name in page["twice"])
    return {"schema": 1, "time": now, "totals": totals, "accounts": pages}


def _size(value: list[Any] | float) -> float:
    return len(value) if isinstance(value, list) else value


def _page(account: Account, now: float) -> dict[str, Any]:
    charged = Counter(create.external_task_id for create in account.creates if create.charged)
    return {
        "creates": [asdict(create) for create in account.creates],
        "generations": [_entry(account, generation, now) for generation in account.generations.values()],
        "charged": charged.total(),
        "twice": sorted(name for name, times in charged.items() if name and times > 1),
        "units": sum(generation.units for generation in account.generations.values()),
        "looks": account.looks,
        "lists": account.lists,
        "downloads": account.downloads.total(),
        "asset_bytes": account.asset_bytes,
        "requests": account.requests,
        "in_flight": account.in_flight(now),
        "max_in_flight": account.max_in_flight,
        "leaks": account.leaks,
    }


def _entry(account: Account, generation: Generation, now: float) -> dict[str, Any]:
    return {
        "task_id": generation.id,
        "external_task_id": generation.external_id,
        "prompt": generation.request.get("prompt", ""),
        "status": generation.status(now),
        "charged": True,
        "units": generation.units,
        "created_at": generation.created_at,
        "downloads": account.downloads[generation.id],
    }
