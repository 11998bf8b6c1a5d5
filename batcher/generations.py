"""The provider's side of an attempt, as values: what a create call may mean, what a look may show.

Pure. Providers produce these values, policies decide on them; nobody else interprets a reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

ASSET_LIFE_S = 30 * 86400.0
"""Files are cleared at the provider after 30 days (API notes, 7)."""


class GenerationStatus(StrEnum):
    """What the provider says of one generation, in our words."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A word no document has. Keep looking; never a reason to resubmit."""

    @property
    def is_terminal(self) -> bool:
        return self in (GenerationStatus.SUCCEEDED, GenerationStatus.FAILED)


STATUS_WORDS = {
    "submitted": GenerationStatus.SUBMITTED,
    "queued": GenerationStatus.SUBMITTED,
    "not_start": GenerationStatus.SUBMITTED,
    "processing": GenerationStatus.PROCESSING,
    "in_progress": GenerationStatus.PROCESSING,
    "succeed": GenerationStatus.SUCCEEDED,
    "succeeded": GenerationStatus.SUCCEEDED,
    "success": GenerationStatus.SUCCEEDED,
    "completed": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
    "failure": GenerationStatus.FAILED,
}
"""Every status word a document has, in lower case."""


_NAME = re.compile(r"[!-~]{1,200}")


def name_of(value: object) -> str | None:
    """Take an id as text. Integers keep all their digits; a float has lost some already, so it is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**40:
        value = str(value)
    if isinstance(value, str) and _NAME.fullmatch(value) and value.strip("."):
        return value
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One finished file at the provider."""

    url: str = field(repr=False)
    """Signed; a secret. Its query never goes to a log, an event, a sidecar or a page."""
    id: str | None = None
    duration_s: float | None = None
    expires_at: float | None = None
    """Unix seconds, read from the URL's own signature; None where it carries none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generation as the provider describes it now."""

    id: str
    status: GenerationStatus
    external_task_id: str | None = None
    """The echo of our id. None where the reply has none, as some gateways drop it."""
    message: str = ""
    """The provider's reason for a failure, unescaped: untrusted text."""
    created_at: float | None = None
    """Unix seconds, the provider's clock."""
    updated_at: float | None = None
    videos: tuple[Video, ...] = ()
    units: float | None = None
    """`final_unit_deduction`: what the provider says it took, in its own units."""
    raw_status: str = ""


class RefusalKind(StrEnum):
    """Why a request was refused, split by what the caller does about it."""

    BUSY = "busy"
    """Every slot taken, or too many requests: wait, same id (1302, 1303)."""
    KEY = "key"
    """The key is not accepted: stop the run (1000-1004, 401, 1304)."""
    FUNDS = "funds"
    """No balance or account suspended: stop the run (1100-1102)."""
    CONTENT = "content"
    """Moderation: this prompt fails, others go on (1300, 1301)."""
    INVALID = "invalid"
    """A parameter is refused: this task fails (1200-1203, 1103)."""
    UNAVAILABLE = "unavailable"
    """The provider or gateway is in trouble: try later. Says nothing about a create call's fate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error reply, classified."""

    kind: RefusalKind
    code: str
    """The business code as text (`1303`), or the gateway's own code, or `http-502`."""
    message: str
    """The provider's words: untrusted text."""
    http_status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    names_a_field: bool = False
    """It complains about the value of one field by name (`mode value 'std' is invalid`), and not of the id."""


class Fate(StrEnum):
    """What a create call may have done. The set is closed: every end of a POST is one of these."""

    NOT_SENT = "not sent"
    """Provably no byte of the request reached a server."""
    ACCEPTED = "accepted"
    """2xx, code 0, and a task id."""
    REFUSED = "refused"
    """The provider's own error with a code that means "not created"."""
    EXISTS = "exists"
    """1201 "already exists": some generation holds this external id."""
    CHECK = "check"
    """Any other 1201: a bad parameter or a reworded duplicate. Looked up before it is believed."""
    AMBIGUOUS = "ambiguous"
    """Everything else: the provider may have taken it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """The end of one create call."""

    fate: Fate
    generation: Generation | None = None
    """Present exactly when `fate` is ACCEPTED."""
    refusal: Refusal | None = None
    request_id: str | None = None
    detail: str = ""
    """One line for people: which error, which HTTP status. Never a URL query, never the key."""


class Sight(StrEnum):
    """What a look-up showed."""

    FOUND = "found"
    ABSENT = "absent"
    """The provider answered in its own words that it knows no such id."""
    SILENT = "silent"
    """No usable answer: an error is not an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The end of one look-up."""

    sight: Sight
    generation: Generation | None = None
    """Present exactly when `sight` is FOUND."""
    refusal: Refusal | None = None
    answered: bool = True
    """A complete reply arrived, useful or not. False: the provider could not be reached."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of the list call. `supported` is False where the path does not exist, None where it is unclear."""

    supported: bool | None
    generations: tuple[Generation, ...] = ()
    """All of the page, or those that were asked for."""
    shown: int | None = None
    """How many the page held; None: as many as `generations`."""
    refusal: Refusal | None = None
    answered: bool = True
    """A complete reply arrived, useful or not. False: the provider could not be reached."""
    detail: str = ""
    """What was wrong, for people."""

    @property
    def length(self) -> int:
        """How many the page held: fewer than were asked for is the last."""
        return len(self.generations) if self.shown is None else self.shown
