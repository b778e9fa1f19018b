"""What a message says of cost: a short phrase where it is known, nothing where it isn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvac_platform.alerts.messages import Message, content_of
from hvac_platform.config import Settings
from hvac_platform.monitoring.worth import NO_PRICES, Prices
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS
from hvac_platform_tests.monitoring.metered import draws, incident, metered_chiller


def told(store: EmbeddedStore, prices: Prices, transition: str = "opened", hours: float = 6) -> Message:
    content = content_of(store, incident(MIDNIGHT_MS, hours), "", prices=prices)
    return Message("key", transition, MIDNIGHT_MS, MIDNIGHT_MS, (content,))


@pytest.fixture
def chiller(store: EmbeddedStore) -> EmbeddedStore:
    metered_chiller(store)
    draws(store, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS, 140.0)
    return store


def test_a_message_says_what_the_incident_costs_a_day(chiller: EmbeddedStore, tmp_path: Path) -> None:
    (tmp_path / "tariffs.yaml").write_text("currency: EUR\nprice: 0.25\n")
    settings = Settings(_env_file=None, hvac_tariffs=tmp_path / "tariffs.yaml")  # type: ignore[call-arg]
    message = told(chiller, Prices.of(settings))
    assert "costs about 240.00 EUR (210.00 to 270.00) a day" in message.text().splitlines()
    assert message.document()["incidents"][0]["cost"] == "240.00 EUR (210.00 to 270.00) a day"
    assert "costs about" not in told(chiller, Prices.of(settings), "resolved").text()


def test_without_prices_it_says_the_energy_and_nothing_where_that_is_not_known(chiller: EmbeddedStore) -> None:
    assert "costs about 960.0 kWh (840.0 to 1,080.0) a day" in told(chiller, NO_PRICES).text()
    assert "costs" not in told(chiller, NO_PRICES, hours=0.5).text()
