"""The product's side of the model: its own pure functions, and in small what the runner and the state do around them.

A mutant is a subclass that drops one rule.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from random import Random
from typing import NamedTuple

from batcher import recall
from batcher.generations import Fate, Look, Posted
from batcher.http import Reply
from batcher.identity import derive_namespace, external_task_id
from batcher.policy import retry
from batcher.policy import submission as protocol
from batcher.policy.submission import Action, Evidence
from batcher.providers.kling import parse_create, parse_find
from batcher.state.planning import Used
from batcher.state.rows import Attempt
from batcher.tasks import NEXT, Status, Task

NAMESPACE = derive_namespace("sk-0123456789abcdef")
IDS = [external_task_id(job="autumn", content="c0ffee", namespace=NAMESPACE, attempt=n) for n in range(6)]


def _reply(status: int, **content: object) -> Reply:
    return Reply(status=status, body=json.dumps(content).encode() if content else b"")


REPLIES = {
    "taken": _reply(200, code=0, data={"task_id": "845", "task_status": "submitted"}),
    "lost": _reply(504),
    "exists": _reply(400, code=1201, message="external_task_id autumn-1-a1 already exists"),
    "check": _reply(400, code=1201, message="invalid request"),
    "field": _reply(400, code=1201, message="mode value 'std' is invalid"),
    "content": _reply(400, code=1301, message="risk control"),
    "busy": _reply(429, code=1303, message="parallel task over resource pack limit"),
    "funds": _reply(429, code=1102, message="account balance not enough"),
}
"""What a create call may be answered with, byte for byte."""


def looked(name: str, external_id: str) -> Look:
    """The look that a reply amounts to."""
    if name == "unreachable":
        return Look(sight=protocol.Sight.SILENT, answered=False)
    echo = {"task_info": {"external_task_id": external_id}} if name == "found" else {}
    found = {"task_id": "845", "task_status": "submitted", **echo}
    reply = {
        "found": _reply(200, code=0, data=found),
        "nameless": _reply(200, code=0, data=found),
        "absent": _reply(400, code=1201, message="Task not found"),
        "deaf": _reply(404, code=1202, message="no such path"),
        "trouble": _reply(503),
    }[name]
    return parse_find(reply, external_id, external=True)


MOST_POSTS = 12
"""A mutant that sends without end is counted no further, and so seen to go round. The product makes fewer."""


class Row(NamedTuple):
    """What the state file says of the task: its row, and how many calls it counted of each attempt."""

    status: Status = Status.PENDING
    attempt: int = 1
    posts: tuple[int, ...] = ()
    accepted: int = 0
    """The newest attempt that was accepted."""
    is_written: bool = True
    """False: the row was claimed, and nothing of that is on disk."""

    def counted(self, number: int) -> int:
        return self.posts[number - 1] if number <= len(self.posts) else 0

    def counting(self, number: int, posts: int) -> Row:
        padded = self.posts + (0,) * (number - len(self.posts))
        return self._replace(posts=(*padded[: number - 1], min(posts, MOST_POSTS), *padded[number:]))

    def to(self, status: Status) -> Row:
        """Only where the product allows it. A mutant that writes no intent goes on from `pending`, as if it had."""
        came_from = self.status if self.is_written else Status.SUBMITTING
        assert status in NEXT[came_from], f"{came_from} to {status}"
        return self._replace(status=status, is_written=True)


class Product:
    """The rules. All that decides is the product's own."""

    writes_intent = True
    writes_receipts = True

    # ---- what is known ----------------------------------------------------------------------------------------

    def fresh(self, row: Row, *, refuses_ids: bool) -> Evidence:
        return protocol.fresh(posts=row.counted(row.attempt), refuses_ids=refuses_ids)

    def inherited(self, row: Row, *, refuses_ids: bool, is_foreign: bool) -> Evidence:
        posts = row.counted(row.attempt) or 1
        return protocol.inherited(posts=posts, refuses_ids=refuses_ids, is_foreign=is_foreign)

    def posted(self, name: str) -> Posted:
        return Posted(fate=Fate.NOT_SENT) if name == "unsent" else parse_create(REPLIES[name])

    def decide(self, e: Evidence) -> Action:
        return protocol.decide(e)

    def may_be_sent(self, e: Evidence) -> bool:
        """Whether a run that leaves now keeps the task as sent."""
        return e.may_be_sent

    def new_id(self, e: Evidence) -> bool:
        """Whether what comes next goes under a new id. Never, here."""
        return False

    # ---- what follows -----------------------------------------------------------------------------------------

    def believed(self, e: Evidence) -> Status:
        """Where the row goes once nothing was created."""
        if e.refusal is None or e.fate is Fate.AMBIGUOUS:
            return Status.FAILED
        decision = retry.after_refusal(e.refusal, refusals=1, retry_after_s=None, rng=Random(0))
        return Status.FAILED if isinstance(decision, retry.Fail) else Status.PENDING

    def next_attempt(self, row: Row) -> Row:
        renews = retry.needs_a_new_id(
            was_accepted=row.accepted == row.attempt, is_unclear=row.status is Status.UNCLEAR
        )
        return row._replace(attempt=row.attempt + renews).to(Status.PENDING)

    def buys_again(self, row: Row, attempts: int) -> bool:
        """What a generation that failed at the provider leads to."""
        decision = retry.after_failure("internal error", attempt=row.attempt, attempts=attempts, rng=Random(0))
        return isinstance(decision, retry.BuyAgain)

    # ---- what the state and the output folder do ----------------------------------------------------------------

    def claim(self, row: Row) -> Row:
        """The row once it is claimed, as it is on disk."""
        if not self.writes_intent:
            return row._replace(is_written=False)
        return row.counting(row.attempt, row.counted(row.attempt) + 1).to(Status.SUBMITTING)

    def receipt(self, row: Row, lines: int) -> int:
        """How many calls the folder knows of after one more receipt, where it knew of `lines`."""
        return min(MOST_POSTS, max(lines + 1, row.counted(row.attempt)))

    def opened(self, row: Row | None, receipts: tuple[int, ...]) -> Row:
        """The row at the start of a run, held against the receipts. None where the state has no such row."""
        number = max((n for n, posts in enumerate(receipts, 1) if posts), default=0)
        if not number:
            return row._replace(is_written=True) if row else Row()
        used = Used(external_task_id=IDS[number], attempt=number, posts=receipts[number - 1], account="")
        if row is None:
            return Row(Status.SUBMITTING, attempt=number).counting(number, used.posts)
        row = row._replace(is_written=True)
        if not self.is_behind(row, used):
            return row
        counted = row.counted(number)
        posts = max(counted + 1, used.posts) if counted else used.posts
        return row._replace(status=Status.SUBMITTING, attempt=number).counting(number, posts)

    def is_behind(self, row: Row, used: Used) -> bool:
        return _is_behind(row, used)


