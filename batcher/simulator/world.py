"""The provider's memory and its rules: accounts, slots, ids, timelines. Every method takes `now`; nothing ticks.

Pure but for the journal: what must outlive the process is written there before a method returns.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from batcher.simulator import models
from batcher.simulator.callbacks import Outbox
from batcher.simulator.checks import judge
from batcher.simulator.faults import Fault, Moods
from batcher.simulator.generations import Generation
from batcher.simulator.journal import Journal
from batcher.simulator.ledger import Account, Create, ledger
from batcher.simulator.luck import luck
from batcher.simulator.replies import Refusal
from batcher.simulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SNOWFLAKE_EPOCH_MS = 1_568_028_518_778
_SNOWFLAKE_SHIFT = 21  # keeps ids at 18 digits until 2034
_FIRST_ID = 10**17

_FAILURES = {"fails": "Internal error", "risk-control": "Failure to pass the risk control system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Late:
    """A create call on its way: its client has given up, the provider has not seen it yet."""

    number: int
    account: str
    request: Mapping[str, Any]
    due: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One create call and what came of it: a line of the journal."""

    account: str
    create: Create
    generation: Generation | None = None
    late: _Late | None = None
    settled: int | None = None
    """The number of the late call that this one settles."""


class World:
    """A simulated provider. `World()` lives in memory, `World.open(path)` in a file too."""

    def __init__(self, settings: Settings | None = None, *, journal: Journal | None = None) -> None:
        self.settings = settings or Settings()
        self.moods = Moods(self.settings.faults, self.settings.script, seed=self.settings.seed)
        self.outbox = Outbox(self.settings)
        self._accounts: dict[str, Account] = {}
        self._owners: dict[str, str] = {}
        self._late: dict[int, _Late] = {}
        self._late_count = 0
        self._last_id = _FIRST_ID
        self._journal = journal
        for line in journal.lines() if journal else ():
            self._replay(line)

    @classmethod
    def open(cls, path: Path | None, settings: Settings | None = None) -> World:
        """Open the world kept at `path`, or begin it there; None keeps it in memory.

        Raises BlockingIOError while another process has it, ValueError where the file is no world.
        """
        journal = Journal(path) if path else None
        try:
            return cls(settings, journal=journal)
        except ValueError:
            if journal:
                journal.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        if self._journal:
            self._journal.close()
            self._journal = None

    def create(
        self, account: str, request: Mapping[str, Any], *, now: float, fault: Fault | None = None
    ) -> Generation | Refusal:
        """Judge one create call, and charge it where nothing speaks against it. `fault` may leave its mark."""
        self._advance(now)
        return self._settle(account, request, at=now, fault=fault)

    def divert(self, account: str, request: Mapping[str, Any], fault: Fault, *, now: float) -> None:
        """Write down a create call that `fault` swallows, or holds up for `late_s`."""
        self._advance(now)
        late = None
        outcome = f"refused {fault.refusal.code}" if fault.refusal else "dropped"
        if fault.late:
            outcome = "delayed"
            due = now + self.settings.late_s
            late = _Late(number=self._late_count + 1, account=account, request=request, due=due)
        create = Create(at=now, outcome=outcome, charged=False, fault=fault.name, **_ids(request))
        self._record(_Entry(account=account, create=create, late=late))

    def refuse(self, account: str, request: Mapping[str, Any], refusal: Refusal, *, now: float) -> None:
        """Write down a create call that was not even judged: a bad key, no JSON."""
        create = Create(at=now, outcome=f"refused {refusal.code}", charged=False, **_ids(request))
        self._record(_Entry(account=account, create=create))

    def find(self, account: str, ident: str, *, now: float) -> Generation | Refusal:
        """Look one generation up by its id or its external id."""
        self._advance(now)
        owner = self.account(account)
        found = owner.generations.get(ident)
        if found is None and self.settings.knows_external_ids:
            found = owner.external.get(ident)
            if found and now < found.created_at + self.settings.visible_after_s:
                found = None
        if found is None or found.is_gone(now):
            return Refusal(status=400, code=1201, message=f"Task not found by id/external id: {ident}")
        return found

    def page(self, account: str, *, number: int, size: int, now: float) -> list[Generation]:
        """Return one page of the list, newest first; `number` counts from 1."""
        self._advance(now)
        seen = [
            generation
            for generation in reversed(self.account(account).generations.values())
            if now >= generation.created_at + self.settings.visible_after_s and not generation.is_gone(now)
        ]
        return seen[(number - 1) * size : number * size]

    def generation(self, ident: str) -> Generation | None:
        """Return a generation by its id alone, whoever owns it."""
        owner = self._owners.get(ident)
        return self._accounts[owner].generations[ident] if owner else None

    def account(self, name: str) -> Account:
        """Return the account of that name; it begins with its first request."""
        return self._accounts.setdefault(name, Account(name=name))

    def ledger(self, *, now: float) -> dict[str, Any]:
        """Return what was asked and what was charged, as `ledger.py` describes it."""
        self._advance(now)
        return ledger(self._accounts, now=now)

    # Creating

    def _settle(
        self,
        account: str,
        request: Mapping[str, Any],
        *,
        at: float,
        fault: Fault | None = None,
        late: int | None = None,
    ) -> Generation | Refusal:
        verdict = judge(self.account(account), request, self.settings, now=at)
        new = None if verdict else self._born(account, request, at, mark=fault.mark if fault else "")
        answer = new or verdict
        assert answer
        if isinstance(answer, Refusal):
            outcome, task_id = f"refused {answer.code}", None
        else:
            outcome, task_id = "accepted" if new else "returned", answer.id
        create = Create(
            at=at,
            outcome=outcome,
            charged=new is not None,
            task_id=task_id,
            fault="zombie" if late else fault.name if fault else None,
            **_ids(request),
        )
        self._record(_Entry(account=account, create=create, generation=new, settled=late))
        return answer

    def _born(self, account: str, request: Mapping[str, Any], at: float, *, mark: str) -> Generation:
        snowflake = (int(at * 1000) - _SNOWFLAKE_EPOCH_MS) << _SNOWFLAKE_SHIFT
        ident = str(max(self._last_id + 1, snowflake))
        external_id = request.get("external_task_id") or ""
        queue_s, render_s = self._times_s(request, external_id or len(self._owners), is_slow=mark == "slow-tail")
        failure = _FAILURES.get(mark, "")
        if any(word in request["prompt"].lower() for word in self.settings.failed_words):
            failure = _FAILURES["risk-control"]
        starts_at = at + queue_s
        return Generation(
            id=ident,
            account=account,
            external_id=external_id,
            request=request,
            created_at=at,
            starts_at=starts_at,
            ends_at=None if mark == "never-ends" else starts_at + render_s,
            failure=failure,
            units=models.units(request),
            mark=mark,
        )

    def _times_s(self, request: Mapping[str, Any], subject: object, *, is_slow: bool) -> tuple[float, float]:
        """Return how long a generation waits and renders, in real seconds."""
        if self.settings.generation_s is not None:
            return 0.0, self.settings.generation_s * (models.TAIL if is_slow else 1)
        rng = luck(self.settings.seed, "times", subject)
        queue_s, render_s = models.times_s(request, rng, slow=is_slow)
        return queue_s * self.settings.time_scale, render_s * self.settings.time_scale

    def _advance(self, now: float) -> None:
        """Let in the create calls that were on their way until now."""
        for late in sorted(self._late.values(), key=lambda late: late.due):
            if late.due <= now:
                self._settle(late.account, late.request, at=late.due, late=late.number)

    # Remembering

    def _record(self, entry: _Entry) -> None:
        """Write an entry down, then make it true."""
        if self._journal:
            # A refusal changes nothing that matters: it need not wait for the disk.
            self._journal.append(asdict(entry), durable=bool(entry.generation or entry.late))
        self._apply(entry)

    def _replay(self, line: dict[str, Any]) -> None:
        try:
            entry = _Entry(
                account=line["account"],
                create=Create(**line["create"]),
                generation=Generation(**line["generation"]) if line["generation"] else None,
                late=_Late(**line["late"]) if line["late"] else None,
                settled=line["settled"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a line of a simulated world: {str(line)[:80]}") from error
        self._apply(entry)

    def _apply(self, entry: _Entry) -> None:
        account = self.account(entry.account)
        account.creates.append(entry.create)
        if entry.generation:
            account.add(entry.generation)
            self._owners[entry.generation.id] = entry.account
            self._last_id = int(entry.generation.id)
        if entry.late:
            self._late[entry.late.number] = entry.late
            self._late_count = entry.late.number
        if entry.settled:
            del self._late[entry.settled]


def _ids(request: Mapping[str, Any]) -> dict[str, str]:
    external_id = request.get("external_task_id")
    return {"external_task_id": external_id if isinstance(external_id, str) else ""}
