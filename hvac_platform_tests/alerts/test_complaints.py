"""What people complain of in Alertmanager's and ThingsBoard's issues, from faults on machines to what a receiver gets.

Alertmanager 878 and 1198 (an end without a beginning), 964 and 1125 (an end several times), 1005 and 4008 (the same twice),
2339 (after a restart); ThingsBoard 5561, 11434 and 12183 (an old alarm swallows the new one), 2986 (one fault, two alarms),
12321 (an escalation of what is over), 15103 (a flood of one that goes on).
"""

from __future__ import annotations

import itertools
import re

import pytest

from hvac_platform.alerts import outbox
from hvac_platform.alerts.composing import build_message
from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.explaining import explain
from hvac_platform.alerts.messages import rfc3339
from hvac_platform.alerts.receivers.webhook import cloud_event
from hvac_platform.alerts.tree import parse_tree
from hvac_platform.config import Settings
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.passes import Span
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Device
from hvac_platform_tests.conftest import MIDNIGHT_MS
from hvac_platform_tests.monitoring.faults import Clock, anomalous, heard, incidents, minute, normal

DEVICE = "CH-001"
PHONE = "receivers: {phone: {console: true}}\nroute:\n  receivers: [phone]\n"


class Site:
    """Devices with a store, whose incidents are computed and told at minutes of the test's own."""

    def __init__(self, path, text=PHONE):
        self.path, self.tree, self.messages, self.now = path, parse_tree(text, {}), [], 0
        self.store = EmbeddedStore(path)
        heard(self.store, [DEVICE], 0)
        self.start()

    def start(self):
        """A process begins, the first or another one."""
        self.clock = Clock(self.store)
        self.deliverer = Deliverer(
            self.store,
            Settings(),
            tree=self.tree,
            holder="deliverer",
            clock=lambda: minute(self.now),
            write=self.messages.append,
        )

    def look(self, number, **options):
        self.now = number
        self.clock.look(number, **options)
        self.tell(number)

    def tell(self, number):
        self.now = number
        assert self.deliverer.deliver_everything(300)

    def restart(self):
        self.deliverer.close()
        self.store.close()
        self.store = EmbeddedStore(self.path)
        self.start()

    def told(self):
        return [text.splitlines()[0].removeprefix("[warning] ").removeprefix("[critical] ") for text in self.messages]


@pytest.fixture
def site(tmp_path, home):
    made = []

    def make(text=PHONE):
        made.append(Site(tmp_path / "store.db", text))
        return made[-1]

    yield make
    for one in made:
        one.deliverer.close()
        one.store.close()


