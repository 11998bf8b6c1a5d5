"""`batcher doctor --probe`: does this gateway refuse an id that was used? The one question that looks cannot answer.

It sends the newest accepted submission once more, under the id it had. Kling refuses that and charges nothing (seen
2026-09-22); a gateway that does not would make the clip again, so nobody is asked without the flag.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batcher.connect import open_batch
from batcher.errors import BatcherError
from batcher.generations import Fate

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.environment import Endpoint, Environment
    from batcher.generations import Posted


async def probe(state: Path, environment: Environment, endpoint: Endpoint) -> str:
    """Ask, remember the answer in the account, and say what it means.

    Raises `BatcherError` where nothing could be learnt, or where the gateway sells a used id again.
    """
    async with open_batch(state, endpoint=endpoint, environment=environment) as batch:
        store = batch.store
        account = store.account(endpoint.scope, endpoint.fingerprint)
        control = store.control(endpoint.scope, endpoint.fingerprint)
        if account is None or control is None:
            raise BatcherError(
                "nothing was accepted with this key yet, so there is no used id to ask about",
                hint="run one clip first: batcher run MANIFEST --limit 1",
            )
        if account.refuses_ids:
            return MEANS_SAFE
        external_id, generation_id = control
        posted = await batch.provider.create(store.task_of(external_id).request, external_task_id=external_id)
        if not refuses(posted, generation_id):
            raise _unlike_kling(posted, external_id)
        store.save_account(replace(account, refuses_ids=True), now=batch.clock.now())
        return MEANS_SAFE


MEANS_SAFE = "used ids are refused: a call whose answer is lost can be sent again without paying twice"


def refuses(posted: Posted, generation_id: str) -> bool:
    """Whether the answer proves that a used id buys nothing: refused, or answered with the old generation. Pure."""
    if posted.fate is Fate.ACCEPTED:
        return posted.generation is not None and posted.generation.id == generation_id
    return posted.fate is Fate.EXISTS


def _unlike_kling(posted: Posted, external_id: str) -> BatcherError:
    if posted.generation is not None:
        return BatcherError(
            f"a used id was sold again: generation {posted.generation.id} was made for {external_id} once more",
            hint="keep every state and output folder: here only looks protect from paying twice",
        )
    return BatcherError(
        f"the answer proves nothing ({posted.detail or posted.fate})", hint="try again later: batcher doctor --probe"
    )
