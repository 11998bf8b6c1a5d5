"""The submit protocol: what to do with a create call whose fate is, or may be, unknown. Pure.

One rule above all: a request is sent again only under the id it already has, and only when there is evidence
that the earlier call did nothing. Without evidence it rests, is looked up, and in the end is parked for a person:
`unclear` is an honest answer, a second charge is not.

`decide` is the whole protocol. Its caller obeys: it performs one action, adds what it learnt to the evidence
(`after_post`, `after_look` ...), and asks again. The same function drives the runner, recovery after a crash, and
the exhaustive model in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batcher.generations import Fate, RefusalKind, Sight

if TYPE_CHECKING:
    from batcher.generations import Look, Posted

DEFAULT_QUIET_WINDOW_S = 120.0
"""How long a doubtful call may still be on its way: longer than any request lives in a gateway's queue, plus the
lag until a look-up shows it. Cloudflare gives up at 100 s (its 524); visibility was at once in 76 of 76 looks."""

MIN_REMOTE_QUIET_WINDOW_S = 60.0
LAG_FACTOR = 10.0

MAX_ROUNDS = 3
"""Ambiguous calls in a row, each proved to have created nothing, before the task is given up as not bought."""

MAX_DEAF_LOOKS = 5
"""Replies in a row that answer a look with neither yes nor no, before the look-up counts as impossible here."""

MAX_SILENT_LOOKS = 30
"""The same for replies that only say "in trouble" (5xx, too many requests): about half an hour of them. A provider
that cannot be reached at all is waited for as long as the run lasts."""


class Action(StrEnum):
    """What the caller does next."""

    POST = "post"
    """Send the create call, under the same id."""
    BACK = "back"
    """Provably not created: wait as the retry policy says, then ask again."""
    REST = "rest"
    """Let the quiet window pass."""
    LOOK = "look"
    """Look the id up (after a short wait when the last look was silent)."""
    PROVE = "prove"
    """Run both controls: an id of ours must be found, a random one must not."""
    HOLD = "hold"
    """Wait for the control that another task of this run may yet bring: an accepted generation to look for."""
    ACCEPT = "accept"
    """A generation under our id exists: record it."""
    BELIEVE = "believe"
    """The refusal is true: nothing was created."""
    GIVE_UP = "give up"
    """Nothing was created, and sending again has not helped: fail, unpaid."""
    PARK = "park"
    """Unclear: a person decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known about one external id. Starts fresh, or inherited from a dead run."""

    fate: Fate | None = None
    """How the last create call of this process ended; None where it has made none."""
    refusal: RefusalKind | None = None
    """The kind, when `fate` is a refusal."""
    names_a_field: bool = False
    """The 1201 said `<field> value ... is invalid` (decisions, 12)."""
    doubt: bool = False
    """Some call under this id may have been taken, and no trusted look has excluded it."""
    history: bool = False
    """The id was in use before this process: a dead run's row, a receipt, a resubmission."""
    foreign: bool = False
    """The doubtful call was made with another key: what this one cannot see proves nothing about it."""
    posts: int = 0
    """Create calls recorded under this id, this process's included."""
    rested: bool = False
    """The quiet window has passed on the monotonic clock since the lock was held and the last call ended."""
    sight: Sight | None = None
    """The newest look since the last create call ended."""
    sight_rested: bool = False
    """That look was made after the quiet window."""
    echoed: bool = True
    """A FOUND generation named our id itself. Some gateways drop the echo."""
    deaf: int = 0
    """Consecutive replies to a look that said neither yes nor no, for a reason that waiting does not mend."""
    silent: int = 0
    """Consecutive replies that said neither, for any reason."""
    rounds: int = 0
    """Ambiguous calls under this id that a trusted look excluded."""
    finds_ids: bool | None = None
    """The gateway finds our ids and not random ones. None: not proved either way yet."""
    can_prove: bool = False
    """There is an accepted generation of ours to run the controls with, and they have not been tried yet."""
    may_learn: bool = False
    """There is nothing to run the controls with yet, but another task of this run may bring it."""
    refuses_ids: bool = False
    """The gateway was seen to refuse a used id, so sending the same one again cannot buy twice."""

    @property
    def may_still_be_seen(self) -> bool:
        """Whether another look has a chance to say yes or no."""
        return self.deaf < MAX_DEAF_LOOKS and self.silent < MAX_SILENT_LOOKS

    @property
    def may_be_sent(self) -> bool:
        """Whether some create call under this id may have left this machine.

        A walk that ends without one gives its task back as new; any other leaves it for the next run to find out.
        """
        return self.doubt or self.history or self.fate not in (None, Fate.NOT_SENT)


