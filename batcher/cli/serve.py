"""`batcher serve`: receive callbacks for the run on this state."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

from batcher.cli.common import Shared, is_terminal, shared_options, stop_on_signals
from batcher.errors import BatcherError, ConfigurationError
from batcher.text import printable
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.callbacks.handover import Outbox
    from batcher.state.awaited import Awaited


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port to listen on.")
@click.option(
    "--public-url", metavar="URL", help="How the provider reaches this: https://host, of a proxy before it."
)
@shared_options
def serve(shared: Shared, *, host: str, port: int, public_url: str | None) -> int:
    """Receive the provider's callbacks, for the run on this state.

    POST /callback/TOKEN wakes the run, which then looks for itself: of what is posted only an id is read, and with
    BATCHER_WEBHOOK_SECRET in the environment only what is signed. Give  run --callback-url URL  the address that is
    printed, or only its beginning. GET /healthz answers as long as this lives.

    The state is only read. A run needs no serve to go on: without callbacks it polls.
    """
    from batcher.callbacks.address import PATH, full_url, hidden  # noqa: PLC0415 - a server takes 150 ms to load
    from batcher.callbacks.app import create_app  # noqa: PLC0415
    from batcher.callbacks.handover import Outbox  # noqa: PLC0415
    from batcher.callbacks.server import Receiver  # noqa: PLC0415
    from batcher.callbacks.signature import Verifier  # noqa: PLC0415
    from batcher.state.awaited import Awaited  # noqa: PLC0415

    secret = shared.environment().webhook_secret()
    with closing(Awaited(shared.state)) as state:
        token = state.token()
        url = full_url(public_url, token) if public_url else None
    stop = stop_on_signals()
    with closing(Outbox(shared.state)) as outbox:
        awaited = Awaited(shared.state)  # of the receiver's own thread
        app = create_app(
            token=lambda: _token(awaited),
            take=_hand_over(awaited, outbox, shared),
            verifier=Verifier(secret) if secret else None,
        )
        try:
            receiver = Receiver(app, host=host, port=port)
        except OSError as exc:
            raise ConfigurationError(
                f"cannot listen on {host} port {port}: {exc}", hint="name another one: --port PORT"
            ) from exc
        with receiver:
            url = url or f"{receiver.base_url}{PATH}{token}"
            _say(shared, f"listening on {receiver.base_url} for {shared.state}, token {token[:6]}...")
            if secret is None:
                _say(shared, "BATCHER_WEBHOOK_SECRET is not set: callbacks are taken unsigned, as hints")
            # Only a person is told the whole address: what is not a terminal may be a log.
            click.echo(url if is_terminal(sys.stdout) else hidden(url, token))
            stop.wait()
    return 0


def _token(state: Awaited) -> str | None:
    try:
        return state.token()
    except BatcherError:  # deleted, or locked for long: polling goes on
        state.close()
        return None


def _hand_over(state: Awaited, outbox: Outbox, shared: Shared) -> Callable[[tuple[str, ...]], None]:
    def take(ids: tuple[str, ...]) -> None:
        ours = state.ours(ids)
        outbox.send_all(ours)
        if shared.verbose:
            _say(shared, f"callback for {' '.join(ours)}" if ours else "callback for nothing that is awaited")

    return take


def _say(shared: Shared, words: str) -> None:
    if not shared.quiet:
        with suppress(OSError, ValueError):  # nobody reads any more
            click.echo(f"{iso(time.time())[:19]}Z {printable(words)}", err=True)
