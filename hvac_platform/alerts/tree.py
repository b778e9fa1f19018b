"""The routing tree that people write (``HVAC_ALERTS``): receivers, and the routes that lead to them.

Errors name the line and the path of what is wrong. Secrets are written as ``${NAME}`` and come from the environment only.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping
from datetime import time
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, place_of, read_text
from hvac_platform.devices.written_times import known_timezone, time_of_day, weekdays
from hvac_platform.monitoring.lifecycle import KEPT_QUIET, Transition

RAISING = ("opened", "worsened", "reopened", "woken")
"""Transitions that say that something needs somebody."""
ENDING = ("resolved", "taken_back", "false_alarm")
"""Transitions that say that nothing is left to be done."""
TOLD = (*RAISING, *ENDING)
"""What a route tells of where it doesn't say."""
LONGEST_WAIT_MS = 3_000
MOST_ROUTES = 1_000
WEEK_MINUTES = 7 * 1440
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PERIOD = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
PREFIX = "whsec_"
"""How a webhook's secret begins that goes on in base64."""
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class AlertsFileError(Exception):
    """The file of the routing tree can't be used; the message names file, line and path."""


def period_ms(value: object) -> object:
    """Milliseconds of a period that people write.

    >>> period_ms("30m"), period_ms("1.5 h"), period_ms("2s")
    (1800000, 5400000, 2000)

    Raises:
        ValueError: it is none.
    """
    found = _PERIOD.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a period such as 30s, 10m, 2h or 1d")
    return round(float(found[1]) * _UNITS_MS[found[2]])


def listed(value: object) -> object:
    """A list where one value may stand for a list of one."""
    return value if isinstance(value, list) else [value]


Period = Annotated[int, BeforeValidator(period_ms)]
"""In milliseconds."""
TimeOfDay = Annotated[int, BeforeValidator(time_of_day)]
"""In minutes since midnight."""
Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]
Severity = Literal["critical", "warning", "info"]
Severities = Annotated[tuple[Severity, ...], BeforeValidator(listed)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)


class Hours(_Part):
    """A stretch of some days of the week, in local time; one that ends before it begins ends on the next day."""

    days: Annotated[frozenset[int], BeforeValidator(weekdays)] = frozenset(range(7))
    start: TimeOfDay = Field(default=0, validation_alias=AliasChoices("from", "start"))
    until: TimeOfDay = 1440

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.start == self.until:
            raise ValueError("from and until are the same")
        return self


class Quiet(Hours):
    """Hours in which nobody is disturbed, but for some severities."""

    but: Severities = ("critical",)


def _minutes_of_week(stretches: list[Quiet]) -> set[int]:
    """Minutes of the week that some hours cover."""
    covered: set[int] = set()
    for hours in stretches:
        length = (hours.until - hours.start) % 1440 or 1440
        for day in hours.days:
            begin = 1440 * day + hours.start
            covered.update(minute % WEEK_MINUTES for minute in range(begin, begin + length))
    return covered


def known_transitions(value: tuple[str, ...]) -> tuple[str, ...]:
    """Names of transitions, or patterns of them; of comments and labels nobody is told.

    Raises:
        ValueError: one is none.
    """
    known = [str(name) for name in Transition if name not in KEPT_QUIET]
    for pattern in value:
        if not any(fnmatchcase(name, pattern) for name in known):
            if any(fnmatchcase(name, pattern) for name in KEPT_QUIET):
                raise ValueError(
                    f"nobody is told of {pattern[:60]!r}, it is in the history alone; told are {', '.join(known)}"
                )
            raise ValueError(f"there is no transition {pattern[:60]!r}; they are {', '.join(known)}")
    return value


Transitions = Annotated[Texts, AfterValidator(known_transitions)]


class Match(_Part):
    """What an incident must be; of a list one is enough, and all that are given must hold. * and ? stand for any text."""

    building: Texts = ()
    type: Texts = ()
    device: Texts = ()
    severity: Severities = ()
    rule: Texts = ()
    metric: Texts = ()
    kind: Texts = ()
    scope: Annotated[tuple[Literal["local", "fleet", "plant", "platform"], ...], BeforeValidator(listed)] = ()
    transition: Transitions = ()
    during: tuple[Hours, ...] = ()


class Escalation(_Part):
    """Who is told when nobody has acknowledged after a while."""

    after: Period
    receivers: Annotated[Texts, Field(min_length=1)]


