"""What a provider's list and the output folder tell of a state that is lost: which generation is which task's.

A generation is tied to a task by an id alone: never because it is the only one left.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from batcher.errors import AuthenticationError, UnavailableError
from batcher.generations import GenerationStatus, RefusalKind
from batcher.identity import external_task_id, is_like, parts_of
from batcher.state.planning import Used
from batcher.times import unix

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from batcher.generations import Generation, Listing
    from batcher.manifest import Manifest
    from batcher.providers.interface import Provider

PAGE_SIZE = 500
MAX_PAGES = 1000
"""Both documented (API notes, 2): half a million generations."""

WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between tries to read one page."""

SKEW_S = 3600.0
"""How far the provider's clock may be from the one that an edition's day was read off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the list call showed."""

    generations: tuple[Generation, ...] = ()
    gap: str | None = None
    """Why a generation may exist that it does not show; None where it shows all."""
    is_supported: bool = True

    @property
    def is_proof(self) -> bool:
        """Whether what it does not show is not there.

        A list without anything in it, or one that drops our ids, shows nothing that it could be trusted by.
        """
        return self.gap is None and any(generation.external_task_id for generation in self.generations)

    @property
    def doubt(self) -> str:
        """Why it is no proof."""
        if self.gap:
            return self.gap
        return "the provider's list shows no ids of ours" if self.generations else "the provider's list is empty"


async def read_list(provider: Provider, *, sleep: Callable[[float], Awaitable[object]]) -> Listed:
    """Every page of the list. Raises `UnavailableError` where it cannot be read now; nothing was written then."""
    found: dict[str, Generation] = {}
    is_short = False
    for page in range(1, MAX_PAGES + 1):
        listing = await _page(provider, page, sleep=sleep)
        if not listing.supported:
            gap = f"{provider.scope} has no list of generations" if not found else "the list ends in an error"
            is_past_the_end = is_short and listing.refusal is not None
            return Listed(
                generations=tuple(found.values()),
                gap=None if is_past_the_end else gap,
                is_supported=bool(found),
            )
        if not listing.generations:
            return Listed(generations=tuple(found.values()))
        before = len(found)
        found |= {generation.id: generation for generation in listing.generations}
        if len(found) == before:
            return Listed(generations=tuple(found.values()), gap="the list shows the same page again and again")
        # A gateway may give fewer than it was asked for: only a page with nothing on it is the end.
        is_short = len(listing.generations) < PAGE_SIZE
    return Listed(generations=tuple(found.values()), gap=f"the list is longer than {MAX_PAGES} pages")


async def _page(provider: Provider, page: int, *, sleep: Callable[[float], Awaitable[object]]) -> Listing:
    for wait in (*WAITS_S, None):
        listing = await provider.list(page=page, size=PAGE_SIZE)
        refusal = listing.refusal
        if refusal is not None and refusal.kind is RefusalKind.KEY:
            raise AuthenticationError(
                f"{provider.scope} refuses the key: {refusal.message}", hint="check COMETAPI_KEY (batcher doctor)"
            )
        is_past_the_end = page > 1 and refusal is not None and refusal.kind is RefusalKind.INVALID
        if listing.supported is not None or is_past_the_end:
            return listing
        if wait is not None:
            await sleep(wait)
    said = f": {refusal.message}" if refusal else ""
    raise UnavailableError(
        f"{provider.scope} does not give its list of generations{said}; nothing was written",
        hint="check the network (batcher doctor), then run it again",
    )


