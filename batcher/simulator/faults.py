"""Every mood the provider can have, by name: what it creates, what it answers instead. Pure.

A fault happens at a door: when a generation is created, looked up, or its file fetched. `Settings.faults` gives
chances, `Settings.script` (or `POST /_faults`) says which call meets which. New faults are rows of `FAULTS`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batcher.simulator.luck import luck
from batcher.simulator.replies import Hang, Refusal, Reply, gateway_error, html_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Door(StrEnum):
    """Where a fault meets a request."""

    CREATE = "create"
    LOOK = "look"
    ASSET = "asset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One mood. `refusal`, `reply` and `hang` are the three ways to answer; without one the true answer is sent."""

    name: str
    about: str
    door: Door = Door.CREATE
    creates: bool = True
    """Whether the generation is created (and charged) all the same. Only read at the create door."""
    late: bool = False
    """The generation is created `Settings.late_s` after the answer: a request that outlived its connection."""
    mark: str = ""
    """What is odd about the generation, or about the file sent, from then on."""
    refusal: Refusal | None = None
    """Said in the words of the shape that is set."""
    reply: Reply | None = None
    """Sent as it is."""
    hang: Hang | None = None

    @property
    def reaches_the_rules(self) -> bool:
        """Whether a create call that meets it is judged, and charged, as any other."""
        return self.creates and not self.late


def _refused(name: str, about: str, refusal: Refusal, *, door: Door = Door.CREATE) -> Fault:
    return Fault(name=name, about=about, door=door, creates=False, refusal=refusal)


def _lost(
    name: str, about: str, *, refusal: Refusal | None = None, reply: Reply | None = None, hang: Hang | None = None
) -> Fault:
    return Fault(name=name, about=f"created, but {about}", refusal=refusal, reply=reply, hang=hang)


def _unborn(name: str, about: str, *, reply: Reply | None = None, hang: Hang | None = None) -> Fault:
    return Fault(name=name, about=f"nothing created: {about}", creates=False, reply=reply, hang=hang)


def _odd(name: str, about: str) -> Fault:
    return Fault(name=name, about=about, mark=name)


def _look(name: str, about: str, *, reply: Reply | None = None, hang: Hang | None = None) -> Fault:
    return Fault(name=name, about=about, door=Door.LOOK, reply=reply, hang=hang)


def _asset(name: str, about: str, *, reply: Reply | None = None, mark: str = "") -> Fault:
    return Fault(name=name, about=about, door=Door.ASSET, reply=reply, mark=mark)


_TRACE = "20261122080000000000000simulated"
_INTERNAL = Refusal(status=500, code=5000, message="Internal server error")
_BACKLOG = Refusal(status=504, code=5002, message="Internal timeout, the request is in a backlog")
_REWRITTEN_429 = "当前分组上游负载已饱和，请稍后再试"  # noqa: RUF001 - the gateway's own comma

