"""Callbacks for one run: its address, a receiver where nobody else is one, and the hints as they come."""

from __future__ import annotations

import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

from batcher.callbacks.address import full_url, own_port, with_port
from batcher.callbacks.app import create_app
from batcher.callbacks.handover import Inbox, Outbox
from batcher.callbacks.server import Receiver
from batcher.callbacks.signature import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

ASK_S = 2.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What a run needs to know of its callbacks."""

    url: str
    """For the create calls. Its end is a secret."""
    pass_on: Callable[[Callable[[str], object]], Coroutine[None, None, None]] | None
    """Gives each hint to a function, for ever. None: nobody listens, so polling is on its own."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


@contextmanager
def listen(state: Path, *, given: str, token: str, port: int | None, secret: str | None) -> Iterator[Callbacks]:
    """Take hints while the context lasts; the caller holds the state's lock.

    `given` is the address as a person wrote it, `port` what they want listened on (None: the address's own, where
    that is this machine). Trouble is a note and not an error: a run can do without callbacks. Raises `UsageError`
    for an address that cannot be.
    """
    url = full_url(given, token)
    wanted = own_port(url) if port is None else port
    with ExitStack() as stack:
        try:
            inbox = Inbox(state)
        except OSError as exc:
            note = f"no callbacks, only polling: no socket can be made beside {state} ({exc.strerror or exc})"
            yield Callbacks(url=url, pass_on=None, notes=(note,))
            return
        stack.callback(inbox.close)
        notes: list[str] = []
        if wanted is not None:
            outbox = Outbox(state)
            stack.callback(outbox.close)
            verifier = Verifier(secret) if secret else None
            app = create_app(token=lambda: token, take=outbox.send_all, verifier=verifier)
            try:
                receiver = stack.enter_context(Receiver(app, port=wanted))
                url = with_port(url, receiver.port)
            except OSError as exc:
                if not _is_served(wanted, token):
                    notes.append(
                        f"no callbacks, only polling: port {wanted} cannot be listened on ({exc});"
                        " BATCHER_CALLBACK_PORT names another"
                    )
        yield Callbacks(url=url, pass_on=inbox.pass_on, notes=tuple(notes))


def _is_served(port: int, token: str) -> bool:
    """Whether the one who listens there knows our token, as `batcher serve` on this state does."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/callback/{token}", data=b"{}")
    try:
        with _OPENER.open(request, timeout=ASK_S) as reply:
            return bool(reply.status == 204)
    except (OSError, HTTPException):
        return False