class Route(_Part):
    """A node of the tree; what a route leaves out, it has from the route above."""

    name: str = ""
    match: Match = Match()
    receivers: Texts | None = None
    go_on: bool = Field(default=False, validation_alias=AliasChoices("continue", "go_on"))
    tell: Transitions | None = None
    resolved: bool | None = None
    quiet: tuple[Quiet, ...] | None = None
    digest: Annotated[int | Literal[False], BeforeValidator(lambda v: v if v is False else time_of_day(v))] | None = (
        None
    )
    cool_down: Period | None = None
    escalate: tuple[Escalation, ...] | None = None
    routes: tuple[Route, ...] = ()

    @field_validator("quiet")
    @classmethod
    def _end(cls, value: tuple[Quiet, ...] | None) -> tuple[Quiet, ...] | None:
        for severity in ("critical", "warning", "info"):
            if len(_minutes_of_week([hours for hours in value or () if severity not in hours.but])) == WEEK_MINUTES:
                raise ValueError(f"quiet hours of severity {severity} never end: no hour of the week is left")
        return value


class Email(_Part):
    """Mail through an SMTP server."""

    to: Annotated[Texts, Field(min_length=1)]
    sender: str = Field(validation_alias=AliasChoices("from", "sender"))
    server: str
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: SecretStr = SecretStr("")

    @field_validator("server")
    @classmethod
    def _name_alone(cls, value: str) -> str:
        if re.search(r"[/\s]|^[^:]*:\d+$", value) or not value:
            raise ValueError("must be the name or address of a server alone; its port goes in port")
        return value


