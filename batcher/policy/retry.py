"""What follows an error: wait, fail, stop the run, or buy another attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batcher.generations import RefusalKind
from batcher.tasks import ErrorCode

if TYPE_CHECKING:
    from random import Random

BASE_S = 1.0
CAP_S = 60.0
LONGEST_WAIT_S = 300.0
"""The most that a provider's Retry-After may ask for, and so the longest wait there is."""
BUSY_BASE_S = 2.0
"""First wait after "slots full". The API's advice is at least 1 s."""


class FailureClass(StrEnum):
    """Why a task failed, as `retry --class` selects it."""

    CONTENT = "content"
    """Moderation. The same prompt will fail again."""
    INVALID = "invalid"
    """A parameter or model is refused."""
    PROVIDER = "provider"
    """The provider failed; another attempt may pass."""
    ASSET = "asset"
    """Finished at the provider, but no usable file could be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Not created: the task waits and goes again under the same id."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """This task ends; the run goes on."""

    failure_class: FailureClass


@dataclass(frozen=True, slots=True)
class StopRun:
    """No task can succeed now. `kind` says why: the key or the funds."""

    kind: RefusalKind


@dataclass(frozen=True, slots=True)
class BuyAgain:
    """Another attempt is allowed and may help."""

    seconds: float


def needs_a_new_id(*, was_accepted: bool, is_unclear: bool) -> bool:
    """Whether another attempt goes under another id. What was never bought keeps its own, and burns nothing."""
    return was_accepted or is_unclear


def backoff_s(failures: int, *, rng: Random, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Seconds to wait after `failures` in a row (from 1): exponential with full jitter above half.

    The jitter keeps tasks that failed together from coming back together.
    """
    ceiling = min(cap_s, base_s * 2.0 ** min(failures - 1, 16))
    return ceiling * (0.5 + rng.random() / 2)


def after_refusal(
    kind: RefusalKind, *, refusals: int, retry_after_s: float | None, rng: Random
) -> Wait | Fail | StopRun:
    """What a believed refusal of a create call means. Nothing was bought in any of these."""
    match kind:
        case RefusalKind.BUSY | RefusalKind.UNAVAILABLE:
            wait = backoff_s(refusals, rng=rng, base_s=BUSY_BASE_S)
            return Wait(seconds=max(wait, retry_after_s or 0.0))
        case RefusalKind.KEY | RefusalKind.FUNDS:
            return StopRun(kind)
        case RefusalKind.CONTENT:
            return Fail(failure_class=FailureClass.CONTENT)
        case RefusalKind.INVALID:
            return Fail(failure_class=FailureClass.INVALID)


MODERATION = ("risk control", "content policy", "content safety", "nsfw", "sensitive", "moderation")
"""`Failure to pass the risk control system` is the one seen live (API notes, 3.4); the rest come from gateways."""


def failure_class(message: str) -> FailureClass:
    """The class of a generation that failed at the provider: its words are all there is, no code comes with them."""
    lowered = message.casefold()
    return FailureClass.CONTENT if any(word in lowered for word in MODERATION) else FailureClass.PROVIDER


def failure(message: str) -> tuple[FailureClass, ErrorCode, str]:
    """What to record of a generation that failed at the provider: class, code, and the reason it gave."""
    kind = failure_class(message)
    code = ErrorCode.MODERATION if kind is FailureClass.CONTENT else ErrorCode.FAILED
    return kind, code, message or "the provider gave no reason"


def after_failure(message: str, *, attempt: int, attempts: int, rng: Random) -> BuyAgain | Fail:
    """What a failed generation means. An attempt is a purchase, so it takes consent (`run.attempts`) and a chance."""
    kind = failure_class(message)
    if kind is FailureClass.PROVIDER and attempt < attempts:
        return BuyAgain(backoff_s(attempt, rng=rng, base_s=5.0))
    return Fail(failure_class=kind)
