"""What kind of provider is simulated: one value, every field with its unit and default. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from batcher.simulator.faults import NO_FAULT, check_chances, check_names

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = Literal["native", "taskdto", "openai", "hybrid"]
"""Who wraps the replies: Kling itself, or one of three kinds of gateway."""
UsedId = Literal["refuse", "reword", "return", "create"]
Check = Literal["parameters", "duplicate", "moderation", "balance", "slots"]
Clips = Literal["rendered", "sample", "stamped"]
CallbackMood = Literal["lost", "duplicate", "reordered", "early"]

DEMO_TIME_SCALE = 0.02
"""A kling-v1-6 std clip of 5 s takes about 3 real seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A simulated provider. The default is native Kling in a good mood, fast enough to watch."""

    seed: int = 0
    """The same seed and the same requests give the same durations and the same faults."""
    time_scale: float = DEMO_TIME_SCALE
    """Real seconds a simulated second takes. 1.0 is the true pace: minutes a clip."""
    generation_s: float | None = None
    """Real seconds every generation takes, without a queue: for comparisons, where luck must not decide. None: drawn
    for its model."""

    # The account
    keys: frozenset[str] | None = None
    """Bearer keys accepted (for a JWT: its `iss`). None: any that is not empty."""
    limit: int = 5
    """Generations an account may have in flight; one more is refused with 1303."""
    balance_units: float | None = None
    """Units an account has; a create beyond it is refused with 1102. None: no end."""

    # The API
    shape: Shape = "native"
    checks: tuple[Check, ...] = ("parameters", "duplicate", "moderation", "balance", "slots")
    """The order in which a create is judged, after its key and its JSON. No document tells the true one. Moderation
    and balance are judged after the parameters."""
    used_ids: UsedId = "refuse"
    """What a used `external_task_id` meets: 1201 in the real words, 1201 in other words, the old generation, or
    a second one that is charged again."""
    finds_external_ids: bool | None = None
    """Whether a look by external id works. None: as the shape has it (native and hybrid do)."""
    visible_after_s: float = 0.0
    """Real seconds until a look by external id, or the list, shows a new generation."""
    lists: bool | None = None
    """Whether the list call exists. None: as the shape has it (native and hybrid do)."""
    prompt_limit: int = 2500
    """Characters a prompt, or a negative prompt, may have."""
    refused_words: tuple[str, ...] = ("simulate refusal",)
    """A prompt with one of these is refused at once: 400, code 1301."""
    failed_words: tuple[str, ...] = ("simulate failure",)
    """A prompt with one of these is accepted and fails: risk control."""

    # Files
    clips: Clips = "rendered"
    """A clip rendered for its prompt, the same small file for all (no threads: for virtual time), or that file with
    the generation's id in it."""
    clip_bytes: int = 0
    """At least so many bytes a clip, filled up with a box that players skip; real ones have 5 to 20 million."""
    url_life_s: float = 30 * 86400.0
    """Real seconds a signed URL lives, from the look that gave it."""
    ranges: bool = True
    """Whether files can be had in parts."""

    # Callbacks
    callbacks: bool = True
    callback_secret: str = ""
    """`whsec_...` signs them by Standard Webhooks; empty leaves them unsigned, as CometAPI's probably are."""
    callback_moods: Mapping[CallbackMood, float] = field(default_factory=dict)
    """Chance of each mood, per callback."""

    # Faults
    faults: Mapping[str, float] = field(default_factory=dict)
    """Chance of each fault, per call at its door; the names are those of `faults.FAULTS`."""
    script: tuple[str, ...] = ()
    """Faults for the first calls, each at its own door, before chance is asked; `ok` lets one create pass."""
    late_s: float = 30.0
    """Real seconds after which a `zombie` is created."""

    def __post_init__(self) -> None:
        """Raise ValueError on a setting that cannot be."""
        check_chances(self.faults)
        check_names(name for name in self.script if name != NO_FAULT)
        for mood, chance in self.callback_moods.items():
            if mood not in get_args(CallbackMood) or not 0 <= chance <= 1:
                raise ValueError(f"callback_moods: {mood!r}: {chance!r} is no mood with a chance in 0..1")
        judged = ["parameters", *(check for check in self.checks if check in ("moderation", "balance"))]
        if [check for check in self.checks if check in judged] != judged:
            raise ValueError("checks: parameters must be among them, before moderation and balance")
        if self.limit < 1 or self.time_scale <= 0:
            raise ValueError("limit must be at least 1 and time_scale above 0")
        if self.generation_s is not None and not 0 < self.generation_s < math.inf:
            raise ValueError("generation_s must be above 0, and finite")
        if self.clips not in get_args(Clips):
            raise ValueError(f"clips: {self.clips!r} is none of {', '.join(get_args(Clips))}")

    @property
    def knows_external_ids(self) -> bool:
        """Whether a look by external id works."""
        return self._native if self.finds_external_ids is None else self.finds_external_ids

    @property
    def has_list(self) -> bool:
        """Whether the list call exists."""
        return self._native if self.lists is None else self.lists

    @property
    def _native(self) -> bool:
        return self.shape in ("native", "hybrid")
