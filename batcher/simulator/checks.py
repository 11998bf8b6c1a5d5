"""Why a create call is not accepted: one function a reason, asked in the order the settings give. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher.simulator import models
from batcher.simulator.replies import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.simulator.generations import Generation
    from batcher.simulator.ledger import Account
    from batcher.simulator.settings import Check, Settings

    Verdict = Generation | Refusal | None
    Judge = Callable[[Account, Mapping[str, Any], Settings, float], Verdict]


def judge(account: Account, request: Mapping[str, Any], settings: Settings, *, now: float) -> Verdict:
    """Return why nothing is created: a refusal, or the generation that has this id already. None: it may be."""
    verdicts = (_CHECKS[check](account, request, settings, now) for check in settings.checks)
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _parameters(_: Account, request: Mapping[str, Any], settings: Settings, __: float) -> Verdict:
    return models.check(request, prompt_limit=settings.prompt_limit)


def _duplicate(account: Account, request: Mapping[str, Any], settings: Settings, _: float) -> Verdict:
    external_id = request.get("external_task_id") or ""
    used = account.external.get(external_id)
    if used is None or settings.used_ids == "create":
        return None
    if settings.used_ids == "return":
        return used
    words = f"External_task_id {external_id} already exists"
    if settings.used_ids == "reword":
        words = f"external_task_id value '{external_id}' is invalid"
    return Refusal(status=400, code=1201, message=words)


def _moderation(_: Account, request: Mapping[str, Any], settings: Settings, __: float) -> Verdict:
    prompt = request.get("prompt", "").lower()
    if any(word in prompt for word in settings.refused_words):
        return Refusal(status=400, code=1301, message="The request was rejected by the content safety policy")
    return None


def _balance(account: Account, request: Mapping[str, Any], settings: Settings, now: float) -> Verdict:
    if settings.balance_units is None:
        return None
    spent = sum(old.units for old in account.generations.values() if old.status(now) != "failed")
    if spent + models.units(request) > settings.balance_units:
        return Refusal(status=429, code=1102, message="Account balance not enough")
    return None


def _slots(account: Account, _: Mapping[str, Any], settings: Settings, now: float) -> Verdict:
    if account.in_flight(now) >= settings.limit:
        return Refusal(status=429, code=1303, message="parallel task over resource pack limit")
    return None


_CHECKS: dict[Check, Judge] = {
    "parameters": _parameters,
    "duplicate": _duplicate,
    "moderation": _moderation,
    "balance": _balance,
    "slots": _slots,
}