def fresh(*, posts: int, refuses_ids: bool) -> Evidence:
    """A task claimed just now: `posts` counts the call that the claim announces, and it was not made yet."""
    return Evidence(posts=max(0, posts - 1), refuses_ids=refuses_ids)


def inherited(*, posts: int, refuses_ids: bool, is_foreign: bool) -> Evidence:
    """A task that another process left in `submitting`: its create call may have been made, a moment ago."""
    return Evidence(posts=posts, refuses_ids=refuses_ids, doubt=True, history=True, foreign=is_foreign)


def with_controls(e: Evidence, *, proved: bool | None, has_control: bool, may_learn: bool) -> Evidence:
    """What look-ups are worth here. `proved` is what this very run found out: an older proof may have gone stale."""
    is_open = proved is None
    return replace(
        e, finds_ids=proved, can_prove=is_open and has_control, may_learn=is_open and not has_control and may_learn
    )


def decide(e: Evidence) -> Action:
    """The next action for one submission."""
    if e.fate is Fate.ACCEPTED:
        return Action.ACCEPT
    if e.sight is Sight.FOUND:
        return _found(e)
    match e.fate:
        case None if not e.doubt and not e.history:
            return Action.POST
        case Fate.NOT_SENT:
            return Action.BACK
        case Fate.REFUSED if not e.doubt:
            return Action.BELIEVE
        case Fate.REFUSED if e.refusal in (RefusalKind.BUSY, RefusalKind.KEY, RefusalKind.FUNDS):
            # This call created nothing, and a later one may pass; the doubt about an earlier one stays with the row.
            return Action.BACK
        case Fate.EXISTS:
            return _exists(e)
        case Fate.CHECK:
            return _check(e)
    return _doubtful(e)


def _found(e: Evidence) -> Action:
    """An answer without our id is ours only if the gateway was proved not to answer just any id."""
    if e.echoed or e.finds_ids:
        return Action.ACCEPT
    return _control(e) or Action.PARK


def _control(e: Evidence) -> Action | None:
    """How to find out what the gateway's look-ups are worth, while that is open."""
    if e.finds_ids is not None:
        return None
    if e.can_prove:
        return Action.PROVE
    return Action.HOLD if e.may_learn else None


def _exists(e: Evidence) -> Action:
    """Refused as a duplicate: somebody holds the id. Find it, or leave it to a person; never a fresh id."""
    if not e.may_still_be_seen:
        return Action.PARK
    if e.sight is Sight.ABSENT:
        return Action.PARK if e.sight_rested else _rest_or_look(e)
    return Action.LOOK


def _check(e: Evidence) -> Action:
    """A 1201 that names no duplicate: a bad parameter, or a duplicate in other words.

    Even the first call under an id may meet a duplicate: its own, where a gateway sends one request twice.
    """
    first_use = e.posts <= 1 and not e.history and not e.doubt
    if e.sight is None or (e.sight is Sight.SILENT and e.may_still_be_seen):
        return Action.LOOK
    if e.sight is Sight.ABSENT and e.finds_ids:
        return Action.BELIEVE if e.sight_rested or (first_use and e.names_a_field) else _rest_or_look(e)
    if e.sight is Sight.ABSENT and e.can_prove and e.finds_ids is None:
        return Action.PROVE
    if first_use and e.names_a_field:
        return Action.BELIEVE
    return (_control(e) if e.sight is Sight.ABSENT else None) or Action.PARK


