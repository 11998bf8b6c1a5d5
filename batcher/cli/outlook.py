"""What lies ahead of a job, for `plan` and `status`: how long it takes, and clips that the provider deletes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batcher.environment import SIMULATOR
from batcher.policy import concurrency
from batcher.policy.forecast import forecast
from batcher.report.views import Unfetched
from batcher.tasks import Status
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.forecast import Forecast
    from batcher.state.queries import Queries

EXPIRING_S = 5 * 86400.0
"""A finished clip not yet downloaded is worth a warning when so little of its 30 days is left."""


def eta(
    state: Queries, scope: str, *, waiting: Mapping[str, int], running: Mapping[str, int], given: int | None
) -> Forecast | None:
    """How long so many of each class take, with `-j` as given. None where nothing is left, or nothing can be said."""
    limit, durations = state.learnt(scope)
    at_once = concurrency.start(given=given, learnt=limit).value
    ahead = forecast(waiting, running, learnt=durations, at_once=at_once)
    # The built-in simulator's times are a fraction of the usual ones, and only it knows which.
    return None if ahead is None or (scope == SIMULATOR and ahead.is_estimate) else ahead


def unfetched(state: Queries, job: str, scope: str) -> Unfetched | None:
    """The clips of a job, of all editions, that are finished and not home, or may be and die soon; or None."""
    clips = state.expiring(job=job, scope=scope)
    finished = sum(clip.status is Status.SUCCEEDED for clip in clips)
    if not clips or not (finished or clips[0].dies_at - time.time() < EXPIRING_S):
        return None
    return Unfetched(
        finished=finished,
        perhaps=len(clips) - finished,
        left_s=clips[0].dies_at - time.time(),
        command=command("collect", job),
    )
