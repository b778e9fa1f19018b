"""Units: what a unit's many spellings mean, and how a value in one becomes a value in another.

A unit is read from a declared table of the field's usual spellings (UCUM, QUDT, BACnet, Haystack, Niagara and what people
write in headers) and from quotients and products of them (``kJ/kg``, ``m³/h``, ``W/(m²·K)``). Temperatures and
differences of temperatures are different things with the same spelling: which of the two a point is, its declaration
says. Pressures over the atmosphere and absolute ones don't become each other, since the height of the place is not known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

LONGEST_UNIT = 64
TEMPERATURE, DIFFERENCE, GAUGE, ABSOLUTE = "temperature", "difference", "gauge", "absolute"
_POUND, _FOOT, _INCH, _GALLON, _BTU = 0.45359237, 0.3048, 0.0254, 3.785411784e-3, 1055.05585262
_PSI = _POUND * 9.80665 / _INCH**2

SAYS_NOTHING = frozenset(
    {"", "-", "--", "none", "null", "n/a", "na", "nan", "no units", "no-units", "no_units", "unitless", "no unit"}
)
"""Spellings, in small letters, of no unit at all."""
SAYS_FRACTION = frozenset({"-", "unitless"})
"""Those of them that say dimensionless: of a point in percent, values from 0 to 1."""

Dimensions = tuple[tuple[str, int], ...]
"""Exponents of base quantities, sorted by name; kelvin, metre, kilogram, second, ampere, turn, …"""


class UnitError(ValueError):
    """A unit is not known, or can't become another; the message says which in one line."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its value in base units is ``factor * value + offset``.

    Attributes:
        dimensions: exponents of the base quantities.
        factor: base units in one of it.
        offset: base units at its zero; only temperatures have one.
        reference: what its zero is: ``temperature``, ``difference``, ``gauge``, ``absolute``, or empty where it is nothing.
    """

    dimensions: Dimensions
    factor: float
    offset: float = 0.0
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """From a value in one unit to one in another: ``scale * value + offset``."""

    scale: float = 1.0
    offset: float = 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether both units are the same one."""
        return self.scale == 1.0 and self.offset == 0.0


SAME = Conversion()