def test_a_fault_that_flaps_for_a_day_is_one_message_and_one_when_it_is_over(site):
    """Whatever is computed again, and however often the process begins anew."""
    phone, shown = site(), []
    minutes = [m for begin in range(60, 25 * 60, 25) for m in range(begin, begin + 5)]
    for i, (_, episode) in enumerate(itertools.groupby(minutes, key=lambda m: m // 25)):
        new = list(episode)
        shown += new
        anomalous(phone.store, DEVICE, new)
        phone.look(shown[-1] + 1.5, only_changed=True)
        if i % 12 == 5:
            phone.clock.again(shown[-1] + 2, only_changed=False)  # a backfill over all of it
            phone.restart()
            phone.tell(shown[-1] + 3)
    for number in (30, 62, 63, 90):
        phone.look(shown[-1] + number)
    phone.restart()
    phone.look(shown[-1] + 100)
    assert phone.told() == [
        f"{DEVICE} (roof, b-1): high head pressure (ch-1)",
        f"over: {DEVICE} (roof, b-1): high head pressure (ch-1)",
    ]


def test_an_old_open_alarm_swallows_no_new_one_not_even_in_its_cool_down(site):
    phone = site(PHONE + "  cool_down: 1d\n")
    anomalous(phone.store, DEVICE, [*range(60, 65), *range(90, 95)])
    phone.look(95)
    lifecycle.acknowledge(phone.store, next(iter(incidents(phone.store).values())), by="kim", at_ms=minute(96))
    anomalous(phone.store, DEVICE, range(105, 112), "compressor off")
    phone.look(112)
    assert [line.rpartition(": ")[2] for line in phone.told()] == ["high head pressure (ch-1)", "compressor off (ch-2)"]


def test_the_same_fault_again_within_its_cool_down_is_neither_begun_nor_ended(site):
    phone = site(PHONE + "  cool_down: 6h\n")
    for begin in (60, 240, 600):
        anomalous(phone.store, DEVICE, range(begin, begin + 5))
        phone.look(begin + 5)
        phone.look(begin + 70)
    assert len(incidents(phone.store)) == 3
    assert [line.startswith("over") for line in phone.told()] == [False, True, False, True]


def test_what_a_person_opens_again_is_told_in_its_cool_down_too(site):
    phone = site(PHONE + "  cool_down: 6h\n")
    anomalous(phone.store, DEVICE, range(60, 100))
    phone.look(75)
    (incident,) = incidents(phone.store).values()
    lifecycle.resolve(phone.store, incident, by="kim", at_ms=minute(76))
    phone.look(77)
    lifecycle.mark_false_alarm(phone.store, incident, by="kim", at_ms=minute(78))
    phone.look(79)
    lifecycle.reopen(phone.store, incident, by="ada", at_ms=minute(80))
    phone.look(81)
    assert [line.partition(":")[0] for line in phone.told()] == [
        f"{DEVICE} (roof, b-1)",
        "over",
        "false alarm",
        "again",
    ]


def test_an_end_has_the_time_of_the_end_and_age_counts_since_it_was_queued(site):
    phone = site()
    anomalous(phone.store, DEVICE, range(117, 133))
    phone.look(200)  # both are found long after
    incident_id = f"{DEVICE}/{minute(117)}"
    at = {e.transition: e.at_ms for e in explain(phone.store, phone.tree, incident_id, DEVICE, minute(201))}
    assert at == {"opened": minute(117), "resolved": minute(133)}
    rows = {(row.kind, row.transition): row for row in outbox.read_outbox(phone.store, minute(201))}
    message = build_message(phone.store, Settings(), phone.tree, rows["message", "resolved"])
    assert cloud_event(message)["time"] == cloud_event(message)["data"]["at"] == rfc3339(minute(133))
    assert {outbox.queued_ms(row) for row in rows.values()} == {minute(200)} == {message.made_at}


@pytest.mark.parametrize(("cool_down", "at_once"), [("30m", [False, True, False, True, False]), ("6h", [False, True])])
def test_what_is_open_when_a_cool_down_ends_is_told_and_what_began_after_it_at_once(site, cool_down, at_once):
    """Detection catches up on three hours in one pass: two faults that are over, and one that is on."""
    phone = site(PHONE + f"  cool_down: {cool_down}\n")
    for begin, end in ((17, 33), (107, 123), (197, 210)):
        anomalous(phone.store, DEVICE, range(begin, end))
    phone.look(210)
    assert [line.startswith("over") for line in phone.told()] == at_once
    newest = f"{DEVICE}/{minute(197)}"
    (opened,) = explain(phone.store, phone.tree, newest, DEVICE, minute(210))
    assert (opened.decision.action, opened.state) == (("hold", "waiting") if cool_down == "6h" else ("send", "sent"))
    anomalous(phone.store, DEVICE, range(210, 580))
    phone.look(580)
    assert [line.startswith("over") for line in phone.told()][-1] is False
    assert phone.messages[-1].count(newest) == 1
    (opened,) = explain(phone.store, phone.tree, newest, DEVICE, minute(580))
    assert opened.state == "sent"


def test_what_is_suppressed_or_held_until_it_is_over_is_told_neither_at_its_beginning_nor_at_its_end(site):
    phone = site(PHONE + "  quiet: [{from: '00:00', until: '06:00'}]\n")
    anomalous(phone.store, DEVICE, range(60, 65))
    phone.look(65)
    phone.look(130)
    phone.look(6 * 60 + 1)
    assert phone.told() == []
    anomalous(phone.store, DEVICE, range(400, 405))
    phone.look(405)
    assert len(phone.told()) == 1


def test_quiet_hours_end_with_one_message_of_all_that_goes_on(site):
    phone = site(PHONE + "  quiet: [{from: '00:00', until: '02:00'}]\n")
    heard(phone.store, ["CH-002"], 0)
    for device in (DEVICE, "CH-002"):
        anomalous(phone.store, device, range(60, 118))
    phone.look(118)
    assert phone.told() == []
    phone.tell(121)
    assert phone.told() == ["while it was quiet: 2 incidents"]
    phone.restart()
    phone.tell(122)
    assert len(phone.messages) == 1


def test_a_digest_comes_once_a_day_with_all_of_it(site):
    phone = site(PHONE + "  digest: '08:00'\n")
    anomalous(phone.store, DEVICE, range(60, 65))
    phone.look(65)
    phone.look(130)
    anomalous(phone.store, DEVICE, range(300, 305), "compressor off")
    phone.look(305)
    phone.look(479)
    assert phone.told() == []
    phone.tell(481)
    phone.tell(600)
    assert phone.told() == ["digest: 2 incidents"]
    assert ", over" in phone.messages[0]


def test_an_escalation_that_is_noticed_late_calls_nobody_about_what_is_over(site):
    phone = site(
        "receivers: {phone: {console: true}, boss: {console: true}}\n"
        "route: {receivers: [phone], escalate: [{after: 30m, receivers: [boss]}]}\n"
    )
    anomalous(phone.store, DEVICE, range(60, 65))
    phone.look(65)
    phone.clock.look(300)  # the platform stood still for hours: the end is found together with the time-out
    phone.tell(300)
    assert [line.startswith("over") for line in phone.told()] == [False, True]


def test_what_becomes_worse_in_three_ways_at_once_is_one_message_more(site):
    phone = site()
    anomalous(phone.store, DEVICE, range(60, 80))
    phone.look(80)
    anomalous(phone.store, DEVICE, range(80, 90), "low superheat")
    anomalous(phone.store, DEVICE, range(90, 95), "compressor off")
    phone.look(95)
    assert [line.partition(":")[0] for line in phone.told()] == [f"{DEVICE} (roof, b-1)", "worse"]


def test_what_was_seen_first_and_taken_back_is_told_as_such(site):
    phone = site()
    anomalous(phone.store, DEVICE, range(60, 65))
    phone.look(65)
    normal(phone.store, DEVICE, range(60, 65))
    phone.look(66)
    assert [line.partition(":")[0] for line in phone.told()] == [f"{DEVICE} (roof, b-1)", "taken back"]
    assert "no longer holds" in phone.messages[1]


def test_two_hundred_devices_of_a_building_that_go_wrong_together_are_one_message(site):
    phone = site()
    many = [f"CH-{i:03d}" for i in range(1, 201)]
    phone.store.register_devices([Device(d, "chiller", "roof", "b-1", MIDNIGHT_MS, MIDNIGHT_MS, 0) for d in many])
    for i, device in enumerate(many):
        anomalous(phone.store, device, range(60 + i % 3, 70), metric="condenser_water_supply_temp")
    phone.look(70)
    for number in (71, 75):
        phone.look(number)
    assert len(phone.messages) == 1
    assert "200 devices at once" in phone.told()[0]
    for number in (131, 135):
        phone.look(number)
    assert len(phone.messages) == 2


def test_they_are_one_message_also_where_passes_find_them_one_after_the_other(site):
    """A standing run judges 64 devices a pass; here what each has found is told before the next one."""
    phone = site()
    many = [f"CH-{i:03d}" for i in range(1, 201)]
    phone.store.register_devices([Device(d, "chiller", "roof", "b-1", MIDNIGHT_MS, MIDNIGHT_MS, 0) for d in many])
    for device in many:
        anomalous(phone.store, device, range(60, 70), metric="condenser_water_supply_temp")
    heard(phone.store, many, 70)
    spans = [Span(device, MIDNIGHT_MS, minute(71)) for device in phone.store.devices()]
    for begin in range(0, len(spans), 64):
        phone.look(70, spans=spans[begin : begin + 64], only_changed=True)
    assert phone.told() == [phone.told()[0]]
    # Those of a fleet of 200 that may be chance are told as soon as it shows that many are in it.
    assert re.search(r"^(64|128|192|200) devices at once", phone.told()[0], re.MULTILINE)
