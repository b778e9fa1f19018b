"""The prices of energy that people write (``HVAC_TARIFFS``): a flat one, periods, and buildings with prices of their own.

Errors name file, line and key, and say what would be right.
"""

from __future__ import annotations

import logging
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from hvac_platform.config import ConfigError, Settings
from hvac_platform.detection.tariffs import EVERY_DAY, EVERY_MONTH, Period, Tariff
from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, place_of, read_text
from hvac_platform.devices.local_time import timezone_of
from hvac_platform.devices.written_times import calendar_months, known_timezone, time_of_day, weekdays

MOST_PERIODS, MOST_PRICE = 100, 1e6
LONGEST_CURRENCY, LONGEST_NAME = 8, 40
NO_FILE = "HVAC_TARIFFS names no file of prices, so there is energy and no money: docs/worth.md has an example"
"""How to get money, where nobody said what energy costs."""
EXAMPLES = {
    "name": "a name says in a few words what the prices are, such as name: contract of 2026",
    "price": "a price of a kWh is a number from 0 on, such as price: 0.28",
    "currency": "write a code or a sign, such as currency: EUR",
    "from": 'write a time of day in quotes, such as from: "08:00"',
    "until": 'write a time of day in quotes, such as until: "20:00"',
    "days": "write days such as [mon-fri]",
    "months": "write months such as [nov-feb]",
    "timezone": "write an IANA name such as Europe/Berlin",
    "periods": "periods are a list, each with a price of its own",
    "buildings": "buildings are a mapping from a building to its price, periods or timezone",
}
logger = logging.getLogger(__name__)


class TariffsFileError(ConfigError):
    """The file of prices can't be used; the message names file, line and key."""


def _currency(value: str) -> str:
    if not 0 < len(value) <= LONGEST_CURRENCY or not all(c.isalpha() or unicodedata.category(c) == "Sc" for c in value):
        raise ValueError(f"must be letters or the sign of a currency, {LONGEST_CURRENCY} at most")
    return value


def _name(value: str) -> str:
    if len(value) > LONGEST_NAME or not value.isprintable():
        raise ValueError(f"must be of {LONGEST_NAME} printable characters at most")
    return value


Price = Annotated[float, Field(ge=0, le=MOST_PRICE, strict=True, allow_inf_nan=False)]
"""Of a kWh."""
TimeOfDay = Annotated[int, BeforeValidator(time_of_day)]
"""In minutes since midnight."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)


class WrittenPeriod(_Part):
    """Hours with a price of their own; one that ends before it begins ends on the next day."""

    price: Price
    name: str = ""
    days: Annotated[frozenset[int], BeforeValidator(weekdays)] = EVERY_DAY
    start: TimeOfDay = Field(default=0, validation_alias=AliasChoices("from", "start"))
    until: TimeOfDay = 1440
    months: Annotated[frozenset[int], BeforeValidator(calendar_months)] = EVERY_MONTH

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.start == self.until:
            raise ValueError("from and until are the same: leave both out for whole days")
        return self

    def period(self) -> Period:
        """As prices are computed."""
        return Period(self.price, self.days, self.start, self.until, self.months)


Periods = Annotated[tuple[WrittenPeriod, ...], Field(max_length=MOST_PERIODS)]
Timezone = Annotated[str, AfterValidator(known_timezone)]


class WrittenBuilding(_Part):
    """What is different in a building; what it leaves out is as at the site."""

    price: Price | None = None
    periods: Periods | None = None
    timezone: Timezone | None = None


class WrittenTariffs(_Part):
    """The whole file."""

    name: Annotated[str, AfterValidator(_name)] = ""
    currency: Annotated[str, AfterValidator(_currency)]
    price: Price
    periods: Periods = ()
    timezone: Timezone | None = None
    buildings: dict[str, WrittenBuilding] = {}


@dataclass(frozen=True, slots=True)
class Tariffs:
    """What energy costs at a site.

    Attributes:
        written: the file.
        alerts: file of alerts, whose timezones hold where this one says none.
    """

    written: WrittenTariffs
    alerts: Path | None = None

    @property
    def name(self) -> str:
        """What the prices are, told with each amount; empty where the file doesn't say it."""
        return self.written.name

    @property
    def currency(self) -> str:
        """Of all prices."""
        return self.written.currency

    @property
    def price(self) -> float:
        """The flat price of the site."""
        return self.written.price

    def of(self, building_id: str) -> tuple[Tariff, ZoneInfo]:
        """Prices of a building and its timezone; those of the site where it has none of its own."""
        site, own = self.written, self.written.buildings.get(building_id, WrittenBuilding())
        price = site.price if own.price is None else own.price
        periods = site.periods if own.periods is None else own.periods
        zone = own.timezone or site.timezone or timezone_of(self.alerts, building_id)
        return Tariff(price, tuple(one.period() for one in periods)), ZoneInfo(zone)


def parse_tariffs(text: str) -> WrittenTariffs:
    """The prices of a YAML text.

    Raises:
        TariffsFileError: line and key are named.
    """
    try:
        document = load_yaml(text)
    except TextRefusedError as error:
        raise TariffsFileError(str(error)) from None
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(document, dict) or root is None:
        raise TariffsFileError("line 1: must be a mapping with currency and price; docs/worth.md has an example")
    try:
        return WrittenTariffs.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = place_of(root, first["loc"])
        said = _in_words(first["type"], first["msg"])
        key = str(next((part for part in reversed(first["loc"]) if str(part) in EXAMPLES), ""))
        example = f"; {EXAMPLES[key]}" if key and first["type"] != "extra_forbidden" else ""
        raise TariffsFileError(f"line {place.line}: {place.path}: {said}{example}") from None


def _in_words(kind: str, said: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such key here: docs/worth.md has them all"
    if kind == "missing":
        return "is missing"
    return said.removeprefix("Value error, ").removeprefix("Input ")


def load_tariffs(path: Path) -> WrittenTariffs:
    """The prices of a file.

    Raises:
        TariffsFileError: it can't be read or used; file, line and key are named.
    """
    try:
        return parse_tariffs(read_text(path))
    except (TariffsFileError, TextRefusedError) as error:
        raise TariffsFileError(f"{path}: {error}") from None


@lru_cache(maxsize=4)
def _written_as_of(path: Path, _changed: tuple[int, int]) -> WrittenTariffs:
    return load_tariffs(path)


def current_tariffs(settings: Settings) -> Tariffs | None:
    """The prices as they are now, read again only when the file has changed; None where no file is named.

    Raises:
        TariffsFileError: it can't be read or used.
    """
    path = settings.hvac_tariffs
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError as error:
        raise TariffsFileError(f"{path}: {error.strerror or error}") from None
    return Tariffs(_written_as_of(path, (status.st_mtime_ns, status.st_size)), settings.hvac_alerts)


@lru_cache(maxsize=64)
def _warn_once(said: str) -> None:
    """Pages ask every few seconds: what is wrong is logged once."""
    logger.warning("there is no money without prices: %s", said)


def usable_tariffs(settings: Settings) -> tuple[Tariffs | None, str]:
    """The prices as they are now; None with the reason in a sentence where there are none, or they can't be used."""
    try:
        found = current_tariffs(settings)
    except TariffsFileError as error:
        _warn_once(str(error))
        return None, str(error)
    return (None, NO_FILE) if found is None else (found, "")
