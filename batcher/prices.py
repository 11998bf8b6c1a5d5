"""What a clip costs: CometAPI's published prices, Kling's list where it publishes none, and a person's own. Pure.

Prices are for a class of clips: model, mode, duration, and sound if any, as `catalog.class_of` names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batcher.catalog import DEFAULTS, MODELS, class_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRICES_AS_OF = "2025-12"
PRICES_SOURCE = "CometAPI blog, a clip; ≈ from Kling's list of 2026-09-20"

_PER_CLIP: dict[tuple[str, str], dict[str, float]] = {
    ("kling-v1", "std"): {"5": 0.13, "10": 0.26},
    ("kling-v1", "pro"): {"5": 0.46, "10": 0.92},
    ("kling-v1-6", "std"): {"5": 0.26, "10": 0.53},
    ("kling-v1-6", "pro"): {"5": 0.46, "10": 0.92},
    ("kling-v2-master", "std"): {"5": 1.32, "10": 2.64},
    ("kling-v2-1-master", "std"): {"5": 1.32, "10": 2.64},
    ("kling-v2-5-turbo", "pro"): {"5": 0.33, "10": 0.66},
}
"""US dollars a clip at CometAPI, as published; the masters have no mode and stand under the default."""

_LIST_PER_SECOND: dict[tuple[str, str, str], float] = {
    ("kling-v2-5-turbo", "std", "off"): 0.042,
    ("kling-v2-6", "std", "off"): 0.042,
    ("kling-v2-6", "pro", "off"): 0.07,
    ("kling-v2-6", "pro", "on"): 0.14,
    ("kling-v3", "std", "off"): 0.084,
    ("kling-v3", "std", "on"): 0.126,
    ("kling-v3", "pro", "off"): 0.112,
    ("kling-v3", "pro", "on"): 0.168,
    ("kling-v3", "4k", "off"): 0.42,
    ("kling-v3", "4k", "on"): 0.42,
}
"""US dollars a second on Kling's own list, for what CometAPI publishes no price."""

_GATEWAY_SHARE = 0.94
"""CometAPI's published prices over Kling's list prices: $0.132 against $0.14 a unit."""


MOST_NAMED = 3
"""Classes without a price that a hint names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one clip costs."""

    usd: float
    is_estimate: bool
    """Not published by the gateway: worked out from Kling's list."""


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where prices are from."""

    as_of: str
    """The date of the prices themselves: a day or a month."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The table of this version, under a person's own prices."""

    own: Mapping[str, float] = field(default_factory=dict)
    """US dollars a clip by class."""
    own_source: PriceSource | None = None

    @property
    def sources(self) -> tuple[PriceSource, ...]:
        """Where the prices are from, what is asked first before the other."""
        table = PriceSource(PRICES_AS_OF, PRICES_SOURCE)
        return (table,) if self.own_source is None else (self.own_source, table)

    def of(self, request: Mapping[str, Any]) -> Price | None:
        """The price of one clip in US dollars, or None where nobody published one."""
        if self.own and (usd := self.own.get(class_of(request))) is not None:
            return Price(usd=usd, is_estimate=False)
        return price_usd(request)


def how_to_price(classes: Sequence[str], file: str | None = None) -> str:
    """What to type where the price of these classes is not known. `file`: the file of prices that is used already."""
    lines = "  ".join(f"{name}: USD" for name in classes[:MOST_NAMED])
    if file is not None:
        return f"write what a clip costs under prices: in {file}, a line a class:  {lines}"
    return (
        f"write what a clip costs into a file prices.yaml, a line a class:  {lines}  below the lines"
        "  as_of: YYYY-MM-DD  and  prices:  , and add  --prices prices.yaml"
    )


def price_usd(request: Mapping[str, Any]) -> Price | None:
    """The price of one clip at CometAPI in US dollars, or None where nobody published one."""
    return _price_usd(
        str(request.get("model_name", DEFAULTS["model_name"])),
        str(request.get("mode", DEFAULTS["mode"])),
        str(request.get("duration", DEFAULTS["duration"])),
        str(request.get("sound", DEFAULTS["sound"])),
    )


@lru_cache(maxsize=1024)
def _price_usd(name: str, mode: str, duration: str, sound: str) -> Price | None:
    if usd := _PER_CLIP.get((name, mode), {}).get(duration):
        return Price(usd=usd, is_estimate=False)
    rate = _LIST_PER_SECOND.get((name, mode, sound))
    if rate is None or not duration.isdecimal() or int(duration) not in MODELS[name].durations:
        return None
    return Price(usd=round(rate * int(duration) * _GATEWAY_SHARE, 4), is_estimate=True)


_USD_PER_UNIT = 0.132
"""Every price that CometAPI publishes is Kling's number of units times this, rounded to the cent."""
_LIST_USD_PER_UNIT = 0.14


def usual_units(request: Mapping[str, Any]) -> float | None:
    """How many units Kling takes for one clip, as its price says; None where nobody published one."""
    price = price_usd(request)
    if price is None:
        return None
    return round(price.usd / (_LIST_USD_PER_UNIT * _GATEWAY_SHARE if price.is_estimate else _USD_PER_UNIT), 1)
