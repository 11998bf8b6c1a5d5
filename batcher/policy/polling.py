"""When to look at a running generation next, and how long one takes. Pure.

Generations of one class (model, mode, duration) take similar times, so how likely one ends in the next second, given
its age, is learnt and the looks gather around it: none while it can hardly be done, close together where it probably
is, thinning out in the tail.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import exp, isfinite, sqrt
from typing import TYPE_CHECKING, Any

from batcher.catalog import usual_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

FIRST_BIN_S, WIDER, BINS = 0.25, 1.25, 64
EDGES_S = (0.0, *(FIRST_BIN_S * WIDER**n for n in range(BINS)))
"""Ages fall in bins 25 % wide; the last ends after a few days, and whatever is said to take longer ends there."""

MEMORY = 500.0
"""Beyond so many finished ones all counts are halved: a provider's speed changes, and what is kept stays small."""

PRIOR_WEIGHT = 0.25
"""How many endings a bin counts as seen before any was: what is assumed gives way to what is learnt at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long the generations of one class take: endings, and seconds under observation, by age.

    One that is still running tells something too: that it did not end so far. Without it the first ends of a run, the
    short ones, would pass for all.
    """

    finished: tuple[float, ...] = (0.0,) * BINS
    at_risk: tuple[float, ...] = (0.0,) * BINS
    """Seconds that generations were running in each bin, whether they ended there or not."""

    def with_survived(self, seconds: float, *, since_s: float = 0.0) -> Durations:
        """One was seen running at an age of so many seconds. `since_s`: the age up to which that was known before."""
        seconds = min(seconds, EDGES_S[-1])
        if not 0 <= since_s < seconds:
            return self
        at_risk = list(self.at_risk)
        for n in range(bin_of(since_s), bin_of(seconds) + 1):
            at_risk[n] += min(seconds, EDGES_S[n + 1]) - max(since_s, EDGES_S[n])
        return Durations(finished=self.finished, at_risk=tuple(at_risk))

    def with_finished(self, seconds: float, *, since_s: float = 0.0) -> Durations:
        """One ended after so many seconds. `since_s`: the age up to which it was known to be running."""
        if not (isfinite(seconds) and seconds >= 0):
            return self
        seen = self.with_survived(seconds, since_s=since_s)
        n = bin_of(seconds)
        finished = (*seen.finished[:n], seen.finished[n] + 1.0, *seen.finished[n + 1 :])
        share = 0.5 if sum(finished) > MEMORY else 1.0
        return Durations(
            finished=tuple(count * share for count in finished), at_risk=tuple(s * share for s in seen.at_risk)
        )

    def hazard(self, age_s: float, *, prior_s: float) -> float:
        """The chance to end in the next second of one that is `age_s` old, as a rate.

        Before anything is learnt it is 1 / (age + `prior_s`), that of the flattest distribution whose median is
        `prior_s` (log-logistic of shape 1).
        """
        n = bin_of(age_s)
        return (self.finished[n] + PRIOR_WEIGHT) / (self.at_risk[n] + PRIOR_WEIGHT * (max(0.0, age_s) + prior_s))

    @property
    def count(self) -> float:
        """How many ended, the older ones counted for less."""
        return sum(self.finished)

    @property
    def expected_s(self) -> float | None:
        """The mean time, seconds; None where none ended. One still running counts for what it survived."""
        if not any(self.finished):
            return None
        mean, left = 0.0, 1.0
        for n, (start, stop) in enumerate(pairwise(EDGES_S)):
            ended, watched = self.finished[n], self.at_risk[n]
            if not watched:
                break
            stays = exp(-ended / watched * (stop - start))
            mean += left * ((1 - stays) * watched / ended if ended else stop - start)
            left *= stays
        return mean

    def to_json(self) -> dict[str, list[float]]:
        """For the state, a few hundred bytes."""
        last = max((n for n in range(BINS) if self.at_risk[n] or self.finished[n]), default=-1) + 1
        return {
            "finished": [round(count, 3) for count in self.finished[:last]],
            "at_risk": [round(seconds, 3) for seconds in self.at_risk[:last]],
        }

    @classmethod
    def from_json(cls, kept: Any) -> Durations:
        """Read what `to_json` gave; or a list of finished times, as the first versions kept them.

        Raises ValueError or TypeError on anything else.
        """
        if isinstance(kept, list):
            learnt = cls()
            for seconds in kept:
                learnt = learnt.with_finished(float(seconds))
            return learnt
        if not isinstance(kept, dict):
            raise TypeError("neither bins nor a list")
        return cls(finished=_bins(kept.get("finished", ())), at_risk=_bins(kept.get("at_risk", ())))