#: Factor, dimensions, spellings separated by ``|``. The first spelling stands for the unit in products and quotients.
_TABLE: tuple[tuple[float, str, str], ...] = (
    # numbers
    (1, "", "1|{1}|dimensionless|fraction|ratio|0-1|0..1|p.u.|pu|per unit|number|count|ea"),
    (1, "", "bool|boolean|on/off|off/on|true/false|0/1|active/inactive|state|status|enum|BOOLEAN|binary|mode"),
    (0.01, "", "%|percent|pct|perc|%RH|% RH|%rh|RH%|%r.h.|% r.h.|%rF|% r.F.|percent relative humidity|PERCENT|"
     "PERCENT_RH|percent-relative-humidity|relative humidity|% open|%open|%opening|per cent|%HR|%H.R.|% HR|rh"),
    (1e-6, "", "ppm|[ppm]|PPM|parts per million|parts-per-million|ppmv"),
    (1e-9, "", "ppb|[ppb]|PPB|parts-per-billion"),
    # length, area, volume
    (1, "m1", "m|meter|meters|metre|metres|M"),
    (_FOOT, "m1", "ft|[ft_i]|foot|feet|FT"),
    (_INCH, "m1", "in|[in_i]|inch|inches|IN"),
    (1, "m2", "m2|sqm|sq m|m^2|square meters|square-meters|M2"),
    (_FOOT**2, "m2", "ft2|sqft|sq ft|[sft_i]|ft^2|square feet|square-feet|sf|FT2"),
    (1e-3, "m3", "L|l|liter|liters|litre|litres|ltr|LTR"),
    (1, "m3", "m3|cbm|m^3|cubic meters|cubic-meters|M3"),
    (_GALLON, "m3", "gal|[gal_us]|gallon|gallons|us-gallons|gal_us|GAL_US|us gal|USgal"),
    (4.54609e-3, "m3", "gal_uk|[gal_br]|imperial gallon|imperial-gallons|impgal"),
    (_FOOT**3, "m3", "ft3|cf|[cft_i]|cuft|cu ft|ft^3|cubic feet|cubic-feet|FT3"),
    # mass, time, turns
    (1e-3, "kg1", "g|gram|grams"),
    (_POUND, "kg1", "lb|lbs|[lb_av]|pound|pounds|lbm|LB"),
    (_POUND / 7000, "kg1", "gr|[gr]|grain|grains"),
    (1000, "kg1", "t|tonne|tonnes|metric ton"),
    (1, "s1", "s|sec|secs|second|seconds|SEC"),
    (60, "s1", "min|mins|minute|minutes|MIN"),
    (3600, "s1", "h|hr|hrs|hour|hours|HR|Std|Stunden|std."),
    (86400, "s1", "d|day|days|DAY"),
    (1, "s-1", "Hz|hz|hertz|HZ|1/s|cps"),
    (1, "turn1", "rev|{rev}|revolution|revolutions"),
    (1 / 60, "turn1 s-1", "rpm|RPM|r/min|rev/min|{rev}/min|{rpm}|REV-PER-MIN|revolutions per minute|revolutions-per-minute|"
     "U/min|1/min|min-1|tr/min|giri/min|r.p.m.|/min"),
    # velocity, acceleration
    (1, "m1 s-1", "m/s|mps|meters per second|meters-per-second|M-PER-SEC"),
    (1e-3, "m1 s-1", "mm/s|millimeters-per-second|MilliM-PER-SEC|mm/sec|mm/s rms"),
    (_FOOT / 60, "m1 s-1", "fpm|ft/min|feet per minute|feet-per-minute|FT-PER-MIN"),
    (_INCH, "m1 s-1", "in/s|ips|inches per second"),
    (1609.344 / 3600, "m1 s-1", "mph|miles per hour|miles-per-hour|MI-PER-HR"),
    (1 / 3.6, "m1 s-1", "km/h|kph|kmh|KiloM-PER-HR|kilometers-per-hour"),
    (9.80665, "m1 s-2", "gn|[g]|g-force|G"),
    # volume flow
    (_FOOT**3 / 60, "m3 s-1", "cfm|CFM|[cft_i]/min|ft3/min|cu ft/min|"
     "cubic feet per minute|cubic-feet-per-minute|FT3-PER-MIN|scfm|acfm"),
    (_GALLON / 60, "m3 s-1", "gpm|GPM|[gal_us]/min|gal/min|gallons per minute|us gallons per minute|us-gallons-per-minute|"
     "GAL_US-PER-MIN|usgpm|US gpm"),
    (4.54609e-3 / 60, "m3 s-1", "igpm|imperial-gallons-per-minute"),
    (1e-3, "m3 s-1", "L/s|l/s|lps|LPS|liters per second|liters-per-second|L-PER-SEC|l/sec"),
    (1e-3 / 60, "m3 s-1", "L/min|l/min|lpm|LPM|liters per minute|liters-per-minute|L-PER-MIN"),
    (1e-3 / 3600, "m3 s-1", "L/h|l/h|lph|LPH|liters per hour|liters-per-hour|l/hr"),
    (1, "m3 s-1", "m3/s|cms|cubic meters per second|cubic-meters-per-second|M3-PER-SEC"),
    (1 / 60, "m3 s-1", "m3/min|cubic meters per minute|cubic-meters-per-minute|M3-PER-MIN"),
    (1 / 3600, "m3 s-1", "m3/h|cmh|CMH|m3h|cubic meters per hour|cubic-meters-per-hour|M3-PER-HR|m3/hr|cbm/h"),
    (1, "kg1 s-1", "kg/s|kilograms per second|kilograms-per-second|KiloGM-PER-SEC"),
    (1 / 3600, "kg1 s-1", "kg/h|kilograms-per-hour|kg/hr|KiloGM-PER-HR"),
    (_POUND / 3600, "kg1 s-1", "lb/h|lbs/h|lb/hr|pph|pounds-mass-per-hour"),
    # pressure
    (1, "kg1 m-1 s-2", "Pa|pa|pascal|pascals|PA"),
    (1e3, "kg1 m-1 s-2", "kPa|kpa|KPa|KPA|kilopascal|kilopascals|KiloPA"),
    (1e5, "kg1 m-1 s-2", "bar|BAR|bars"),
    (100, "kg1 m-1 s-2", "mbar|mBar|hPa|hpa|millibar|millibars|hectopascals|MilliBAR"),
    (_PSI, "kg1 m-1 s-2", "psi|PSI|[psi]|lb/in2|lbf/in2|pounds per square inch|pounds-force-per-square-inch|psid"),
    (249.08891, "kg1 m-1 s-2", "inH2O|[in_i'H2O]|in H2O|in. H2O|inWC|in WC|in. w.c.|in.wc|in wc|inwc|\"wc|\" w.c.|inwg|"
     "in.w.g.|inWG|in wg|inches wc|inches of water|inches-of-water|IN_H2O|iwc|iwg|in.wg|in.H2O|in.W.C.|in/wc|in_wc|inh20|"
     "\"H2O|\" H2O|''H2O|″H2O|″ H2O|″wc|″ w.c.|\"wg|″wg"),
    (9.80665, "kg1 m-1 s-2", "mmH2O|mm H2O|mmWC|mmwg|MilliM_H2O|millimeters-of-water"),
    (2989.06692, "kg1 m-1 s-2", "ftH2O|[ft_i'H2O]|ft H2O|ft wc|ftwc|feet of head|ft head|FT_H2O"),
    (9806.65, "kg1 m-1 s-2", "mH2O|m H2O|mWS|mWC|mwc"),
    (3386.389, "kg1 m-1 s-2", "inHg|[in_i'Hg]|in Hg|inches of mercury|inches-of-mercury|IN_HG"),
    (133.322387415, "kg1 m-1 s-2", "mmHg|torr|mm[Hg]|mm Hg"),
    (98066.5, "kg1 m-1 s-2", "kgf/cm2|kg/cm2|kgf/cm^2|kg/cm^2|kgf/sqcm|kg/sqcm|kgf/sq cm|kg/sq cm|ksc|technical atmosphere"),
    (101325, "kg1 m-1 s-2", "atm|atmosphere"),
    # power, heat, energy
    (1, "kg1 m2 s-3", "W|w|watt|watts"),
    (1e3, "kg1 m2 s-3", "kW|kw|KW|Kw|kilowatt|kilowatts|KiloW|kW_e|kWe|kWth|kW_th"),
    (1e6, "kg1 m2 s-3", "MW|megawatt|megawatts|MegaW"),
    (745.69987158227, "kg1 m2 s-3", "hp|HP|[HP]|horsepower|bhp|BHP"),
    (735.49875, "kg1 m2 s-3", "PS|metric horsepower|cv"),
    (_BTU / 3600, "kg1 m2 s-3", "Btu/h|BTU/h|btu/h|[Btu_IT]/h|Btuh|BTUH|btu/hr|BTU/hr|Btu/hr|"
     "btus-per-hour|BTU_IT-PER-HR|BTU per hour"),
    (1000 * _BTU / 3600, "kg1 m2 s-3", "MBH|mbh|kBtu/h|kBTU/h|kBtu/hr|kbtu/h|kilo-btus-per-hour"),
    (12000 * _BTU / 3600, "kg1 m2 s-3", "tonref|ton|tons|TR|RT|ton_ref|tonsRefrigeration|tons refrigeration|"
     "tons-refrigeration|tons of refrigeration|TON_FG|TONR|tR"),
    (1, "kg1 m2 s-2", "J|joule|joules"),
    (3600, "kg1 m2 s-2", "Wh|watt-hours|W h|W.h"),
    (3.6e6, "kg1 m2 s-2", "kWh|KWH|kwh|kW h|kilowatt-hours|kilowatt hours|KiloW-HR|kW.h|kW·h|kW-hr|kWhr"),
    (3.6e9, "kg1 m2 s-2", "MWh|megawatt-hours|MegaW-HR"),
    (_BTU, "kg1 m2 s-2", "Btu|BTU|btu|[Btu_IT]|btus|BTU_IT"),
    (1000 * _BTU, "kg1 m2 s-2", "kBtu|kBTU|kbtu|kilo-btus"),
    (1e6 * _BTU, "kg1 m2 s-2", "MMBtu|MMBTU|mmbtu|mega-btus"),
    (1e5 * _BTU, "kg1 m2 s-2", "therm|therms|thm|THERM_US"),
    (12000 * _BTU, "kg1 m2 s-2", "tonh|ton-h|ton-hr|TRh|tonrefh|ton-hours|tons_refrigeration_hour"),
    # what a chiller takes for what it gives: less is better, so it is no number like a coefficient of performance
    (1, "takenforgiven1", "kW/ton|kW/TR|kW/RT|kW/tonref|kw/ton"),
    # electricity, light
    (1, "A1", "A|amp|amps|ampere|amperes|AMP|a"),
    (1e-3, "A1", "mA|milliamperes|milliamps"),
    (1, "kg1 m2 s-3 A-1", "V|volt|volts|v|VAC|VDC"),
    (1, "kg1 m2 s-3 A-2", "Ohm|ohm|ohms|Ω"),
    (1, "va1", "VA|volt-amperes|V.A"),
    (1, "var1", "var|VAR|VAr|volt-amperes-reactive"),
    (1, "cd1 m-2", "lx|lux|LUX|luxes"),
    (1 / _FOOT**2, "cd1 m-2", "fc|footcandle|foot-candles|ft-c"),
    (1, "dB1", "dB|dBA|dB(A)|decibels"),
    (1, "deg1", "deg|°|degree|degrees|degrees-angular"),
    (1, "K1", "deltaK|delta_K|ΔK"),
    (5 / 9, "K1", "deltaF|delta_degF|Δ°F|delta_F|Δ F|°F diff|F deg|"
     "fahrenheit_difference|delta-degrees-fahrenheit|Δ°F|F°|ΔdegF"),
    (1, "K1", "deltaC|delta_degC|Δ°C|delta_C|°C diff|"
     "celsius_difference|delta-degrees-celsius|delta-degrees-kelvin|C°|ΔdegC"),
)  # fmt: skip

