"""Options that every verb shares, and the few things several verbs do."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batcher.errors import UsageError
from batcher.times import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TextIO

    from batcher.cli.progress import Progress
    from batcher.environment import Environment
    from batcher.prices import Prices
    from batcher.state.queries import Queries
    from batcher.state.rows import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the shared options say."""

    state: Path
    env_file: Path | None
    verbose: bool
    quiet: bool
    color: str
    json: bool
    log_file: Path | None = None

    def environment(self) -> Environment:
        from batcher.environment import Environment  # noqa: PLC0415 - start-up time

        return Environment.read(self.env_file)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """How a run is shown: JSON Lines on stdout with --json, else words on stderr; perhaps in a file too."""
        from batcher.cli.live import JsonProgress, make_progress  # noqa: PLC0415 - start-up time
        from batcher.cli.log import Logged, open_log  # noqa: PLC0415 - start-up time

        view: Progress = (
            JsonProgress(sys.stdout)
            if self.json
            else make_progress(sys.stderr, color=self.color, quiet=self.quiet, verbose=self.verbose)
        )
        if self.log_file is None:
            yield view
            return
        with open_log(self.log_file) as log:
            yield Logged(view, log)

    def result(self, text: str, document: Mapping[str, Any]) -> None:
        """Print a verb's result on stdout: words, or with --json one document."""
        if self.json:
            from batcher.report.document import to_json  # noqa: PLC0415 - start-up time

            text = to_json(document, indent=2)
        click.echo(text)


def jobs_named(state: Queries, name: str | None) -> list[Job]:
    """The jobs of this name, one for each provider, or all jobs of the state. `UsageError` where there is none."""
    jobs = state.jobs()
    found = [job for job in jobs if name in (None, job.job)]
    if not found:
        known = ", ".join(sorted({job.job for job in jobs})) or "none yet"
        what = f"the state knows no job {name!r}" if name else "the state knows no job"
        raise UsageError(what, hint=f"batcher status; jobs: {known}")
    return found


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits there. None: closed before we began."""
    return stream is not None and not stream.closed and stream.isatty()


_OPTIONS = (
    click.option(
        "--state",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="BATCHER_STATE",
        default="state.db",
        show_default="./state.db",
        help="The state file (BATCHER_STATE).",
    ),
    click.option("--env-file", type=click.Path(path_type=Path), help="Read this instead of ./.env."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong, and the summary."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colours."),
    click.option(
        "--log-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Append every event of a run to this file, too.",
    ),
    click.option("--json", is_flag=True, help="Results on stdout as JSON."),
)


def global_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options that may stand before the verb as well as after it."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), function)


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the shared options; it receives them as `shared`. What stands after the verb wins."""

    @global_options
    @click.pass_context
    @functools.wraps(function)
    def wrapped(context: click.Context, /, *args: Any, **options: Any) -> Any:
        names = set(Shared.__dataclass_fields__)
        given = {name: options.pop(name) for name in names}
        before_verb = context.parent.params if context.parent else {}
        for name in names & before_verb.keys():
            if context.get_parameter_source(name) is ParameterSource.DEFAULT:
                given[name] = before_verb[name]
        return function(*args, shared=Shared(**given), **options)

    return wrapped


max_file_option = click.option(
    "--max-file-mb",
    "max_bytes",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    callback=lambda _, __, megabytes: megabytes * 2**20,
    help="The largest manifest or prompt file that is read.",
)
"""For the verbs that read a manifest. Much more than this is a mistake, or somebody else's idea of a joke."""


callback_option = click.option(
    "--callback-url",
    envvar="BATCHER_CALLBACK_URL",
    metavar="URL",
    help="Have the provider post here when a clip is ready (BATCHER_CALLBACK_URL).",
)
"""For the verbs that wait for clips. Never from a manifest or a `.env`: what is posted holds signed addresses."""


def _read_prices(_: click.Context, __: click.Parameter, path: Path | None) -> Prices:
    from batcher.prices import Prices  # noqa: PLC0415 - start-up time

    if path is None:
        return Prices()
    from batcher.manifest import read_prices  # noqa: PLC0415 - start-up time

    return read_prices(path)


prices_option = click.option(
    "--prices",
    envvar="BATCHER_PRICES",
    type=click.Path(path_type=Path),
    callback=_read_prices,
    help="A file of your own prices, before those built in (BATCHER_PRICES).",
)
"""For the verbs that say or spend money. Never from a manifest or a `.env`: budgets rest on it."""


out_option = click.option(
    "-o",
    "--out",
    envvar="BATCHER_OUT",
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder (BATCHER_OUT).  [output.dir]",
)
"""For the verbs that write clips."""


class Duration(click.ParamType[float]):
    """`90`, `30m`, `5h` as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else seconds(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class Failures(click.ParamType[float]):
    """`5` as an int, `20%` as a share."""

    name = "count or share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            if text.endswith("%"):
                return float(text[:-1]) / 100
            return int(text)
        except ValueError:
            self.fail(f"{text!r} is neither a count nor a share like 20%", param, ctx)


def stop_on_signals() -> threading.Event:
    """An event for a server to wait for: set by Ctrl-C, or by who asks it to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def variables_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """`--var name=value` options as a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--var")
        found[name] = value
    return found