def secret_bytes(secret: str) -> bytes:
    """Key of a signature: base64 after ``whsec_``; any other text is taken as it is.

    Raises:
        ValueError: what follows ``whsec_`` is no base64.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a secret that begins with whsec_ goes on in base64") from None


class Webhook(_Part):
    """A POST of a CloudEvent, signed where there is a secret."""

    url: SecretStr
    secret: SecretStr = SecretStr("")
    headers: dict[str, SecretStr] = {}
    reference: str = ""

    @field_validator("secret")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        secret_bytes(value.get_secret_value())
        return value

    @field_validator("url")
    @classmethod
    def _http(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"https?://[^/\s]", value.get_secret_value()):
            raise ValueError("must begin with https:// or http://")
        return value


class Receiver(_Part):
    """Where messages go: one of the ways."""

    apprise: SecretStr | None = None
    email: Email | None = None
    webhook: Webhook | None = None
    console: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = [self.apprise is not None, self.email is not None, self.webhook is not None, self.console]
        if sum(ways) != 1:
            raise ValueError("must have one of apprise, email, webhook and console")
        return self

    @property
    def way(self) -> str:
        """apprise, email, webhook or console."""
        return next(name for name in ("apprise", "email", "webhook", "console") if getattr(self, name))


class Building(_Part):
    """What is known of a building."""

    timezone: str

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_timezone(value)


class Delivery(_Part):
    """How long it is tried to deliver: after each failure twice as long is waited."""

    attempts: int = Field(default=30, ge=1, le=1_000)
    first_wait: Period = 5_000
    longest_wait: Period = 600_000


class Tree(_Part):
    """The whole file."""

    timezone: str = "UTC"
    buildings: dict[str, Building] = {}
    receivers: dict[str, Receiver]
    route: Route
    group_wait: Period = Field(default=2_000, le=LONGEST_WAIT_MS)
    storm: int = Field(default=10, ge=2, le=10_000)
    delivery: Delivery = Delivery()

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_timezone(value)

    @field_validator("receivers")
    @classmethod
    def _named(cls, value: dict[str, Receiver]) -> dict[str, Receiver]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:70]!r} is no name: letters, digits, _ . and -, at most 64")
        return value

    def zone_of(self, building_id: str) -> ZoneInfo:
        """Timezone of a building."""
        named = self.buildings.get(building_id)
        return ZoneInfo(named.timezone if named is not None else self.timezone)

    def secrets(self) -> list[str]:
        """Values that must not be printed, longest first."""
        found: set[str] = set()
        for receiver in self.receivers.values():
            hidden = [receiver.apprise]
            if receiver.email is not None:
                hidden.append(receiver.email.password)
            if receiver.webhook is not None:
                hidden += [receiver.webhook.url, receiver.webhook.secret, *receiver.webhook.headers.values()]
            found |= {value.get_secret_value() for value in hidden if value is not None}
        return sorted((value for value in found if value), key=len, reverse=True)


# -- reading the file ----------------------------------------------------------------------------------------------------


def load_tree(path: Path, environment: Mapping[str, str] = os.environ) -> Tree:
    """The routing tree of a file.

    Raises:
        AlertsFileError: it can't be read or used; file, line and path are named.
    """
    try:
        return parse_tree(read_text(path), environment)
    except (AlertsFileError, TextRefusedError) as error:
        raise AlertsFileError(f"{path}: {error}") from None


def parse_tree(text: str, environment: Mapping[str, str] = os.environ) -> Tree:
    """The routing tree of a YAML text.

    Raises:
        AlertsFileError: line and path are named.
    """
    try:
        document = load_yaml(text)
    except TextRefusedError as error:
        raise AlertsFileError(str(error)) from None
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(document, dict) or root is None:
        raise AlertsFileError("line 1: must be a mapping with receivers and a route")
    filled = _filled(document, (), root, environment)
    try:
        tree = Tree.model_validate(filled)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = place_of(root, first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = "there is no such key here"
        raise AlertsFileError(f"line {place.line}: {place.path}: {said}") from None
    _check_routes(tree, root)
    return tree


def environment() -> dict[str, str]:
    """The environment, and what ``.env`` has beside it, as for the settings."""
    from dotenv import dotenv_values

    beside = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return beside | dict(os.environ)


@lru_cache(maxsize=4)
def _tree_as_of(path: Path, _changed: tuple[int, int], held: frozenset[tuple[str, str]]) -> Tree:
    return load_tree(path, dict(held))


def current_tree(path: Path | None) -> Tree | None:
    """The tree of the file as it is now, read again only when it has changed; None where there is no file to read.

    Raises:
        AlertsFileError: it can't be read or used.
    """
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError as error:
        raise AlertsFileError(f"{path}: {error.strerror or error}") from None
    return _tree_as_of(path, (status.st_mtime_ns, status.st_size), frozenset(environment().items()))


def _filled(value: Any, loc: tuple[str | int, ...], root: yaml.Node, environment: Mapping[str, str]) -> Any:
    """The document with ``${NAME}`` replaced by what the environment has."""
    if isinstance(value, dict):
        return {key: _filled(item, (*loc, key), root, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, (*loc, i), root, environment) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def of(found: re.Match[str]) -> str:
        held = environment.get(found[1])
        if held is None:
            place = place_of(root, loc)
            raise AlertsFileError(f"line {place.line}: {place.path}: the environment has no {found[1]}")
        if not held:
            place = place_of(root, loc)
            raise AlertsFileError(f"line {place.line}: {place.path}: {found[1]} is empty in the environment")
        return held

    return _VARIABLE.sub(of, value)


def _check_routes(tree: Tree, root: yaml.Node) -> None:
    """Receivers that routes name exist, and every route leads to some."""
    count = 0

    def refuse(loc: tuple[str | int, ...], said: str) -> None:
        place = place_of(root, loc)
        raise AlertsFileError(f"line {place.line}: {place.path}: {said}")

    def check(route: Route, loc: tuple[str | int, ...], above: Texts | None) -> None:
        nonlocal count
        count += 1
        if count > MOST_ROUTES:
            refuse(loc, f"more than {MOST_ROUTES} routes")
        named = route.receivers if route.receivers is not None else above
        wanted = [(("receivers",), name) for name in route.receivers or ()]
        for i, step in enumerate(route.escalate or ()):
            wanted += [(("escalate", i, "receivers"), name) for name in step.receivers]  # type: ignore[misc]
        for where, name in wanted:
            if name not in tree.receivers:
                known = ", ".join(tree.receivers) or "none"
                refuse((*loc, *where), f"there is no receiver {name!r}; receivers are {known}")
        if route.name and not route.name.isprintable():
            refuse((*loc, "name"), "must have printable characters only")
        for i, child in enumerate(route.routes):
            check(child, (*loc, "routes", i), named)

    match = tree.route.match
    if match != Match():
        refuse(("route", "match"), "the first route takes every incident: match in a route below it")
    check(tree.route, ("route",), None)


def minutes_of(value: time) -> int:
    """Minutes since midnight."""
    return value.hour * 60 + value.minute


Redaction = Callable[[str], str]


def redaction(tree: Tree) -> Redaction:
    """A function that takes the secrets of a tree out of a text."""
    hidden = tree.secrets()

    def redact(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "***")
        return text

    return redact