def _doubtful(e: Evidence) -> Action:
    """The provider may have taken it: rest, look, and trust an absence only from a gateway that can find."""
    if not e.sight_rested:
        return _rest_or_look(e)
    if e.sight is Sight.SILENT and e.may_still_be_seen:
        return Action.LOOK
    if e.foreign:
        return Action.PARK
    absent = e.sight is Sight.ABSENT
    if absent and e.finds_ids is None and e.can_prove:
        return Action.PROVE
    if absent and e.finds_ids:
        if e.fate is Fate.REFUSED:
            return Action.BELIEVE
        return Action.POST if e.rounds < MAX_ROUNDS else Action.GIVE_UP
    if e.refuses_ids and e.fate is not Fate.REFUSED and e.rounds < MAX_ROUNDS:
        return Action.POST
    return (_control(e) if absent else None) or Action.PARK


def _rest_or_look(e: Evidence) -> Action:
    return Action.LOOK if e.rested else Action.REST


def after_post(before: Evidence, posted: Posted) -> Evidence:
    """What is known once a create call has ended. `before` is what allowed it."""
    if posted.fate is Fate.NOT_SENT:
        return replace(before, fate=Fate.NOT_SENT)
    excluded = before.sight is Sight.ABSENT and before.sight_rested and bool(before.finds_ids)
    ambiguous = posted.fate is Fate.AMBIGUOUS
    return replace(
        before,
        fate=posted.fate,
        refusal=posted.refusal.kind if posted.refusal else None,
        names_a_field=posted.refusal is not None and posted.refusal.names_a_field,
        doubt=ambiguous or (before.doubt and not excluded),
        posts=before.posts + 1,
        rounds=before.rounds + ambiguous,
        refuses_ids=before.refuses_ids or posted.fate is Fate.EXISTS,
        rested=False,
        sight=None,
        sight_rested=False,
        deaf=0,
        silent=0,
    )


def after_back(e: Evidence) -> Evidence:
    """The wait is over: as if the call that created nothing had not been made."""
    return replace(e, fate=None, refusal=None)


def after_rest(e: Evidence) -> Evidence:
    return replace(e, rested=True)


def after_look(e: Evidence, look: Look, *, external_task_id: str) -> Evidence:
    """What is known once a look has ended. A generation that names another id is no answer to ours."""
    sight, echo = look.sight, look.generation.external_task_id if look.generation else None
    if echo is not None and echo != external_task_id:
        sight = Sight.SILENT
    said_neither = sight is Sight.SILENT and look.answered
    return replace(
        e,
        sight=sight,
        sight_rested=e.rested,
        echoed=echo == external_task_id,
        deaf=e.deaf + 1 if said_neither and _is_final(look) else 0,
        silent=e.silent + said_neither if sight is Sight.SILENT else 0,
    )


def _is_final(look: Look) -> bool:
    """The same look would say the same again: a path or id it does not understand, another id's generation."""
    status = look.refusal.http_status if look.refusal else 200
    return status is not None and status < 500 and status not in (401, 403, 408, 425, 429)


def after_proof(e: Evidence, *, finds_ids: bool | None) -> Evidence:
    """`finds_ids` is None where the looks had no answer: nothing is proved either way."""
    return replace(e, finds_ids=finds_ids, can_prove=False)


def quiet_window_s(*, setting_s: float | None, largest_lag_s: float, loopback: bool) -> float:
    """Seconds a doubtful call rests: the setting, or ten times the largest visibility lag seen if that is more.

    Under 60 s only towards loopback (decisions, 9).
    """
    window = DEFAULT_QUIET_WINDOW_S if setting_s is None else setting_s
    window = max(window, LAG_FACTOR * largest_lag_s)
    return window if loopback else max(window, MIN_REMOTE_QUIET_WINDOW_S)
