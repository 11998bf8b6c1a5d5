from __future__ import annotations

import pytest

from batcher.catalog import DEFAULTS, MODELS, class_of
from batcher.prices import PRICES_AS_OF, Prices, PriceSource, price_usd, usual_units
from batcher.simulator import models as simulated


@pytest.mark.parametrize(
    ("request_", "usd", "is_estimate"),
    [
        ({}, 0.13, False),
        ({"model_name": "kling-v1-6", "mode": "pro", "duration": "10"}, 0.92, False),
        ({"model_name": "kling-v2-master"}, 1.32, False),
        ({"model_name": "kling-v2-5-turbo", "duration": "5"}, 0.1974, True),
        ({"model_name": "kling-v3", "mode": "4k", "duration": "10"}, 3.948, True),
        ({"model_name": "kling-v2-6", "mode": "pro", "sound": "on"}, 0.658, True),
    ],
)
def test_prices_are_cometapis_and_marked_where_estimated(request_, usd, is_estimate):
    price = price_usd(request_)
    assert price is not None
    assert (price.usd, price.is_estimate) == (pytest.approx(usd), is_estimate)


@pytest.mark.parametrize("request_", [{"model_name": "kling-v9"}, {"mode": "4k"}, {"duration": "7"}])
def test_what_nobody_priced_has_no_price(request_):
    assert price_usd(request_) is None


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_every_model_can_be_priced_in_each_of_its_ways(model):
    for mode in model.modes or (DEFAULTS["mode"],):
        for duration in model.durations:
            assert price_usd({"model_name": model.name, "mode": mode, "duration": str(duration)}), (mode, duration)


def everything_that_has_a_price():
    for model in MODELS.values():
        for mode in model.modes or (None,):
            for duration in model.durations:
                for sound in ("off", "on") if mode in model.sound else ("off",):
                    request = {"model_name": model.name, "duration": str(duration), "sound": sound}
                    yield request | ({"mode": mode} if mode else {})


def test_the_usual_units_are_those_of_klings_list():
    """Worked out from our prices, held against the simulator's own list: nobody is warned of what is as expected."""
    for request in everything_that_has_a_price():
        assert usual_units(request) == pytest.approx(simulated.units(request), abs=0.01), request


def test_without_a_price_no_number_of_units_is_usual():
    assert usual_units({"model_name": "kling-v9"}) is None


def test_a_price_of_ones_own_is_no_estimate_and_goes_before_the_table():
    loud = {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"}
    prices = Prices(own={class_of(loud): 0.5}, own_source=PriceSource("2026-11", "prices.yaml"))
    assert prices.of(loud).usd == 0.5
    assert not prices.of(loud).is_estimate
    assert prices.of(loud | {"sound": "off"}) == price_usd(loud | {"sound": "off"})
    assert [source.as_of for source in prices.sources] == ["2026-11", PRICES_AS_OF]


def test_without_a_file_the_prices_are_those_of_the_table():
    assert Prices().of({}) == price_usd({})
    assert [source.as_of for source in Prices().sources] == [PRICES_AS_OF]


def test_ones_own_price_says_nothing_about_units():
    """Units are Kling's: whether a clip took more than usual is judged by its list, not by what a person pays."""
    assert Prices(own={"kling-v9 std 5s": 2.0}).of({"model_name": "kling-v9"}).usd == 2.0
    assert usual_units({"model_name": "kling-v9"}) is None
