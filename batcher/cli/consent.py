"""Getting consent to spend: a flag, a budget, or a person's word. Simulated runs need none."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from batcher.errors import UsageError
from batcher.text import human_usd

if TYPE_CHECKING:
    from batcher.bill import Bill
    from batcher.environment import Endpoint

ASK_ABOVE_USD = 1.0


def ask(bill: Bill, *, endpoint: Endpoint, has_consent: bool, may_ask: bool, where: str = "") -> None:
    """Say that a run is paid, and get consent above a dollar.

    Raises `UsageError` where consent is missing and nobody can be asked, click's Abort for a "no".
    """
    if endpoint.is_simulated or not bill.tasks:
        return
    cost = bill.usd
    words = f"up to {bill.tasks} clip{'s' * (bill.tasks > 1)}, estimated {human_usd(cost)}"
    words += f" and {bill.unknown} of unknown price" if bill.unknown else ""
    with suppress(OSError):  # a full disk under a log file: consent stands elsewhere
        click.echo(f"This run is PAID: {words} on {endpoint.scope}.", err=True)
    if has_consent:
        return
    if not may_ask:
        raise UsageError(
            f"this run would spend {words}, and there is nobody to ask; nothing was sent",
            hint=f"add  -y  or  --max-usd {cost + 0.01:.2f}{where}",
        )
    if cost > ASK_ABOVE_USD or bill.unknown:
        click.confirm("Go on?", abort=True, err=True)
