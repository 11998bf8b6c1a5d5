"""How near to the shortest possible run: slots used and calls refused, for accounts that stand, move, or are slow.

`python bench/slots.py [--smoke] [--record]`: virtual time, the real runner (`bench/lab.py`); one row is compared with
the simulator over HTTP in real time. `--single` leaves the list call out.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from statistics import median

from lab import Case, Report, lognormal, run, share
from record import SMOKE, publish

SEEDS = range(1 if SMOKE else 3)
SHARE = 0.02 if SMOKE else 1.0
"""Of the tasks."""
MEAN_S = 90.0 * exp(0.5**2 / 2)
"""Of a lognormal of median 90 s and sigma 0.5."""


def tasks(count: int) -> int:
    return max(12, round(SHARE * count))


def moving(*limits: int, count: int) -> Case:
    """An account whose limit moves: each for the same time, so that `count` generations of ours fill it."""
    phase_s = tasks(count) * MEAN_S / sum(limits)
    return Case(tasks=tasks(count), limit=[(phase_s * n, limit) for n, limit in enumerate(limits)])