def bin_of(age_s: float) -> int:
    """The bin of an age, from 0."""
    return min(max(bisect_right(EDGES_S, age_s) - 1, 0), BINS - 1)


def _bins(values: Sequence[Any]) -> tuple[float, ...]:
    counts = [float(value) for value in values]
    if len(counts) > BINS or not all(isfinite(count) and count >= 0 for count in counts):
        raise ValueError("not the bins of a class")
    return (*counts, *(0.0,) * (BINS - len(counts)))


def expected_s(class_: str, learnt: Mapping[str, Durations]) -> float:
    """Seconds that a generation of a class takes: as learnt, else an estimate of the catalog."""
    known = learnt.get(class_)
    mean = known.expected_s if known else None
    return usual_s(class_) if mean is None else mean


def mean_s(learnt: Iterable[Durations]) -> float | None:
    """Mean time over all classes, by how many of each ended, seconds; None for none."""
    known = [(each.expected_s or 0.0, each.count) for each in learnt]
    total = sum(count for _, count in known)
    return sum(mean * count for mean, count in known) / total if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How eagerly to look. Seconds."""

    floor_s: float = 1.0
    """Never sooner after the last look at the same thing, whatever is known or asked for."""
    cap_s: float = 30.0
    """Never later, except where callbacks tell of the ends."""
    worth_s: float = 0.22
    """How many seconds of an unseen end one single look is worth."""
    list_worth_s: float = 0.5
    """The same of a list call that shows no more than `LIST_UNIT`; one that shows more costs more."""
    prior_s: float | None = None
    """The median of a class of which nothing is known; None: the catalog's. A server on this machine may play a
    provider at any speed."""

    def prior_of(self, class_: str) -> float:
        return usual_s(class_) if self.prior_s is None else self.prior_s


LIST_UNIT = 20
"""Reading a list costs the server and us by the entry, so its worth grows with how many are in flight."""

SWEEP_TIMES = 1.5
"""Where callbacks tell of the ends, single looks wait so many times the time expected, until most have ended."""


def look_rate(hazard: float, *, worth_s: float) -> float:
    """Looks a second, where the sum of hazards of all that one look shows is `hazard`.

    The density of inspections that costs least, where an end unseen costs by the second and a look costs as much as
    `worth_s` seconds of that: sqrt(h / 2c) (J. B. Keller, Optimum checking schedules for systems subject to random
    failure, Management Science 21, 1974). At a constant hazard the gap is sqrt(2c / h).
    """
    return sqrt(hazard / (2 * worth_s))


def list_worth_s(pace: Pace, count: int) -> float:
    """What a list call that shows `count` of ours is worth, seconds."""
    return pace.list_worth_s * max(1.0, count / LIST_UNIT)


def next_look_s(learnt: Durations, *, age_s: float, prior_s: float, pace: Pace, rng: Random) -> float:
    """Seconds from now to the next single look at a generation that is `age_s` old.

    The looks follow `look_rate` as the hazard changes with the age. With +-10 % jitter, so that tasks submitted
    together do not ask together.
    """
    age, latest, due = max(0.0, age_s), max(0.0, age_s) + pace.cap_s, 1.0
    while age < latest:
        edge = min(latest, next((edge for edge in EDGES_S[bin_of(age) + 1 :] if edge > age), latest))
        rate = look_rate(learnt.hazard(age, prior_s=prior_s), worth_s=pace.worth_s)
        if rate * (edge - age) >= due:
            age += due / rate
            break
        due -= rate * (edge - age)
        age = edge
    return max(pace.floor_s, age - max(0.0, age_s)) * (0.9 + 0.2 * rng.random())


def sweep_s(expected: float, *, pace: Pace, rng: Random) -> float:
    """Seconds to the next single look, where callbacks tell of nearly all ends: it finds those whose one was lost."""
    return max(pace.cap_s, SWEEP_TIMES * expected) * (0.9 + 0.2 * rng.random())