#: Temperatures: degrees of kelvin, kelvin at zero, spellings.
_TEMPERATURES: tuple[tuple[float, float, str], ...] = (
    (1.0, 0.0, "K|kelvin|degK|deg K|°K|degrees-kelvin|degrees kelvin"),
    (1.0, 273.15, "°C|Cel|degC|deg C|C|c|celsius|Celsius|°c|degrees celsius|degrees-celsius|DEG_C|deg_C|deg c|"
     "degc|DegC|Deg C|centigrade|grad C|Grad C|oC|degrees C|gr C|° C"),
    (5 / 9, 459.67 * 5 / 9, "°F|[degF]|degF|deg F|F|f|fahrenheit|Fahrenheit|°f|degrees fahrenheit|degrees-fahrenheit|"
     "DEG_F|deg_F|deg f|degf|DegF|Deg F|oF|degrees F|° F"),
    (5 / 9, 0.0, "°R|[degR]|rankine|degrees-rankine"),
)  # fmt: skip

_PRESSURES = ("psi", "bar", "mbar", "hPa", "kPa", "MPa", "Pa", "kg/cm2", "kgf/cm2", "inHg", "mmHg", "inH2O")
_GAUGE = {
    f"{unit}{sign}": unit
    for unit in _PRESSURES
    for sign in ("g", " g", "(g)", " (g)", "-g", ".g", "{gauge}", " gauge", "(gauge)", " (gauge)", " rel", "ü", " ü")
}
_GAUGE |= {"[psi]{gauge}": "psi", "PSI_GAUGE": "psi"}
_ABSOLUTE = {
    f"{unit}{sign}": unit
    for unit in _PRESSURES
    for sign in (
        "a",
        " a",
        "(a)",
        " (a)",
        "-a",
        ".a",
        "{absolute}",
        "abs",
        " abs",
        "(abs)",
        " (abs)",
        " absolute",
        "(absolute)",
    )
}
_ABSOLUTE |= {"[psi]{absolute}": "psi"}

_PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3, "c": 1e-2, "d": 0.1, "h": 100.0, "u": 1e-6, "µ": 1e-6, "μ": 1e-6}
_PREFIXED = ("m", "g", "L", "l", "s", "Hz", "Pa", "bar", "W", "Wh", "J", "A", "V", "VA", "var", "Ohm", "K")
_DEGREES = re.compile(r"(?i)(?:degrees?|deg|grade?|°)[\s._-]*(c|celsius|centigrade|f|fahrenheit|k|kelvin|r|rankine)\.?")
_PART = re.compile(r"^(.*?[^\d^+-])\^?([+-]?\d)?$")


def _dimensions(text: str) -> Dimensions:
    found = [re.fullmatch(r"([A-Za-z]+)(-?\d)", part) for part in text.split()]
    return tuple(sorted((match.group(1), int(match.group(2))) for match in found if match is not None))


def plain(text: str) -> str:
    """A unit's spelling with one sign for what has several: degrees, squares, micro, blanks.

    >>> plain(" ºF "), plain("℃"), plain("m³/h"), plain("Â°C")
    ('°F', '°C', 'm3/h', '°C')
    """
    # The degree sign has doubles; a file in a wrong encoding shows it as the replacement character or after an Â.
    for double in ("º", "˚", "\ufffd", "Â°", "&deg;", "° "):
        text = text.replace(double, "°") if double in text else text
    return " ".join(unicodedata.normalize("NFKC", text).replace("⋅", "·").split())


