"""what_if: what other limits, another budget or other rules would have shown, beside the record."""

from collections.abc import Sequence
from contextlib import closing

import dagster as dg
from pydantic import Field

from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.common import OWNERS
from hvac_platform.detection.methods import method_names
from hvac_platform.devices.registry import DeviceTypeError, parse_other_rules
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import (
    Compared,
    Limits,
    OfScores,
    TooFewScoresError,
    budget_in_words,
    without_a_judged_window,
)
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.what_if_processes import asked_of_scores
from hvac_platform.timestamps import DAY_MS, iso, now_ms, parse_instant

MOST_LISTED = 200


class WhatIfConfig(dg.Config):
    """What is tried; what is left out stays as it was."""

    days: int = Field(7, ge=1, le=90, description="Days of the past; scores are kept for 90")
    until: str | None = Field(None, description="End of them, ISO 8601; now when absent")
    devices: list[str] = Field(default_factory=list, description="Devices; all when empty")
    times_limit: float = Field(1.0, gt=0, description="So many times the limit that each window had, such as 1.5")
    budget: float | None = Field(None, gt=0, description="Limits for so many false alarms a day of each device")
    similarity: float | None = Field(
        None, ge=-1, le=1, description="Fixed similarity limit of the profile, such as 0.85"
    )
    sigma: float | None = Field(None, gt=0, description="Fixed sigma limit of the profile, such as 3")
    methods: list[str] = Field(default_factory=list, description="Methods that count; all when empty")
    agreeing: int = Field(1, ge=1, description="So many methods have to agree")
    rules: str = Field("", description="YAML of a device type, or of what is to differ in it; tried on its devices")

    def tried(self) -> OfScores:
        """The question to kept scores.

        Raises:
            dg.Failure: it can't be asked so; the description says why.
        """
        strange = sorted(set(self.methods) - set(method_names()))
        if strange:
            raise _refused(f"no method {', '.join(strange)}: there are {', '.join(method_names())}")
        if self.agreeing > len(set(self.methods) or method_names()):
            raise _refused(f"{self.agreeing} methods can't agree where fewer count")
        if self.budget is not None and (self.similarity, self.sigma) != (None, None):
            raise _refused("a budget sets limits, and so do similarity and sigma: ask them apart")
        try:
            rules = parse_other_rules(self.rules, "rules") if self.rules.strip() else None
        except DeviceTypeError as error:
            raise _refused(str(error)) from None
        fixed = Limits(self.similarity, self.sigma)
        return OfScores(self.times_limit, frozenset(self.methods) or None, self.agreeing, self.budget, rules, fixed)

    def until_ms(self) -> int:
        """End of the days, epoch milliseconds.

        Raises:
            dg.Failure: it is no time, or one that so many days can't end at; the description says so.
        """
        if self.until is None:
            return now_ms()
        try:
            until = parse_instant(self.until)
            iso(until - self.days * DAY_MS)  # there is no such day before the year 1
        except (ValueError, OverflowError):
            raise _refused(f"until is a time as 2025-03-11 or 2025-03-11T06:00Z, not {self.until!r:.80}") from None
        return until


def _budget_words(budget: float, platform: PlatformResource) -> str:
    return budget_in_words(budget, platform.settings.hvac_false_alarms_per_day)


def _refused(why: str) -> dg.Failure:
    return dg.Failure(why, allow_retries=False)


@dg.asset(
    deps=[dg.AssetDep(anomaly_events, partition_mapping=dg.AllPartitionMapping())],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="detection",
    kinds={"scylladb", "sqlite"},
    owners=OWNERS,
)
def what_if(
    context: dg.AssetExecutionContext, config: WhatIfConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """What other limits would have shown: incidents won, lost, earlier and later by device, from the scores that are kept.

    On record + won - lost + in several parts - several in one = as tried.

    Why: a limit is changed with open eyes when it is known which incidents it would have cost, and which alarms it would
    have spared. Nothing is written but what this page shows: the record stays as it is. `hvac replay` and the dashboard's
    page *What if* ask the same; say in the Launchpad's config what is to be tried.
    """
    tried, store = config.tried(), platform.store
    until_ms = config.until_ms()
    start_ms = until_ms - config.days * DAY_MS
    registered = {device.device_id: device for device in store.devices()}
    if unknown := [name for name in config.devices if name not in registered]:
        raise _refused(f"not registered: {', '.join(unknown)}")
    chosen = [registered[name] for name in dict.fromkeys(config.devices or sorted(registered))]
    if tried.rules is not None:
        chosen = [device for device in chosen if device.device_type == tried.rules.name]
    spans = [Span(device, start_ms, until_ms) for device in chosen]
    found: list[Compared] = []
    untold: list[str] = []
    with closing(asked_of_scores(platform.settings, spans, tried)) as asked:
        for span, answer in asked:
            try:
                found.append(answer())
            except TooFewScoresError as error:
                untold.append(f"{span.device.device_id}: {error}")
    for line in untold:
        context.log.warning("%s", line)
    judged = [one for one in found if one.windows]
    unjudged = without_a_judged_window([one.device.device_id for one in found if not one.windows])
    if unjudged:
        context.log.warning("%s", unjudged)
    return dg.MaterializeResult(
        metadata={
            "asked": config.model_dump_json(exclude_defaults=True),
            "from": iso(start_ms),
            "until": iso(until_ms),
            "devices": len(judged),
            "devices_without_an_answer": len(untold),
            "devices_without_a_judged_window": unjudged or "none",
            **({} if config.budget is None else {"budget": _budget_words(config.budget, platform)}),
            "incidents_on_record": sum(len(one.recorded) for one in judged),
            "incidents_as_tried": sum(len(one.replayed) for one in judged),
            "won": sum(len(one.won) for one in judged),
            "lost": sum(len(one.lost) for one in judged),
            "in_several_parts": sum(len(one.in_several_parts) for one in judged),
            "several_in_one": sum(len(one.several_in_one) for one in judged),
            "by_device": dg.MetadataValue.md(_by_device(judged)),
            "which": dg.MetadataValue.md(_which(judged)),
        }
    )


def _by_device(found: Sequence[Compared]) -> str:
    """A row a device, those that would have changed most first."""
    changed = sorted(found, key=lambda one: (-len(one.won) - len(one.lost), one.device.device_id))[:MOST_LISTED]
    names = ("recorded", "replayed", "won", "lost", "earlier", "later", "in_several_parts", "several_in_one")
    return "\n".join(
        [
            "| device | windows | on record | as tried | won | lost | earlier | later | in several parts | several in one |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(
                f"| {one.device.device_id} | {one.windows} | "
                f"{' | '.join(str(len(getattr(one, name))) for name in names)} |"
                for one in changed
            ),
        ]
    )


def _which(found: Sequence[Compared]) -> str:
    """The incidents that would have been won and lost."""
    lines = [
        f"- {word}: {one.device.device_id}, {iso(start)} to {iso(end)}"
        for one in found
        for word, episodes in (("won", one.won), ("lost", one.lost))
        for start, end in episodes
    ]
    return "\n".join(lines[:MOST_LISTED]) or "None is won and none lost."
