"""Every error batcher raises on purpose: what happened, what to type next, and how the process ends.

    BatcherError
    ├── UsageError              2   bad command line
    │   └── ManifestError       2   bad manifest; carries every problem found
    ├── BudgetError             3   stopped by the budget
    ├── LockedError             4   another run holds the state
    ├── MissingKeyError        64   no API key
    ├── UnavailableError       69   provider not reachable
    │   └── FundsError         69   its account is out of funds
    ├── AuthenticationError    77   the provider refuses the key
    └── ConfigurationError     78   endpoint, environment or machine is not usable
        ├── StateError         78   the state file is damaged, foreign, newer, or gone
        └── DiskError          78   no space, not writable

The exit codes are those of the interface (README, "Exit codes"); 0, 1, 75, 130 and 143 are outcomes, not errors.
"""

from __future__ import annotations

import errno


class BatcherError(Exception):
    """The root. `message` says what happened and where, `hint` what to type next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BatcherError):
    """The command line cannot be obeyed. Nothing was sent."""

    exit_code = 2


class BudgetError(BatcherError):
    """The next submission would exceed a budget. Resumable."""

    exit_code = 3


class LockedError(BatcherError):
    """Another process works on this state file."""

    exit_code = 4


class MissingKeyError(BatcherError):
    """A paid provider is asked for and no key is set."""

    exit_code = 64


class UnavailableError(BatcherError):
    """The provider does not answer."""

    exit_code = 69


class FundsError(UnavailableError):
    """The provider says that the account is out of funds or suspended."""


class AuthenticationError(BatcherError):
    """The provider refuses the key."""

    exit_code = 77


class ConfigurationError(BatcherError):
    """The environment, an endpoint or the machine is set up in a way that cannot work."""

    exit_code = 78


class StateError(ConfigurationError):
    """The state file is damaged, not ours, newer than this version, or vanished."""


class DiskError(ConfigurationError):
    """A file cannot be written: no space left, or not permitted."""


def exhausted(exc: BaseException) -> ConfigurationError | None:
    """The error to tell where the machine, not batcher, is at its end; None for every other exception.

    Whichever task meets it first: the next one would too, so it stops the run.
    """
    number = exc.errno if isinstance(exc, OSError) else None
    if isinstance(exc, MemoryError) or number == errno.ENOMEM:
        return ConfigurationError("out of memory", hint="give it more (ulimit -v), then run again; nothing is lost")
    if number in (errno.EMFILE, errno.ENFILE):
        return ConfigurationError("too many open files", hint="raise the limit (ulimit -n 256), then run again")
    if isinstance(exc, RuntimeError) and "new thread" in str(exc):
        return ConfigurationError(
            "the system starts no more threads", hint="raise the limits (ulimit -u, ulimit -v), then run again"
        )
    if isinstance(exc, ImportError):  # with no memory left, a library cannot be mapped
        return ConfigurationError(
            f"a part of this installation cannot be loaded: {exc.msg}",
            hint="see that there is enough memory (ulimit -v), or install again; then run again",
        )
    return None
