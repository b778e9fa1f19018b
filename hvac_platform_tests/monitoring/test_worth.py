"""What incidents on a store are worth: by hand calculation, with the reason where something isn't known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.config import Settings
from hvac_platform.devices.registry import device_types
from hvac_platform.monitoring import lifecycle, worth
from hvac_platform.monitoring.data_loss import DATA_LOSS
from hvac_platform.monitoring.notifying import Known, explained_urgency, urgency_now
from hvac_platform.monitoring.worth import (
    NO_PRICES,
    Prices,
    cost_words,
    savings_document,
    savings_of,
    savings_words,
    short_cost,
    worth_document,
    worth_of,
)
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, IncidentHandling
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS
from hvac_platform_tests.monitoring.metered import EXPECTED_KW, draws, incident, metered_chiller

PRICES = "currency: EUR\nprice: 0.2\nperiods:\n  - {from: '06:00', until: '22:00', price: 0.3}\n"
"""Over a whole day (16 · 0.3 + 8 · 0.2) / 24 = 0.2667 a kWh."""


@pytest.fixture
def chiller(store: EmbeddedStore) -> EmbeddedStore:
    """A store with a chiller and what it should draw."""
    metered_chiller(store)
    return store


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    path = tmp_path / "tariffs.yaml"
    path.write_text(PRICES)
    return Prices.of(Settings(_env_file=None, hvac_tariffs=path))  # type: ignore[call-arg]


def test_part_of_a_day_is_told_as_a_day_of_the_same_and_says_so(chiller: EmbeddedStore, prices: Prices) -> None:
    """Six hours at 40 kW beyond 100: 960 ± 120 kWh a day, at 0.2667 a kWh 256 ± 32."""
    start = MIDNIGHT_MS + 30 * HOUR_MS
    draws(chiller, start - DAY_MS, start, EXPECTED_KW)
    draws(chiller, start, start + 6 * HOUR_MS, 140.0)
    found = worth_of(chiller, incident(start, 6), prices)
    assert found.daily is not None
    assert found.daily.cost is not None
    assert (found.daily.kwh.value, found.daily.kwh.low, found.daily.kwh.high) == pytest.approx((960.0, 840.0, 1080.0))
    assert (found.daily.cost.value, found.daily.cost.low, found.daily.cost.high) == pytest.approx((256.0, 224.0, 288.0))
    assert found.daily.hours == pytest.approx(6.0)
    assert cost_words(found) == (
        "256.00 EUR (224.00 to 288.00) a day, 960.0 kWh (840.0 to 1,080.0) a day, "
        "if all of a day were as the 6.0 h that could be compared"
    )
    assert short_cost(found) == "256.00 EUR (224.00 to 288.00) a day"
    assert found.cost == 10.0
    assert found.maintenance_parts == {"fouling": 2.7, "level 3": 1.0, "persistence": 0.5}


def test_of_a_long_incident_the_last_24_hours_count(chiller: EmbeddedStore, prices: Prices) -> None:
    """Two days of 200 kW, then a day of 106: 6 · 24 = 144 kWh, of which 6 · (16 · 0.3 + 8 · 0.2) = 38.40."""
    start = MIDNIGHT_MS + DAY_MS
    draws(chiller, start, start + 2 * DAY_MS, 200.0)
    draws(chiller, start + 2 * DAY_MS, start + 3 * DAY_MS + HOUR_MS, 106.0)
    found = worth_of(chiller, incident(start, 73), prices)
    assert found.daily is not None
    assert found.daily.cost is not None
    assert found.daily.kwh.value == pytest.approx(144.0)
    assert found.daily.cost.value == pytest.approx(38.4, rel=0.02)
    assert not found.daily.extrapolated
    assert "by 24.0 of its last 24 h" in cost_words(found)


def test_without_prices_there_is_energy_and_a_sentence_that_says_how_to_get_money(chiller: EmbeddedStore) -> None:
    start = MIDNIGHT_MS + DAY_MS
    draws(chiller, start, start + 2 * HOUR_MS, 106.0)
    found = worth_of(chiller, incident(start, 2), NO_PRICES)
    assert found.daily is not None
    assert found.daily.cost is None
    assert found.cost == 6.0, "144 of 240 kWh"
    assert short_cost(found) == "144.0 kWh (24.0 to 264.0) a day"
    assert "HVAC_TARIFFS" in found.money_unknown
    document = worth_document(found)
    assert document["avoidable_kwh_a_day"] == {"value": 144.0, "low": 24.0, "high": 264.0}
    assert document["avoidable_cost_a_day"] is None
    assert document["unknown"].keys() == {"money"}


@pytest.mark.parametrize(
    ("hours", "kw", "more", "changes", "why"),
    [
        (0.5, 140.0, {}, {}, worth.TOO_SHORT),
        (3, 140.0, {"chilled_water_flow_rate": 9_000.0}, {}, worth.NOT_COMPARABLE),
        (3, float("nan"), {}, {}, worth.NOT_COMPARABLE),
        (3, -999.0, {}, {}, worth.NOT_COMPARABLE),
        (3, 140.0, {}, {"methods": {DATA_LOSS: 12}}, worth.NOTHING_CAME),
        (3, 140.0, {}, {"device_type": "teapot"}, worth.NO_POWER),
        (3, 140.0, {}, {"device_id": "CH-002"}, worth.NOT_KEPT),
    ],
)
def test_what_is_not_known_is_not_nothing_and_says_why(
    chiller: EmbeddedStore, prices: Prices, hours: float, kw: float, more: dict[str, float], changes: Any, why: str
) -> None:
    start = MIDNIGHT_MS + DAY_MS
    draws(chiller, start, start + 4 * HOUR_MS, kw, **more)
    found = worth_of(chiller, replace(incident(start, hours), **changes), prices)
    assert found.daily is None
    assert found.daily_unknown == why
    assert cost_words(found) == f"not known: {why}"
    assert short_cost(found) == ""
    assert found.cost == 0.0
    assert worth_document(found)["unknown"]["cost"] == why


def test_a_device_that_nothing_was_learned_of_has_no_cost_yet(store: EmbeddedStore, prices: Prices) -> None:
    start = MIDNIGHT_MS
    draws(store, start, start + 3 * HOUR_MS, 140.0)
    assert worth_of(store, incident(start, 3), prices).daily_unknown == worth.NO_MODEL


def test_what_can_not_be_told_from_nothing_is_said_to_be_so(chiller: EmbeddedStore, prices: Prices) -> None:
    start = MIDNIGHT_MS
    draws(chiller, start, start + 3 * HOUR_MS, 103.0)
    found = worth_of(chiller, incident(start, 3), prices)
    assert cost_words(found).startswith("none that can be told from nothing: ")
    assert (found.cost, short_cost(found)) == (0.0, "")
    draws(chiller, start, start + 3 * HOUR_MS, 50.0)
    assert cost_words(worth_of(chiller, incident(start, 3), prices)).startswith("none, it draws less than ")


def test_discomfort_is_what_is_beyond_setpoint_and_tolerance_while_it_runs(
    chiller: EmbeddedStore, prices: Prices
) -> None:
    """Setpoint 44 °F, tolerance 2.2: water of 50.2 °F is 4 °F too warm, in three hours 3 · 4 · 5/9 = 6.67 K·h of 48."""
    start = MIDNIGHT_MS
    draws(chiller, start, start + 3 * HOUR_MS, 100.0, supply=50.2)
    found = worth_of(chiller, incident(start, 3), prices)
    assert found.degree_hours == pytest.approx(3 * 4 * 5 / 9)
    assert found.comfort == 1.4
    draws(chiller, start, start + 3 * HOUR_MS, 100.0, supply=38.5)
    assert worth_of(chiller, incident(start, 3), prices).degree_hours == 0.0, "too cold is no discomfort there"
    draws(chiller, start, start + 3 * HOUR_MS, 0.5, supply=70.0, compressor_status=0.0)
    still = worth_of(chiller, incident(start, 3), prices)
    assert (still.degree_hours, still.comfort_unknown) == (None, worth.NO_TEMPERATURE)


def test_a_sensor_that_is_suspected_says_nothing_of_cost_or_comfort(chiller: EmbeddedStore, prices: Prices) -> None:
    draws(chiller, MIDNIGHT_MS, MIDNIGHT_MS + 3 * HOUR_MS, 140.0, supply=50.2)
    bias = [{"kind": "sensor_bias", "title": "sensor bias", "similarity": 0.9}]
    of_power = worth_of(chiller, replace(incident(MIDNIGHT_MS, 3), kinds=bias, metrics=["power_consumption"]), prices)
    assert (of_power.daily_unknown, of_power.cost, of_power.comfort) == (worth.SUSPECTED, 0.0, 1.4)
    of_water = replace(incident(MIDNIGHT_MS, 3), kinds=bias, metrics=["chilled_water_supply_temp", "cop"])
    found = worth_of(chiller, of_water, prices)
    assert (found.comfort_unknown, found.comfort, found.cost) == (worth.SUSPECTED, 0.0, 10.0)


def test_types_that_people_feel_or_that_supply_a_temperature_declare_their_comfort() -> None:
    assert {name for name, kind in device_types().items() if kind.comfort is not None} == {
        *("rooftop_unit", "makeup_air_unit", "chiller")
    }


def test_the_urgency_that_is_kept_is_the_sum_that_is_shown(chiller: EmbeddedStore, prices: Prices) -> None:
    start = MIDNIGHT_MS
    draws(chiller, start, start + 6 * HOUR_MS, 106.0, supply=50.2)
    one = incident(start, 6, peak_score=4.0)
    kept = Known.of(chiller, prices).applied(one)
    found = worth_of(chiller, one, prices)
    parts = urgency_now(chiller, one, found)
    assert {"cost", "comfort", "maintenance risk"} <= parts.keys()
    assert kept.urgency == pytest.approx(sum(parts.values()))
    assert parts["comfort"] == found.comfort
    said = explained_urgency(chiller, Settings(_env_file=None), one, found)  # type: ignore[call-arg]
    assert f"urgency {kept.urgency:g} (" in said
    assert "cost +8" in said, "144 kWh at 0.2667 are 38.40, of what 240 at the flat 0.2 cost 80 %"


# -- savings -------------------------------------------------------------------------------------------------------------


def resolved(
    store: EmbeddedStore, one: Incident, *, by: str = "platform", at_ms: int | None = None
) -> IncidentHandling:
    store.upsert(Incident.TABLE, Incident.columns([one]))
    rules = lifecycle.Rules(1000 * DAY_MS)
    lifecycle.write_steps(
        store, [lifecycle.after_pass(None, replace(one, status="open"), rules, one.ended_at)], one.ended_at
    )
    if by == "platform":
        handling = lifecycle.handling_of(store, [one])[one.incident_id]
        done = replace(handling, state="resolved", since=one.ended_at + HOUR_MS, actor="platform")
        store.upsert(IncidentHandling.TABLE, IncidentHandling.columns([done]))
    else:
        lifecycle.resolve(store, one, by=by, at_ms=at_ms or one.ended_at)
    return lifecycle.handling_of(store, [one])[one.incident_id]


def test_a_repair_has_saved_what_the_fault_would_have_drawn_since(chiller: EmbeddedStore, prices: Prices) -> None:
    """A day at 140 kW, then two at 104: 36 kW less, 864 kWh a day; ± 5 · √(1 + 1/2) kW."""
    start, repaired = MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS
    draws(chiller, start, repaired, 140.0)
    draws(chiller, repaired, repaired + 2 * DAY_MS, 104.0)
    handling = resolved(chiller, incident(start, 24))
    found, why = savings_of(chiller, incident(start, 24), handling, prices, repaired + 2 * DAY_MS)
    assert why == ""
    assert found is not None
    assert found.kwh_a_day.value == pytest.approx(864.0)
    assert found.kwh_a_day.high - found.kwh_a_day.value == pytest.approx(24 * 5 * 1.5**0.5)
    assert found.kwh.value == pytest.approx(1728.0)
    assert found.cost is not None
    assert found.cost.value == pytest.approx(1728.0 * 6.4 / 24, rel=0.02)
    assert (found.hours_before, found.hours_after) == pytest.approx((24.0, 48.0))
    said = savings_words(found, why, worth_of(chiller, incident(start, 24), prices))
    assert "1,728.0 kWh" in said
    assert "in 48 h" in said
    document = savings_document(found, why, "EUR")
    assert document is not None
    assert document["kwh_a_day"]["value"] == pytest.approx(864.0)


def test_savings_begin_when_somebody_said_that_it_is_over_if_that_was_later(
    chiller: EmbeddedStore, prices: Prices
) -> None:
    start, ended, repaired = MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 2 * DAY_MS
    draws(chiller, start, repaired, 140.0)
    draws(chiller, repaired, repaired + 2 * DAY_MS, 104.0)
    one = incident(start, 24)
    handling = resolved(chiller, one, by="kim", at_ms=repaired)
    found, _ = savings_of(chiller, one, handling, prices, repaired + 2 * DAY_MS)
    assert found is not None
    assert found.kwh_a_day.value == pytest.approx(864.0)
    assert ended < repaired


def test_what_the_prices_are_is_told_with_each_amount(chiller: EmbeddedStore, tmp_path: Path) -> None:
    """An example must not look like what somebody's energy costs."""
    start, repaired = MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS
    draws(chiller, start, repaired, 140.0)
    draws(chiller, repaired, repaired + 2 * DAY_MS, 104.0)
    one = incident(start, 24)
    for name, said in (("", " a day"), ("name: example prices\n", " a day at example prices")):
        (tmp_path / "named.yaml").write_text(f"{name}{PRICES}")
        named = Prices.of(Settings(_env_file=None, hvac_tariffs=tmp_path / "named.yaml"))  # type: ignore[call-arg]
        worth = worth_of(chiller, one, named)
        assert short_cost(worth).endswith(f"){said}")
        assert f"){said}, 960.0 kWh" in cost_words(worth)
        found = savings_of(chiller, one, resolved(chiller, one), named, repaired + 2 * DAY_MS)
        assert f"){said}: at the weather" in savings_words(*found, worth)
        assert worth_document(worth)["prices"] == ("example prices" if name else None)


