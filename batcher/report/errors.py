"""Every way in which something goes wrong: why, whether it cost money, and what to type next. Pure.

The one home of these texts: docs/errors.md is made from them (`.ci/errors-doc`), and a test asks for an entry for
each code, class of error, kind of refusal and end of a run that the package has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batcher import errors
from batcher.events import Outcome
from batcher.generations import RefusalKind
from batcher.manifest.problems import CODES, ManifestError
from batcher.policy.retry import FailureClass
from batcher.report.layout import LABELS
from batcher.tasks import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Explanation(NamedTuple):
    """One thing that can go wrong."""

    cause: str
    paid: str
    """Whether money was spent."""
    next: str


_NOTHING_SENT = "No. Nothing was sent."
_NOT_BY_THIS = "No. Not by this command."
_WHAT_WAS_TAKEN = "Only what was accepted before."
_NOT_CREATED = "No. Nothing was created."

EXITS: dict[int, Explanation] = {
    0: Explanation("All is done, or there was nothing to do.", "What the summary says.", "Nothing."),
    1: Explanation(
        "The run ended; some tasks failed, are unclear or overdue.",
        "What the summary says.",
        "`batcher status --failed`",
    ),
    2: Explanation("The command line or the manifest cannot be obeyed.", _NOTHING_SENT, "As the message says."),
    3: Explanation("The budget is used up.", _WHAT_WAS_TAKEN, "Raise it (`--max-usd`) and run again."),
    4: Explanation("Another run works on this state.", _NOT_BY_THIS, "Wait for it, or add `--wait`."),
    64: Explanation("A paid provider is named and there is no key.", _NOTHING_SENT, "Set `COMETAPI_KEY`."),
    69: Explanation(
        "The provider cannot be reached, or the account is out of funds.",
        _WHAT_WAS_TAKEN,
        "`batcher doctor`; run again.",
    ),
    75: Explanation(
        "Unfinished: a deadline, `--submit-only`, or work that is still at the provider.",
        _WHAT_WAS_TAKEN,
        "Run it again.",
    ),
    77: Explanation("The provider refuses the key.", _WHAT_WAS_TAKEN, "Check the key (`batcher doctor`); run again."),
    78: Explanation(
        "The machine, the settings, the state or the disk cannot be used; or a defect of batcher.",
        _WHAT_WAS_TAKEN,
        "As the message says; `batcher doctor`.",
    ),
    130: Explanation("Ctrl-C. The state is saved.", _WHAT_WAS_TAKEN, "Run it again."),
    143: Explanation("SIGTERM or SIGHUP. The state is saved.", _WHAT_WAS_TAKEN, "Run it again."),
}

ERRORS: dict[type[errors.BatcherError], Explanation] = {
    errors.BatcherError: Explanation(
        "Something that `doctor` looked at is not as it should be.", _NOT_BY_THIS, "As its line says."
    ),
    errors.UsageError: Explanation(
        "An option, a job or a task that is not there; consent that is missing; options that exclude each other.",
        _NOTHING_SENT,
        "As the hint says; `batcher COMMAND --help`.",
    ),
    ManifestError: Explanation(
        "The manifest has problems; each is shown with its place.", _NOTHING_SENT, "`batcher check MANIFEST`"
    ),
    errors.BudgetError: Explanation(
        "The next submission would exceed a budget. Unclear and failed attempts count until a refund is known.",
        _WHAT_WAS_TAKEN,
        "`batcher run MANIFEST --max-usd X`, or raise `budget` in the manifest.",
    ),
    errors.LockedError: Explanation(
        "Another process holds the state's lock; the message says which and since when.",
        _NOT_BY_THIS,
        "Wait, add `--wait`, or name another `--state`.",
    ),
    errors.MissingKeyError: Explanation(
        "The provider is `cometapi`, and neither `COMETAPI_KEY` nor `COMETAPI_KEY_FILE` holds a key.",
        _NOTHING_SENT,
        "Set one of them, or rehearse: `batcher run MANIFEST --provider simulator`.",
    ),
    errors.UnavailableError: Explanation(
        "Nobody answers: 30 s at the start of a run, an hour in the middle of one.",
        _WHAT_WAS_TAKEN,
        "`batcher doctor`; check network and `COMETAPI_BASE_URL`; run again.",
    ),
    errors.FundsError: Explanation(
        "The account has no balance or is suspended. Clips that were paid for still come home.",
        _WHAT_WAS_TAKEN,
        "Top up, then run again.",
    ),
    errors.AuthenticationError: Explanation(
        "The provider does not accept the key: wrong, expired, or without this permission.",
        _WHAT_WAS_TAKEN,
        "Check `COMETAPI_KEY`; `batcher doctor`; run again.",
    ),
    errors.ConfigurationError: Explanation(
        "A setting cannot work: base URL, key, certificates, `BATCHER_...`; or no memory, files or threads are left.",
        _WHAT_WAS_TAKEN,
        "Correct the setting, or raise the limit, that is named; run again.",
    ),
    errors.StateError: Explanation(
        "The state file is damaged, foreign, of a newer version, edited by hand, or was removed during the run.",
        _WHAT_WAS_TAKEN,
        "Restore a backup; or move the file away and run again: the output folder knows what was sent.",
    ),
    errors.DiskError: Explanation(
        "No space is left, or a folder cannot be written. Checked before each submission.",
        _WHAT_WAS_TAKEN,
        "Make room or choose another `--out`, then run again.",
    ),
}

TASK_CODES: dict[ErrorCode, Explanation] = {
    ErrorCode.MODERATION: Explanation(
        "The clip was made and withheld: the provider's moderation took offence. The same words will fail again.",
        "Perhaps: refunds are not documented. It counts until one is known.",
        "Change the prompt and run again: that is a new task.",
    ),
    ErrorCode.FAILED: Explanation(
        "The provider accepted the task and could not make the clip.",
        "Perhaps: refunds are not documented. It counts until one is known.",
        "`batcher retry JOB --failed` buys another attempt; `run.attempts: 2` would do so by itself.",
    ),
    ErrorCode.UNANSWERED: Explanation(
        "Several create calls got no usable answer; after each a trusted look proved that nothing was created.",
        _NOT_CREATED,
        "`batcher doctor`, then `batcher retry JOB --failed`: it goes again under the same id.",
    ),
    ErrorCode.UNCLEAR: Explanation(
        "A create call may have been taken, and this provider can neither show it nor exclude it. Never sent again by"
        " itself. Each run looks once more.",
        "Unknown. Its price stays reserved.",
        "Look at the provider's own list, then `batcher resolve TASK --adopt TASK_ID`, `--resubmit` or `--drop`.",
    ),
    ErrorCode.UNMATCHED: Explanation(
        "`recover` found nothing of it, and nothing that proves that it was never bought. Never sent by itself.",
        "Unknown. Its price stays reserved.",
        "`batcher recover MANIFEST` tells what may be its generation; then `batcher resolve TASK`.",
    ),
    ErrorCode.ASSET: Explanation(
        "Finished, and not fetched yet: the provider shows no file, a broken one, or an address that is not allowed.",
        "Yes. It is not bought again.",
        "`batcher collect`, within 30 days; for a host of your gateway's own set `BATCHER_ASSET_HOSTS`.",
    ),
    ErrorCode.EXPIRED: Explanation(
        "The clip was finished and never fetched, and the provider has cleared it after 30 days.",
        "Yes, and it is lost.",
        "`batcher retry JOB -s TASK` pays for it once more.",
    ),
    ErrorCode.GONE: Explanation(
        "The clip was home and is gone from disk, and the provider has cleared it.",
        "Yes.",
        "Restore the file from a backup under its name; or `batcher resolve TASK --drop` to forget it.",
    ),
}
"""`error_code` of a task, where it is ours."""

CLASSES: dict[FailureClass, str] = {
    FailureClass.CONTENT: "Moderation, before or after the clip was made.",
    FailureClass.INVALID: "The provider refuses a parameter or the model.",
    FailureClass.PROVIDER: "The provider failed; another attempt may pass.",
    FailureClass.ASSET: "Finished there, and no usable file could be had.",
}
"""`error_class` of a failed task: what `batcher retry --class` takes."""

REFUSALS: dict[RefusalKind, Explanation] = {
    RefusalKind.BUSY: Explanation(
        "Every slot is taken, or too many requests. The task waits and goes again under the same id.",
        _NOT_CREATED,
        "Nothing; `-j` bounds how many go at once.",
    ),
    RefusalKind.KEY: Explanation("The key is not accepted. The run stops (exit 77).", _NOT_CREATED, "Check the key."),
    RefusalKind.FUNDS: Explanation(
        "No balance, or a suspended account. Nothing more is submitted (exit 69).", _NOT_CREATED, "Top up; run again."
    ),
    RefusalKind.CONTENT: Explanation(
        "The prompt is refused. This task fails, others go on.", _NOT_CREATED, "Change the prompt; run again."
    ),
    RefusalKind.INVALID: Explanation(
        "A parameter is refused. This task fails once a look has shown that nothing was created.",
        _NOT_CREATED,
        "`batcher show TASK`; correct the manifest; run again.",
    ),
    RefusalKind.UNAVAILABLE: Explanation(
        "The provider or a gateway before it is in trouble. For a create call that is no answer: the task rests, is"
        " looked up, and is sent again only when it is proved that nothing was created.",
        "Unknown until it is looked up; never twice.",
        "Nothing. If it ends as `unclear`, see there.",
    ),
}
"""What batcher does about an error of the provider."""

OUTCOMES: dict[Outcome, Explanation] = {
    Outcome.DONE: Explanation("Everything is home.", "What the summary says.", "Nothing."),
    Outcome.FAILED: Explanation(
        "Some tasks failed, are unclear or overdue; or `--fail-fast`, `--max-failures`, a canary or three submissions"
        " in doubt ended the buying.",
        "What the summary says.",
        "`batcher status --failed`; `batcher retry JOB --failed` or `batcher resolve TASK`.",
    ),
    Outcome.UNFINISHED: Explanation("Something is still at the provider or waits.", _WHAT_WAS_TAKEN, "Run it again."),
    Outcome.BUDGET: Explanation("The budget would not hold one more.", _WHAT_WAS_TAKEN, "Raise it; run again."),
    Outcome.DEADLINE: Explanation("`--deadline` is over.", _WHAT_WAS_TAKEN, "Run it again."),
    Outcome.INTERRUPTED: Explanation(
        "Ctrl-C: downloads were finished, what was in flight stays on record.", _WHAT_WAS_TAKEN, "Run it again."
    ),
    Outcome.TERMINATED: Explanation("SIGTERM or SIGHUP: as Ctrl-C.", _WHAT_WAS_TAKEN, "Run it again."),
    Outcome.STOPPED: Explanation(
        "An error of the account, the state, the disk or the network: one of those above.",
        _WHAT_WAS_TAKEN,
        "As the message says; run again.",
    ),
    Outcome.CRASHED: Explanation(
        "A defect ended it. Only the table `runs` says so; a run that was killed has no word there.",
        _WHAT_WAS_TAKEN,
        "Run it again.",
    ),
}

_INTRO = """\
# Errors

