"""The outer ring: finds the verb, and turns every error into a message, a next step and an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher import __version__
from batcher.cli.common import global_options
from batcher.errors import BatcherError, ConfigurationError, DiskError, exhausted
from batcher.text import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

VERBS = {
    "run": "Check, expand, submit, wait, download. The same command again continues.",
    "resume": "The last run's manifest again.",
    "plan": "Show what a run would do and cost.",
    "check": "Validate manifests; report all problems with their places.",
    "collect": "Poll and download what was already paid for. Never spends.",
    "retry": "Buy another attempt for failed or chosen tasks.",
    "resolve": "Settle a task whose submission is unclear.",
    "recover": "Rebuild a lost or copied state from the provider and the output folder. Never spends.",
    "verify": "Check every recorded file; --repair downloads again. Never spends.",
    "backup": "Copy the state safely, also while a run is going on.",
    "status": "Show counts, what is in flight, failures and the next step.",
    "show": "Show one task whole: request, attempts, events, files, cost.",
    "gallery": "Write a page of the clips, for any browser, beside them.",
    "export": "Write tasks and clips as a table: CSV or JSON Lines.",
    "init": "Write starter files.",
    "schema": "Print the manifest's JSON Schema.",
    "serve": "Receive the provider's callbacks, for the run on this state.",
    "simulate": "Serve the built-in provider over HTTP, for anybody's tests.",
    "doctor": "Check key, endpoint, disk, lock and clips that expire soon.",
}
"""Verb to its line in `--help`, so that help loads no verb. A verb's module has its name."""


class _Verbs(click.Group):
    """Loads a verb's module when it is used, as `--help` must be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"batcher.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib  # noqa: PLC0415 - only for a typo

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="batcher")
@global_options
def batcher(**_: object) -> None:
    """Run a file of prompts through the Kling text-to-video API.

    Run it again. It never pays twice, and never loses a clip you paid for.
    """


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code. Nothing but a defect of ours prints a traceback."""
    _no_core_dumps()
    _keep_standard_descriptors()
    try:
        _read_settings(arguments)
        result = batcher.main(args=list(arguments), prog_name="batcher", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.Abort:
        return _say("interrupted; nothing was sent", None, 130)
    except click.ClickException as exc:
        words = io.StringIO()
        exc.show(words)  # it may quote an argument that is not the person's own
        with contextlib.suppress(OSError, ValueError):  # stderr is closed; the exit code tells
            click.echo(printable_lines(words.getvalue()), err=True, nl=False)
        return 2
    except BatcherError as exc:
        return _told(exc)
    except KeyboardInterrupt:
        return _say("interrupted", "run it again; nothing is lost", 130)
    except BrokenPipeError:
        return 1
    except Exception as exc:  # noqa: BLE001 - the one place where a defect of ours surfaces
        leaf = _leaves(exc)[0]
        if isinstance(leaf, OSError) and leaf.errno in _FULL:
            return _say(f"the output cannot be written: {leaf.strerror}", "see where it goes", DiskError.exit_code)
        error = exhausted(leaf)
        return _told(error) if error else _defect(exc)
    return result if isinstance(result, int) else 0


def _told(error: BatcherError) -> int:
    problems = getattr(error, "problems", ())
    if problems:
        from batcher.manifest import render_github, render_text  # noqa: PLC0415 - only for a bad manifest

        with contextlib.suppress(OSError, ValueError):  # as below
            click.echo(f"{render_text(problems)}\n{printable(error.message)}", err=True)
            if os.environ.get("GITHUB_ACTIONS") == "true":
                click.echo(render_github(problems), err=True)
        return error.exit_code
    return _say(error.message, error.hint, error.exit_code)


def _say(message: str, hint: str | None, code: int, *, more: Iterable[str] = ()) -> int:
    lines = [f"error: {printable(message)}", *map(printable, more)]
    if hint:
        lines.append(f"hint: {printable(hint)}")
    with contextlib.suppress(OSError, ValueError):  # stderr is closed; the exit code tells
        click.echo("\n".join(lines), err=True)
    return code


def _defect(exc: Exception) -> int:
    """A defect: where it happened, without the values, which may hold what must not be printed."""
    leaves = _leaves(exc)
    for leaf in leaves:
        if isinstance(leaf, BatcherError):
            return _told(leaf)
    frames = traceback.extract_tb(leaves[0].__traceback__)[-6:]
    places = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return _say(
        f"a defect of batcher: {type(leaves[0]).__name__}",
        "nothing is lost: the state is saved after every step. Please report these lines",
        ConfigurationError.exit_code,
        more=places,
    )


def _leaves(exc: Exception) -> list[Exception]:
    """The errors in a group of groups: one for each task group that they passed through."""
    if not isinstance(exc, ExceptionGroup):
        return [exc]
    return [leaf for part in exc.exceptions for leaf in _leaves(part)]


SETTINGS = ("BATCHER_STATE", "BATCHER_OUT", "BATCHER_CONCURRENCY")
"""What a `.env` may set for the options of the command line; nothing that spends."""


def _read_settings(arguments: Sequence[str]) -> None:
    """Let `.env` stand behind the environment, before the options are read from that."""
    named = [arguments[i + 1] for i, word in enumerate(arguments[:-1]) if word == "--env-file"]
    path = Path(named[-1] if named else ".env")
    if path.is_file():
        from dotenv import dotenv_values  # noqa: PLC0415 - most runs have no .env

        values = dotenv_values(path)
        for name in SETTINGS:
            if values.get(name):
                os.environ.setdefault(name, str(values[name]))


def _keep_standard_descriptors() -> None:
    """Where one of the first three was closed, the next file opened would get its number, and what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _no_core_dumps() -> None:
    """A core dump would hold the key. Linux takes 1, not 0, as "none" also where dumps are piped to a program."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        least = 1 if sys.platform == "linux" and hard != 0 else 0  # no file either: it would need a page
        resource.setrlimit(resource.RLIMIT_CORE, (least, hard))