@pytest.mark.parametrize(
    ("hours_after", "next_after", "severity", "why"),
    [
        (10, None, "", "24 h after it was resolved are needed, and 10.0 h can be compared so far"),
        (
            48,
            5,
            "warning",
            "24 h after it was resolved are needed, and 5.0 h can be compared, then another incident began",
        ),
        (48, 5, "info", ""),
    ],
)
def test_where_too_little_can_be_compared_nothing_is_said_to_be_saved_and_why(
    chiller: EmbeddedStore, prices: Prices, hours_after: int, next_after: int | None, severity: str, why: str
) -> None:
    repaired = MIDNIGHT_MS + 6 * HOUR_MS
    draws(chiller, MIDNIGHT_MS, repaired, 140.0)
    draws(chiller, repaired, repaired + hours_after * HOUR_MS, 100.0)
    one = incident(MIDNIGHT_MS, 6)
    handling = resolved(chiller, one)
    if next_after is not None:
        other = replace(incident(repaired + next_after * HOUR_MS, 1), severity=severity)
        chiller.upsert(Incident.TABLE, Incident.columns([other]))
    found, said = savings_of(chiller, one, handling, prices, repaired + hours_after * HOUR_MS)
    assert (found is None, said) == (bool(why), why)
    worth = worth_of(chiller, one, prices)
    assert savings_words(found, said, worth) == (f"not known: {why}" if why else savings_words(found, "", worth))
    if why:
        assert savings_document(found, said, "EUR") == {"unknown": why}


def test_of_what_is_not_resolved_nothing_is_said_to_be_saved(chiller: EmbeddedStore, prices: Prices) -> None:
    one = incident(MIDNIGHT_MS, 6)
    assert savings_of(chiller, one, None, prices, MIDNIGHT_MS + 9 * DAY_MS) == (None, "")
    handling = replace(resolved(chiller, one), state="acknowledged")
    assert savings_of(chiller, one, handling, prices, MIDNIGHT_MS + 9 * DAY_MS) == (None, "")
    assert savings_words(None, "", worth_of(chiller, one, prices)) == ""
    assert savings_document(None, "", "EUR") is None