What you see, why, whether it cost money, and what to type next. Made from the code by `.ci/errors-doc`: change the
texts there.

Three things hold for all of them. Running the same command again never pays twice. What was paid for is on record,
in the state and in the output folder, and `batcher collect` brings it home without spending. And `batcher show TASK`
tells all that is known of one task.
"""


def errors_document(codes: Mapping[str, RefusalKind]) -> str:
    """The whole of docs/errors.md. `codes` are the provider's error codes and their kinds."""
    by_kind = {kind: [code for code, its in codes.items() if its is kind] for kind in RefusalKind}
    parts = [
        _INTRO,
        _table(
            "Exit codes",
            "When several apply, the first of 130/143, 2/64/77/78/4, 69, 3, 75, 1 wins.",
            ("exit", "why", "was money spent?", "next"),
            [(str(code), *each) for code, each in EXITS.items()],
        ),
        _table(
            "Errors that stop a command",
            "On stderr as `error: ...` with a `hint: ...`; in Python the classes of `batcher.errors`.",
            ("class", "exit", "why", "was money spent?", "next"),
            [(f"`{kind.__name__}`", str(kind.exit_code), *each) for kind, each in ERRORS.items()],
        ),
        _table(
            "How a run ends",
            "The word before the reason in the summary, `outcome` in `--json` and in the table `runs`.",
            ("outcome", "why", "was money spent?", "next"),
            [(f"`{word}`", *each) for word, each in OUTCOMES.items()],
        ),
        _table(
            "What hinders a task",
            "`error_code` in the state, the code in `batcher status --failed` and `batcher show`. Beside these it may"
            " be the provider's own, below.",
            ("code", "why", "was money spent?", "next"),
            [(f"`{code}`", *each) for code, each in TASK_CODES.items()],
        ),
        _table(
            "Classes of failures",
            "`error_class` in the state; `batcher retry --class CLASS` buys another attempt for those.",
            ("class", "what"),
            [(f"`{name}`", what) for name, what in CLASSES.items()],
        ),
        _table(
            "The provider's codes",
            "Kling's error table and those of gateways before it. A reply without one is `http-STATUS`, as"
            " `http-502`: of the kind `unavailable`, but `http-401` is `key` and `http-429` is `busy`. 1201 is also"
            " Kling's word for an id that is used already, so it is looked up before it is believed.",
            ("kind", "codes", "what batcher does", "was money spent?", "next"),
            [(f"`{kind}`", _codes(by_kind[kind]), *each) for kind, each in REFUSALS.items()],
        ),
        _table(
            "Problems of a manifest",
            "Shown as `error[E103]: file:line:column: ...`. All of them are found before the first request, so none"
            " costs money. `W` codes are warnings, and errors with `--strict`. Next, always: fix it, then"
            " `batcher check MANIFEST`.",
            ("code", "what", "why", "what to do"),
            [(f"`{code}`", *each) for code, each in CODES.items()],
        ),
    ]
    return "\n".join(parts)


def _codes(codes: Sequence[str]) -> str:
    return ", ".join(f"`{code}` {LABELS[code]}" if code in LABELS else f"`{code}`" for code in codes)


def _table(title: str, intro: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"## {title}", "", intro, "", *_rows([heads, ["---"] * len(heads), *rows]), ""])


def _rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