_CATALOGUE: tuple[Fault, ...] = (
    # Refused: the provider says no, and nothing exists.
    _refused("401", "the key is refused", Refusal(status=401, code=1002, message="Authorization is invalid")),
    _refused("1101", "in arrears, dressed as 429", Refusal(status=429, code=1101, message="Account in arrears")),
    _refused(
        "1102", "out of units, dressed as 429", Refusal(status=429, code=1102, message="Account balance not enough")
    ),
    _refused("1302", "too many requests", Refusal(status=429, code=1302, message="too many requests")),
    _refused("1303", "slots full", Refusal(status=429, code=1303, message="parallel task over resource pack limit")),
    _refused(
        "1303-as-200",
        "slots full, under 200",
        Refusal(status=200, code=1303, message="parallel task over resource pack limit"),
    ),
    _refused("1304", "address not on the list", Refusal(status=429, code=1304, message="IP is not in the whitelist")),
    _refused("5001", "maintenance", Refusal(status=503, code=5001, message="Service temporarily unavailable")),
    _unborn(
        "retry-after",
        "1302 that names a time",
        reply=json_reply(
            {"code": 1302, "message": "too many requests", "request_id": _TRACE},
            status=429,
            headers={"retry-after": "7"},
        ),
    ),
    _unborn(
        "gateway-envelope",
        "CometAPI's own error, 503",
        reply=gateway_error(
            503,
            "no available channel for group default and model kling (distributor)",
            code="model_not_found",
            request_id=_TRACE,
        ),
    ),
    _unborn("gateway-401", "CometAPI refuses the key", reply=gateway_error(401, "Invalid token", request_id=_TRACE)),
    _unborn(
        "gateway-quota",
        "CometAPI's account is empty",
        reply=gateway_error(403, "user quota is not enough", code="insufficient_user_quota", request_id=_TRACE),
    ),
    _unborn(
        "rewritten-429",
        "a 429 whose code the gateway hides",
        reply=gateway_error(429, _REWRITTEN_429, request_id=_TRACE),
    ),
    _unborn("html-502", "a proxy's error page", reply=html_reply(502, "502 Bad Gateway")),
    _unborn(
        "redirect",
        "a 307 to another host",
        reply=Reply(status=307, headers={"location": "https://elsewhere.invalid/kling/v1/videos/text2video"}),
    ),
    _unborn("reset-before", "connection reset", hang="reset"),
    # Lost: it exists and is charged; the client is not told.
    _lost("reset-after", "the connection is reset", hang="reset"),
    _lost("close-after", "the connection is closed", hang="close"),
    _lost("half-reply", "half a header comes back", hang="half"),
    _lost("stall-after", "no reply ever comes", hang="stall"),
    _lost("5000-created", "500 code 5000 comes back", refusal=_INTERNAL),
    _lost("5002-created", "504 code 5002 comes back", refusal=_BACKLOG),
    _lost("html-502-created", "a proxy's error page comes back", reply=html_reply(502, "502 Bad Gateway")),
    _lost("524-created", "the edge gives up waiting", reply=html_reply(524, "524: A timeout occurred")),
    _lost("html-200-created", "200 with a web page comes back", reply=html_reply(200, "Sign in")),
    _lost("no-id-created", "code 0 comes back without data", reply=json_reply({"code": 0, "message": "SUCCEED"})),
    Fault(
        name="zombie",
        about="a proxy's error page now, created `late_s` seconds later",
        late=True,
        reply=html_reply(504, "504 Gateway Time-out"),
    ),
    # Odd: the generation itself behaves strangely.
    _odd("never-ends", "stays in processing for ever, holds its slot"),
    _odd("slow-tail", "renders eight times as long"),
    _odd("fails", "ends failed: Internal error"),
    _odd("risk-control", "ends failed: moderation after the fact"),
    _odd("no-url", "succeeds without a URL"),
    _odd("late-url", "succeeds, the URL comes seconds later"),
    _odd("two-videos", "succeeds with two videos"),
    _odd("hostile-url", "succeeds with a URL into the cloud's metadata service"),
    _odd("unknown-status", "a status word no document has, instead of processing"),
    _odd("backwards", "processing, submitted again, processing"),
    _odd("vanishes", "accepted, then not found any more"),
    _odd("array-data", "a look at one answers with a list"),
    _odd("numeric-id", "its id is a JSON number"),
    # Looks.
    _look("look-502", "a proxy's error page", reply=html_reply(502, "502 Bad Gateway")),
    _look("look-524", "the edge gives up waiting", reply=html_reply(524, "524: A timeout occurred")),
    _look("look-html", "200 with a web page", reply=html_reply(200, "Sign in")),
    _look("look-empty", "200 with nothing in it", reply=Reply(headers={"content-type": "application/json"})),
    _look("look-reset", "connection reset", hang="reset"),
    _look("look-stall", "no reply ever comes", hang="stall"),
    _refused(
        "look-401",
        "the key is refused",
        Refusal(status=401, code=1002, message="Authorization is invalid"),
        door=Door.LOOK,
    ),
    _refused(
        "look-1302", "too many requests", Refusal(status=429, code=1302, message="too many requests"), door=Door.LOOK
    ),
    _refused(
        "look-5000", "internal error", Refusal(status=500, code=5000, message="Internal server error"), door=Door.LOOK
    ),
    # Files.
    _asset(
        "asset-403",
        "refused as if expired",
        reply=Reply(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"),
    ),
    _asset("asset-html", "200 with a web page", reply=html_reply(200, "Just a moment...")),
    _asset(
        "asset-redirect",
        "302 to another host",
        reply=Reply(status=302, headers={"location": "https://elsewhere.invalid/"}),
    ),
    _asset("asset-cut", "half the bytes, then closed", mark="cut"),
    _asset("asset-reset", "half the bytes, then reset", mark="reset"),
    _asset("asset-unsized", "half the bytes, and no length to tell", mark="unsized"),
    _asset("asset-slow", "a few seconds for the file", mark="slow"),
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _CATALOGUE}

NO_FAULT = "ok"
"""In a script: this create goes without a fault."""


class Moods:
    """Draws the fault of each call: scripted ones first, then by chance."""

    def __init__(self, chances: Mapping[str, float], script: Iterable[str], *, seed: int) -> None:
        self._seed = seed
        self._asked: dict[tuple[Door, str], int] = {}
        self._script: dict[Door, deque[Fault | None]] = {door: deque() for door in Door}
        self._chances: dict[str, float] = {}
        self.set_chances(chances)
        self.add_script(script)

    def set_chances(self, chances: Mapping[str, float]) -> None:
        """Replace the chances. Raises ValueError on a name that does not exist or chances that cannot be."""
        check_chances(chances)
        self._chances = dict(chances)

    def add_script(self, script: Iterable[str]) -> None:
        """Queue faults, each for the next call at its own door; `ok` lets one create pass."""
        names = tuple(script)
        check_names(name for name in names if name != NO_FAULT)
        for name in names:
            fault = FAULTS.get(name)
            self._script[fault.door if fault else Door.CREATE].append(fault)

    def draw(self, door: Door, subject: str) -> Fault | None:
        """Return what happens to this call about `subject` (an id), or None: at most one fault."""
        asked = self._asked[door, subject] = self._asked.get((door, subject), 0) + 1
        if self._script[door]:
            return self._script[door].popleft()
        left = luck(self._seed, door, subject, asked).random()
        for name, chance in self._chances.items():
            if FAULTS[name].door is not door:
                continue
            left -= chance
            if left < 0:
                return FAULTS[name]
        return None


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for the first name that is no fault."""
    for name in names:
        if name not in FAULTS:
            raise ValueError(f"no fault is called {name!r}; there are: {', '.join(FAULTS)}")


def check_chances(chances: Mapping[str, float]) -> None:
    """Raise ValueError unless names exist and the chances of each door are a distribution."""
    check_names(chances)
    for door in Door:
        drawn = [chance for name, chance in chances.items() if FAULTS[name].door is door]
        if any(chance < 0 for chance in drawn) or sum(drawn) > 1:
            raise ValueError(f"the chances of the faults at the {door} door must be in 0..1 and sum up to at most 1")