@dataclass(slots=True, kw_only=True)
class Matcher:
    """Ties generations to contents by ids: those remembered, and those that a namespace would give."""

    job: str
    namespaces: Sequence[str]
    """Most likely first."""
    remembered: dict[str, str]
    """An id, ours or the provider's, to the content it was sent with."""
    elsewhere: frozenset[str] = frozenset()
    """Ids that other jobs sent."""
    stems: dict[str, tuple[str, int]] = field(default_factory=dict)
    """What all attempts of a content's ids begin with, to the content and the number of its namespace."""

    def expect(self, contents: Iterable[str]) -> None:
        """These contents may have been sent."""
        for content in contents:
            for number, namespace in enumerate(self.namespaces):
                first = external_task_id(job=self.job, content=content, namespace=namespace, attempt=1)
                self.stems.setdefault(first.removesuffix("-a1"), (content, number))

    def content_of(self, generation: Generation) -> str | None:
        """The content a generation was sent with, where an id says so."""
        ours = generation.external_task_id or ""
        parts = parts_of(ours)
        by_stem = self.stems.get(parts[0]) if parts else None
        return self.remembered.get(ours) or (by_stem[0] if by_stem else None) or self.remembered.get(generation.id)

    def is_stray(self, generation: Generation) -> bool:
        """Whether it may be this job's, and no id says whose."""
        ours = generation.external_task_id or ""
        return is_like(ours, job=self.job) and ours not in self.elsewhere and self.content_of(generation) is None

    def by_content(self, generations: Iterable[Generation]) -> dict[str, list[Generation]]:
        """Each content's generations, the newest attempt first."""
        found: dict[str, list[Generation]] = {}
        for generation in sorted(generations, key=_rank, reverse=True):
            if content := self.content_of(generation):
                found.setdefault(content, []).append(generation)
        return found

    def namespace(self, generations: Iterable[Generation]) -> str:
        """The namespace that most of them were sent under; the most likely one where none tells."""
        votes: Counter[int] = Counter()
        for generation in generations:
            parts = parts_of(generation.external_task_id or "")
            if parts and parts[0] in self.stems:
                votes[self.stems[parts[0]][1]] += 1
        return self.namespaces[votes.most_common(1)[0][0] if votes else 0]


def _rank(generation: Generation) -> tuple[int, bool, float]:
    """The newest attempt first; of two under one id the one that brings a clip."""
    parts = parts_of(generation.external_task_id or "")
    return parts[1] if parts else 1, generation.status is not GenerationStatus.FAILED, generation.created_at or 0.0


def used_by(generation: Generation, *, account: str) -> Used:
    """What a generation in the list says of its create call."""
    ours = generation.external_task_id or ""
    parts = parts_of(ours)
    return Used(external_task_id=ours, attempt=parts[1] if parts else 1, posts=1, account=account)


def sent(
    remembered: Mapping[str, Used], listed: Mapping[str, Sequence[Generation]], *, account: str
) -> dict[str, Used]:
    """Content to its newest attempt, of what the folder remembers and what the list shows."""
    newest = dict(remembered)
    for content, generations in listed.items():
        if not generations[0].external_task_id:
            continue
        shown, known = used_by(generations[0], account=account), newest.get(content)
        if known is None or shown.attempt > known.attempt:
            newest[content] = shown
        elif known.external_task_id == shown.external_task_id:
            newest[content] = replace(known, account=account)  # seen under this key: it is this account's
    return newest


def why_unclear(listed: Listed, strays: Sequence[Generation], *, receipts_are_whole: bool) -> str | None:
    """Why a task of which nothing was found may have been bought all the same; None: it was not."""
    if strays:
        some = f"{len(strays)} generations" if len(strays) > 1 else "a generation"
        return f"{some} at the provider may be this job's, and nothing tells whose"
    if listed.is_proof or receipts_are_whole:
        return None
    return f"nothing proves that it was never bought: {listed.doubt}, and there are no whole receipts"


def editions_of(manifest: Manifest, times: Iterable[float]) -> list[str]:
    """The editions that were the day's at these times (Unix seconds), the newest first."""
    if manifest.edition is None:
        return []
    zone = ZoneInfo(manifest.schedule.timezone)
    days = {datetime.fromtimestamp(moment, UTC).astimezone(zone).date() for moment in times}
    days |= {day - timedelta(days=1) for day in days}  # begun before midnight
    return list(dict.fromkeys(manifest.edition_of(day) for day in sorted(days, reverse=True)))


def earliest(manifest: Manifest, now: float) -> float:
    """When the first purchase of today's edition may have been made, Unix seconds: on the first day that has it.

    What was bought before is of another edition, whatever became of its prompts since.
    """
    if manifest.edition is None:
        return 0.0
    zone = ZoneInfo(manifest.schedule.timezone)
    day = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    edition = manifest.edition_of(day)
    for _ in range(400):
        if manifest.edition_of(day - timedelta(days=1)) != edition:
            return datetime.combine(day, time.min, zone).timestamp() - SKEW_S
        day -= timedelta(days=1)
    return 0.0


def time_of(text: str) -> float | None:
    """A receipt's time; None where it has none."""
    try:
        return unix(text)
    except ValueError:
        return None
