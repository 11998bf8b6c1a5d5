"""The worlds that a submission may meet, each a gateway and a machine, and which assumptions they break."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum, StrEnum, auto


class Finds(Enum):
    """What the gateway's look-up by our id is worth."""

    AT_ONCE = auto()
    LATE = auto()
    """A generation may be invisible until the quiet window has passed."""
    NAMELESS = auto()
    """As AT_ONCE, but its answers do not repeat our id."""
    NEVER = auto()
    """"No such id", whatever it is asked."""
    ANYTHING = auto()
    """Some generation, without our id, whatever it is asked."""
    MUTE = auto()
    """An error that is no answer."""

    @property
    def passes_controls(self) -> bool:
        return self in (Finds.AT_ONCE, Finds.LATE, Finds.NAMELESS)


class Used(Enum):
    """What a create call under a used id meets."""

    REFUSED = auto()
    REWORDED = auto()
    """Refused, in the words of a bad parameter."""
    RETURNED = auto()
    """Answered with the generation that is there."""
    CHARGED = auto()
    MIXED = auto()
    """Refused or charged, as it comes: a gateway with several accounts behind it."""


class Control(StrEnum):
    """Whether there is a generation of ours to try the look-up with."""

    NONE = auto()
    LATER = auto()
    """Another task of this run may bring one, or not."""
    HERE = auto()
    PASSED = auto()
    """Another task of this run has tried it."""
    FAILED = auto()


class Lost(Enum):
    """What may happen to the state file, once, while no run is using it or together with the process."""

    NOTHING = auto()
    COMMITS = auto()
    """An older row comes back: an old backup was restored, or the power failed under a lax `synchronous`."""
    STATE = auto()
    """The file was deleted."""


class Lock(Enum):
    """What keeps a second run away."""

    KERNEL = auto()
    """Held until the process is dead."""
    LEASE = auto()
    """Runs out while its holder sleeps."""
    NONE = auto()
    """The second run has a copy of the state on another machine."""


class Assumption(StrEnum):
    """What the protocol builds on (A1 to A8 of its design)."""

    CREATES_ONE = "A1"
    """A call makes at most one generation, however often the network delivers it."""
    DURABLE = "A2"
    """What is written before a call is still there after it: the row, or else the receipt in the output folder."""
    LOCKED = "A3"
    """The lock is held until its holder is dead."""
    REFUSED_IS_NOT_CREATED = "A4"
    """A refusal on the list means that nothing was created, and that no copy of that call will be."""
    ID_HOLDS = "A5"
    """A used id buys nothing more ..."""
    WINDOW_HOLDS = "A6"
    """... or else no call outlives the quiet window, and a gateway that was proved to find shows all of it then."""
    OURS_ALONE = "A7"
    """Nobody else uses our ids."""
    ONE_STATE = "A8"
    """Nobody runs a copy of the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A gateway and a machine, and what is known of them beforehand."""

    finds: Finds = Finds.AT_ONCE
    used: Used = Used.CHARGED
    control: Control = Control.HERE
    is_known_to_refuse: bool = False
    """An earlier run saw it refuse a used id."""
    is_bounded: bool = True
    """No call lives longer than the quiet window."""
    doubles: bool = False
    """A call may be delivered twice: at once, as by a gateway that tries again itself, or the second time late."""
    burns: bool = False
    """A refused call uses its id up."""
    judges_alike: bool = False
    """Each call with the same content meets the same verdict. Else one may be refused for it, and the next taken."""
    refusals_charge: bool = False
    is_anothers: bool = False
    """The doubtful call was made with another key: ours is shown nothing of it."""
    has_namesakes: bool = False
    """A stranger's generation may bear our id."""
    lost: Lost = Lost.NOTHING
    has_receipts: bool = True
    """The output folder is there still, and synced."""
    lock: Lock = Lock.KERNEL
    attempts: int = 1
    """Purchases that the user allows (`run.attempts`)."""

    @property
    def holds_ids(self) -> bool:
        return self.used in (Used.REFUSED, Used.REWORDED, Used.RETURNED)

    @property
    def forgets(self) -> bool:
        """Whether it may happen that nothing tells of a call that was made."""
        return self.lost is not Lost.NOTHING and not self.has_receipts

    @property
    def broken(self) -> frozenset[Assumption]:
        """The assumptions that this world does not keep."""
        doubts = {
            Assumption.CREATES_ONE: self.doubles and not self.holds_ids,
            Assumption.DURABLE: self.forgets,
            Assumption.LOCKED: self.lock is Lock.LEASE,
            Assumption.REFUSED_IS_NOT_CREATED: self.refusals_charge
            or (not self.judges_alike and (self.doubles or self.forgets)),
            Assumption.ID_HOLDS: self.used is Used.MIXED,
            Assumption.WINDOW_HOLDS: not self.is_bounded,
            Assumption.OURS_ALONE: self.has_namesakes,
            Assumption.ONE_STATE: self.lock is Lock.NONE,
        }
        return frozenset(assumption for assumption, is_broken in doubts.items() if is_broken)

    def __str__(self) -> str:
        plain = World()
        told = [f"finds {self.finds.name}", f"used ids {self.used.name}", f"control {self.control.name}"]
        for each in fields(self)[3:]:
            value = getattr(self, each.name)
            if value != getattr(plain, each.name):
                told.append(f"{each.name} {getattr(value, 'name', value)}")
        return ", ".join(told).replace("_", " ").lower()