@cache
def _is_behind(row: Row, used: Used) -> bool:
    task = replace(TASK, status=row.status, attempt=row.attempt, external_task_id=IDS[row.attempt])
    posts = row.counted(row.attempt)
    attempt = replace(ATTEMPT, external_task_id=IDS[row.attempt], posts=posts) if posts else None
    return recall.is_behind(task, attempt, used)


TASK = Task(
    id=1,
    job="autumn",
    name="fox",
    edition="",
    take="1",
    scope="cometapi",
    content_hash="c0ffee",
    status=Status.PENDING,
    external_task_id=IDS[1],
    request={},
    source="",
    priority=0,
    output="",
    attempt=1,
    attempts_allowed=1,
    generation_id=None,
    cost_usd=None,
    cost_is_estimate=True,
    error_class=None,
    error_code=None,
    error_message=None,
    not_before=None,
    created_at="",
    submitted_at=None,
    finished_at=None,
    overdue=False,
    orphaned=False,
)
ATTEMPT = Attempt(
    external_task_id=IDS[1],
    number=1,
    status=Status.PENDING,
    generation_id=None,
    posts=1,
    refusals=0,
    inherited=False,
    submitted_at=None,
    key_fingerprint="",
    asset_url=None,
    asset_expires_at=None,
)
