"""Looking ids of ours up, proving what a look is worth, and noticing when nobody answers."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from batcher.errors import AuthenticationError, FundsError, UnavailableError
from batcher.generations import Look, RefusalKind, Sight

if TYPE_CHECKING:
    from batcher.runner.session import Session

LIST_PAGES = 4
LIST_SIZE = 500
"""Where the direct look-up is not proved, the newest 2,000 generations are searched for our id."""
PROOF_WAITS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The canary's look-ups: how long visibility may lag before the gateway counts as unable to find ids."""
MAX_PROOFS = 3
"""Looks that fail prove nothing: in bad weather the controls are tried again, so many times a run."""
UNREACHABLE_S = 3600.0
"""A provider that cannot be reached for this long in the middle of a run ends it (exit 69), resumable."""
UNREACHABLE_AT_START_S = 30.0


async def look(s: Session, external_task_id: str) -> Look:
    """Look an id of ours up: directly, and where that shows nothing, in the list."""
    s.looks[external_task_id] += 1
    direct = await s.provider.find_external(external_task_id)
    if direct.sight is Sight.FOUND or s.account.has_list is False:
        return direct
    for page in range(1, LIST_PAGES + 1):
        listing = await s.provider.list(page=page, size=LIST_SIZE)
        if listing.supported is not None and listing.supported != s.account.has_list:
            s.save_account(has_list=listing.supported)
        for generation in listing.generations:
            if generation.external_task_id == external_task_id:
                return Look(sight=Sight.FOUND, generation=generation, detail="in the list")
        if len(listing.generations) < LIST_SIZE:
            break
    return direct


async def prove(s: Session) -> bool | None:
    """Both controls, once a run: a generation of ours is found under its id, and a random id is not.

    They are about the direct look alone: what only the list shows proves nothing of it. None where the looks had
    no answer, so that it may be tried again.
    """
    async with s.proving:
        ours = s.store.control(s.account.scope, s.account.key_fingerprint)
        if s.proof_tried or ours is None:
            return bool(s.account.finds_ids) if s.proof_tried else None
        s.tally["proofs"] += 1
        finds, lag_s = await _try_controls(s, *ours)
        if s.is_leaving or (finds is None and s.tally["proofs"] < MAX_PROOFS):
            return None
        s.proof_tried = True
        s.save_account(finds_ids=bool(finds), used=True, lag_s=max(s.account.lag_s, lag_s))
        return bool(finds)


async def _try_controls(s: Session, external_id: str, generation_id: str) -> tuple[bool | None, float]:
    """Whether both controls pass, None where the looks had no answer; and how long ours took to show, seconds."""
    started, answered = s.clock.monotonic(), False
    for wait in PROOF_WAITS_S:
        if not await s.sleep(wait):
            break
        s.looks[external_id] += 1
        ours = await s.provider.find_external(external_id)
        if ours.generation is not None and ours.generation.id == generation_id:
            lag_s = s.clock.monotonic() - started if wait else 0.0
            nobodys = await s.provider.find_external(f"nobody-{secrets.token_hex(12)}-a1")
            return None if nobodys.sight is Sight.SILENT else nobodys.sight is Sight.ABSENT, lag_s
        answered = answered or ours.sight is not Sight.SILENT
    return False if answered else None, 0.0


def stop_for(s: Session, kind: RefusalKind, message: str) -> None:
    """The account cannot go on: a dead key leaves at once, empty funds still let what is paid come home."""
    if kind is RefusalKind.KEY:
        s.halt_for(
            AuthenticationError(
                f"{s.provider.scope} refuses the key: {message}",
                hint="check COMETAPI_KEY (batcher doctor), then run again; nothing is paid twice",
            )
        )
    else:
        s.halt_for(
            FundsError(
                f"{s.provider.scope} refuses for lack of funds: {message}", hint="top the account up, then run again"
            ),
            leaves=False,
        )


def note_reach(s: Session, seen: Look) -> None:
    """Keep count of whether anybody is there."""
    if seen.answered:
        note_answer(s)
    else:
        note_unreachable(s, seen.detail)


def note_answer(s: Session) -> None:
    s.unreachable_since = None
    s.tally["answered"] += 1


def note_unreachable(s: Session, detail: str) -> None:
    """Keep count of how long nothing could be sent; in the end, say so and leave."""
    now = s.clock.monotonic()
    if s.unreachable_since is None:
        s.unreachable_since = now
    patience = UNREACHABLE_S if s.tally["answered"] else UNREACHABLE_AT_START_S
    if now - s.unreachable_since >= patience:
        s.halt_for(
            UnavailableError(
                f"{s.provider.scope} cannot be reached: {detail}",
                hint="check the network and COMETAPI_BASE_URL, then run again",
            )
        )