def _known() -> tuple[Mapping[str, Unit], Mapping[str, Unit | None]]:
    """Units by their exact spelling, and by the spelling in small letters, None where two units share it."""
    exact: dict[str, Unit] = {}
    for factor, dimensions, spellings in _TABLE:
        unit = Unit(_dimensions(dimensions), factor)
        if dimensions == "K1":
            unit = replace(unit, reference=DIFFERENCE)
        for spelling in spellings.split("|"):
            exact[plain(spelling)] = unit
    for factor, offset, spellings in _TEMPERATURES:
        for spelling in spellings.split("|"):
            exact[plain(spelling)] = Unit((("K", 1),), factor, offset, TEMPERATURE)
    for reference, names in ((GAUGE, _GAUGE), (ABSOLUTE, _ABSOLUTE)):
        for spelling, name in names.items():
            exact[plain(spelling)] = replace(_of_table(exact, name), reference=reference)
    folded: dict[str, Unit | None] = {}
    for spelling, unit in exact.items():
        other = folded.setdefault(spelling.lower(), unit)
        if other != unit:
            folded[spelling.lower()] = None
    return MappingProxyType(exact), MappingProxyType(folded)


def _of_table(exact: Mapping[str, Unit], name: str) -> Unit:
    """A unit of the table, with or without a prefix before it."""
    return (
        exact[name] if name in exact else replace(exact[name[1:]], factor=exact[name[1:]].factor * _PREFIXES[name[0]])
    )


_EXACT, _FOLDED = _known()


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit | None:
    """The unit of a spelling; None where it is not known. No text at all is the number one.

    >>> parse_unit("m³/h") == parse_unit("cubic-meters-per-hour")
    True
    >>> parse_unit("furlongs") is None
    True
    """
    if len(text) > LONGEST_UNIT:
        return None
    text = plain(text)
    if text.lower() in SAYS_NOTHING:
        return _EXACT["1"]
    spellings = (text, text.removeprefix("unit:"), text.strip("[](){}"), text.rstrip("."))
    for spelling in spellings:
        found = _EXACT.get(spelling) or _prefixed(spelling) or _temperature(spelling) or _compound(spelling)
        if found is not None:
            return found
    return next((unit for name in spellings if len(name) > 1 and (unit := _FOLDED.get(name.lower()))), None)


def names_unit(text: str) -> bool:
    """Whether a text is a unit that is known, and not a spelling of none.

    >>> names_unit("kW"), names_unit("-"), names_unit("furlongs")
    (True, False, False)
    """
    return plain(text).lower() not in SAYS_NOTHING and parse_unit(text) is not None


def _temperature(text: str) -> Unit | None:
    """A temperature whose degrees are spelled out, in any letters: ``degrees Celsius``, ``Deg. F``."""
    match = _DEGREES.fullmatch(text)
    return None if match is None else _EXACT[{"c": "°C", "f": "°F", "k": "K", "r": "°R"}[match.group(1)[0].lower()]]


def _prefixed(text: str) -> Unit | None:
    """A metric unit with a prefix: kVA, hPa, mWh."""
    for name in _PREFIXED:
        factor = _PREFIXES.get(text.removesuffix(name))
        if text.endswith(name) and factor is not None:
            return replace(_EXACT[name], factor=_EXACT[name].factor * factor)
    return None


def _compound(text: str) -> Unit | None:
    """Products and quotients: ``kJ/kg``, ``W/(m2·K)``, ``kWh/m2``, ``Btu/h/ft2``, ``1/°F``."""
    over, *under = text.replace(" per ", "/").replace("-PER-", "/").split("/")
    if len(text) < 3 or not (under or any(sign in over for sign in "·.* ^") or over[-1:].isdigit()):
        return None
    factor, exponents = 1.0, dict[str, int]()
    for sign, part in ((1, over), *((-1, part) for part in under)):
        for name in re.split(r"[·.*\s]+", part.strip(" ()")):
            if not name or name == "1":
                continue
            unit, power = _EXACT.get(name) or _prefixed(name), 1
            if unit is None and (match := _PART.match(name)) is not None and match.group(2):
                unit, power = _EXACT.get(match.group(1)) or _prefixed(match.group(1)), int(match.group(2))
            if unit is None:
                return None
            factor *= unit.factor ** (sign * power)
            for base, exponent in unit.dimensions:
                exponents[base] = exponents.get(base, 0) + sign * power * exponent
    return Unit(tuple(sorted((base, exponent) for base, exponent in exponents.items() if exponent)), factor)


@lru_cache(maxsize=4096)
def conversion(given: str, wanted: str, *, difference: bool = False) -> Conversion:
    """How values in a unit become values in another.

    Args:
        given: unit that the values are in; empty is the wanted one, and ``-`` where that is percent is a fraction of 1.
        wanted: unit that they are wanted in.
        difference: whether they are differences of temperatures, not temperatures.

    >>> conversion("°C", "°F").scale * 100 + conversion("°C", "°F").offset
    212.0
    >>> conversion("K", "°F", difference=True).scale * 10
    18.0
    >>> conversion("-", "%").scale, conversion("", "%").scale
    (100.0, 1.0)

    Raises:
        UnitError: one of them is not known, or they measure different things.
    """
    source, target = parse_unit(given), parse_unit(wanted)
    spelled = plain(given[: 2 * LONGEST_UNIT])
    is_fraction = spelled.lower() in SAYS_FRACTION and target == _EXACT["%"]
    if spelled == plain(wanted) or (spelled.lower() in SAYS_NOTHING and not is_fraction):
        return SAME
    if source is None:
        raise UnitError(f"unit {_shown(given)} is not known")
    if target is None:
        raise UnitError(f"unit {_shown(given)} can't become {_shown(wanted)}, which has no known conversion")
    if source.dimensions != target.dimensions:
        raise UnitError(f"unit {_shown(given)} does not measure what {_shown(wanted)} does")
    if source.dimensions == (("K", 1),):
        difference = difference or target.reference == DIFFERENCE
        if source.reference == DIFFERENCE and not difference:
            raise UnitError(f"unit {_shown(given)} is a difference of temperatures, not a temperature")
        if difference:
            return _scaled(source, target)
        scale = source.factor / target.factor
        return Conversion(_rounded(scale), _rounded((source.offset - target.offset) / target.factor))
    if {source.reference, target.reference} == {GAUGE, ABSOLUTE}:
        raise UnitError(
            f"the pressure of the air is not known, so unit {_shown(given)} counts from another zero than {_shown(wanted)}"
        )
    return _scaled(source, target)


def _scaled(source: Unit, target: Unit) -> Conversion:
    return Conversion(_rounded(source.factor / target.factor))


def _rounded(number: float) -> float:
    """Without the last digits of a double, which quotients of factors fill with noise."""
    return float(f"{number:.14g}")


def _shown(unit: str) -> str:
    return (
        "a number without a unit"
        if not unit
        else repr(unit if len(unit) <= LONGEST_UNIT else f"{unit[:LONGEST_UNIT]}…")
    )
