"""The page of what would have been: one device or all of them, another budget, other rules, and whatever people paste."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devtools import PROJECT_ROOT
from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.dashboard import what_if_by_device
from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.front import BoundsError, check_bounds
from hvac_platform.dashboard.pasted_rules import (
    FIELD,
    MOST_CHARACTERS,
    MOST_QUANTITIES,
    MOST_RULES,
    PastedRulesError,
    parse_pasted,
    rules_as_text,
)
from hvac_platform.detection.methods import method_names
from hvac_platform.devices.registry import BUILT_IN_FOLDER, device_type, device_types
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import Limits, OfScores, what_scores_say
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Verdict
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform_tests.dashboard.conftest import Browser, copy_databases, settings_of
from hvac_platform_tests.dashboard.test_access import Visitor

STRICT = "{name: chiller, parameters: {min_delta_t: 40}}"
"""No chiller has so much between supply and return."""


@pytest.fixture
def browser(filled: Path) -> Browser:
    return Browser(make_app(settings_of(filled)))


def shown(browser: Browser, **values: Any) -> str:
    """What the page says of one device, or before devices are compared."""
    given = {"what_if_span__value": "7 days", "what_if_times__value": "1", **values}
    rules = given.pop("rules", None)
    return browser.text("what-if-content.children", **given, what_if_rules__value=rules)


def by_device(browser: Browser, **values: Any) -> tuple[str, int]:
    """What the page says of all devices when it has read them, and how often it asked for that."""
    given = {"what_if_span__value": "7 days", "what_if_times__value": "1", **values}
    rules = given.pop("rules", None)
    answer = browser.ask("what-if-content.children", **given, what_if_rules__value=rules)
    following, asked = answer["what-if-begun.data"], 0
    while following is not None:
        answer = browser.ask("what-if-devices.children", what_if_next__data=following)
        following, asked = answer["what-if-so-far.data"], asked + 1
    return json.dumps(answer["what-if-devices.children"], ensure_ascii=False), asked


def cells(answer: str) -> list[list[str]]:
    """Rows of the table of an answer: texts of its cells."""

    def texts(part: Any) -> list[str]:
        if isinstance(part, list):
            return [text for one in part for text in texts(one)]
        if isinstance(part, dict):
            return texts(part.get("props", {}).get("children"))
        return [] if part is None else [str(part)]

    def rows(part: Any) -> list[list[str]]:
        if isinstance(part, list):
            return [row for one in part for row in rows(one)]
        if not isinstance(part, dict):
            return []
        if part.get("type") == "Tr":
            return [texts(part["props"]["children"])]
        return [row for one in part.values() for row in rows(one)]

    return rows(json.loads(answer))[1:]


def test_nothing_is_compared_before_something_is_tried(browser: Browser) -> None:
    assert "Choose a device, or what to try on all of them" in shown(browser)
    assert by_device(browser)[1] == 1  # which leaves no table
    assert "By device" not in by_device(browser)[0]


def test_all_devices_are_compared_as_the_command_does(filled: Path, browser: Browser) -> None:
    said, _ = by_device(browser, what_if_times__value="0.5")
    store, settings, now = EmbeddedStore(filled / "store.db"), settings_of(filled), now_ms()
    expected = {}
    for device in store.devices():
        found = what_scores_say(store, settings, Span(device, now - 7 * DAY_MS, now), OfScores(0.5))
        if found.windows:
            counts = (found.windows, *map(len, (found.recorded, found.replayed, found.won, found.lost)))
            differ = (found.earlier, found.later, found.in_several_parts, found.several_in_one)
            expected[device.device_id] = [f"{n:,}" for n in (*counts, *map(len, differ))]
    assert expected.keys() > {"CH-001", "RTU-001"}
    assert {row[0]: row[1:10] for row in cells(said)} == expected
    found = [
        int(text.replace(",", ""))
        for text in re.findall(r"[\d,]+(?= (?:incidents on|as|won|lost|in sev|several))", said)
    ]
    on_record, as_tried, won, lost, parts, in_one = found
    assert on_record + won - lost + parts - in_one == as_tried
    assert any(row[4] != "0" for row in cells(said)), "half the limit wins incidents"
    assert "3 of 3 devices read" in said


def test_a_device_without_a_judged_window_is_named(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    store.register_devices([Device("ZZ-001", "chiller", "", "", 0, 0, 0)])
    store.close()
    browser = Browser(make_app(settings_of(tmp_path)))
    said, _ = by_device(browser, what_if_times__value="0.5")
    assert "4 of 4 devices read: " in said
    assert "1 device has no judged window in that time: ZZ-001." in said
    assert "ZZ-001" not in {row[0] for row in cells(said)}


def test_each_answer_takes_a_moment_and_the_next_goes_on_from_it(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = by_device(browser, what_if_times__value="2")
    monkeypatch.setattr(what_if_by_device, "STEP_SECONDS", 0.0)
    stepwise = by_device(browser, what_if_times__value="2")
    assert (at_once[1], stepwise[1]) == (1, 3)
    assert cells(stepwise[0]) == cells(at_once[0])


def test_fixed_limits_are_tried_as_the_command_does(filled: Path, browser: Browser) -> None:
    said, _ = by_device(browser, what_if_similarity_entered__data="0.999")
    store, settings, now = EmbeddedStore(filled / "store.db"), settings_of(filled), now_ms()
    tried, encoders = OfScores(fixed=Limits(similarity=0.999)), make_encoders(settings_of(filled), store)
    for device in store.devices():
        found = what_scores_say(store, settings, Span(device, now - 7 * DAY_MS, now), tried, encoders)
        if found.windows:
            (row,) = [row for row in cells(said) if row[0] == device.device_id]
            assert row[2:5] == [f"{len(n):,}" for n in (found.recorded, found.replayed, found.won)]
    assert any(row[3] != row[2] for row in cells(said)), "hardly a window is so alike"
    assert "as tried" in shown(browser, what_if_device__value="CH-001", what_if_sigma_entered__data="2")


def test_fixed_limits_are_numbers_and_no_question_beside_a_budget(browser: Browser) -> None:
    for text in ("alike", "1.1", "-2", "nan"):
        assert "Fixed similarity: a number from -1 to 1, such as 0.85" in shown(
            browser, what_if_similarity_entered__data=text
        )
    assert "Fixed sigma: a number from 0.1 to 1000000" in shown(browser, what_if_sigma_entered__data="0")
    assert "ask them apart" in shown(browser, what_if_sigma_entered__data="3", what_if_budget_entered__data="0.5")


def test_a_budget_is_a_number(browser: Browser) -> None:
    for text in ("few", "0", "-1", "nan", "1e9", "1,5"):
        assert "such as 0.5" in shown(browser, what_if_budget_entered__data=text)
    for text in ("", "  "):
        assert "Choose a device" in shown(browser, what_if_budget_entered__data=text)


def test_a_budget_needs_a_day_of_scores_and_says_by_how_much_limits_differ(filled: Path, tmp_path: Path) -> None:
    browser = Browser(make_app(settings_of(filled)))
    asked = {"what_if_device__value": "CH-001", "what_if_budget_entered__data": "0.01"}
    assert "is needed to say what another budget does: choose a longer range" in shown(browser, **asked)
    assert "is needed to say what another budget does" in by_device(browser, what_if_budget_entered__data="0.01")[0]

    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    earlier = [
        replace(row, snapshot_time=row.snapshot_time - DAY_MS, anomalous=False, score=min(row.score, 0.9))
        for row in Verdict.read(store, "CH-001")
    ]
    store.upsert(Verdict.TABLE, Verdict.columns(earlier))
    store.close()
    browser = Browser(make_app(settings_of(tmp_path)))
    said = shown(browser, **asked)
    assert "limits, beside those that windows had" in said
    assert "profile × " in said
    assert "A smaller budget raises the limits: fewer windows are anomalous, so fewer incidents come" in said
    larger = (
        "A larger budget lowers the limits: more windows are anomalous, so more incidents come (50 false alarms a day"
    )
    assert larger in shown(browser, **{**asked, "what_if_budget_entered__data": "50"})
    assert larger in by_device(browser, what_if_budget_entered__data="50")[0]
    assert "budget" not in by_device(browser, what_if_times__value="0.5")[0], "the multiple of a limit says it itself"


def test_other_rules_and_parameters_are_tried(filled: Path, browser: Browser) -> None:
    whole = (BUILT_IN_FOLDER / "chiller.yaml").read_text()
    wanted = {"what_if_device__value": "CH-001", "what_if_span__value": "7 days"}
    of_record = cells(shown(browser, **wanted))
    assert of_record
    assert cells(shown(browser, **wanted, rules=whole)) == of_record
    assert cells(shown(browser, **wanted, rules="name: chiller")) == of_record
    assert cells(shown(browser, **wanted, rules=STRICT)) != of_record
    rows = cells(by_device(browser, rules=STRICT)[0])
    assert [row[0] for row in rows] == ["CH-001"], "rules concern devices of their type"
    share = float(rows[0][-1].removesuffix("%"))
    assert share > 50


def test_rules_of_another_type_are_told(browser: Browser) -> None:
    said = shown(browser, what_if_device__value="RTU-001", rules=STRICT)
    assert "RTU-001 is no chiller, whose rules these are" in said
    assert "There is no air compressor, whose rules these are" in by_device(browser, rules="name: air_compressor")[0]


@pytest.mark.parametrize(
    ("pasted", "says"),
    [
        ("name: [", "not valid YAML"),
        ("chiller", "Expected `object`, got `str`"),
        ("{name: teapot}", "there is no device type 'teapot': there are air_compressor"),
        ("{name: chiller, rules: [{id: ch-1, when: lid > 3}]}", "rules[ch-1].when: lid is not defined"),
        ("{name: chiller, parameters: {lid: 3}, rules: [{id: new}]}", "missing required field `when`"),
        ("{name: chiller, rules: [{when: cop > 3}]}", "rules[0]: needs an id"),
        ("{name: chiller, rules: [{id: ch-1, for: long}]}", "rules[ch-1]: Expected `float`"),
        ("{name: chiller, rules: [{id: ch-1, when: 9**9**9 > cop}]}", "a power must be of something"),
        ("{name: chiller, rules: [{id: ch-1, when: __import__('os')}]}", "unknown function"),
        ("a: &a [1]\nb: &b [*a, *a]\n" + "".join(f"c{n}: [*b, *b]\n" for n in range(900)), "unknown field"),
        ("[" * 5_000, "levels deep"),
        ("x: " + "9" * 5_000, "not valid YAML"),
        ("#" * (MOST_CHARACTERS + 1), f"over {MOST_CHARACTERS:,} characters"),
        (
            f"{{name: chiller, rules: [{', '.join(f'{{id: r{n}, when: cop > 1}}' for n in range(MOST_RULES))}]}}",
            "rules; a",
        ),
        (
            f"{{name: chiller, derived: {{{', '.join(f'd{n}: cop' for n in range(MOST_QUANTITIES))}}}}}",
            "derived quantities and conditions; a page",
        ),
        ("name: chiller\n<script>alert(1)</script>: 1", "unknown field"),
    ],
)
def test_what_is_wrong_with_rules_is_said_on_the_page(browser: Browser, pasted: str, says: str) -> None:
    for device in ("CH-001", None):
        said = shown(browser, what_if_device__value=device, rules=pasted)
        assert says in said
        assert "failure" in said


def test_blank_rules_are_none(browser: Browser) -> None:
    of_record = cells(shown(browser, what_if_device__value="CH-001"))
    assert cells(shown(browser, what_if_device__value="CH-001", rules=" \n")) == of_record


def test_nothing_that_may_be_pasted_runs_long(browser: Browser) -> None:
    """The most rules and quantities that a page takes, each with as many functions as it may have."""
    heavy = "+".join(["sin(cop)*cos(cop)*exp(cop)"] * 8)
    derived = "\n".join(f"  d{n}: {heavy}" for n in range(MOST_QUANTITIES - 20))
    rules = "\n".join(f"- {{id: r{n}, when: d{n}+exp(cop)>1}}" for n in range(MOST_RULES - 15))
    pasted = f"name: chiller\nderived:\n{derived}\nrules:\n{rules}\n"
    assert len(pasted) < MOST_CHARACTERS
    before = time.process_time()
    assert "windows judged" in shown(browser, what_if_device__value="CH-001", rules=pasted)
    assert time.process_time() - before < 5


def test_the_longer_text_is_that_of_the_field_alone() -> None:
    text = "x" * (MOST_CHARACTERS + 1)
    check_bounds({"state": [{"id": FIELD, "property": "value", "value": text}]})
    for document in (
        {"id": FIELD, "property": text},
        {"id": "device-note", "value": text},
        {"id": FIELD, "value": [text]},
    ):
        with pytest.raises(BoundsError):
            check_bounds(document)
    with pytest.raises(BoundsError):
        check_bounds({"id": FIELD, "value": text + "x"})


@pytest.mark.parametrize("name", device_types())
def test_the_rules_of_a_type_as_text_are_its_rules(name: str) -> None:
    kind = device_type(name)
    assert kind is not None
    found = parse_pasted(rules_as_text(kind))
    assert found is not None
    assert found.rules == kind.rules
    assert (dict(found.parameters), dict(found.conditions)) == (dict(kind.parameters), dict(kind.conditions))


def test_the_example_of_the_documentation_is_tried(browser: Browser) -> None:
    page = (PROJECT_ROOT / "docs" / "dashboard.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert "windows judged" in shown(browser, what_if_device__value="CH-001", rules=example)
    found = parse_pasted(example)
    assert found is not None
    assert {rule.id: rule.for_minutes for rule in found.rules}.items() >= {("ch-1", 30.0), ("ours", 20.0)}


def test_the_field_is_filled_with_the_rules_of_the_chosen_devices_type(browser: Browser) -> None:
    filled = browser.ask("what-if-rules.value", what_if_fill__n_clicks=1, what_if_device__value="CH-001")
    assert filled["what-if-rules.value"].splitlines()[1] == "name: chiller"
    for device in (None, "CH-999"):
        said = browser.text("what-if-rules.value", what_if_fill__n_clicks=1, what_if_device__value=device)
        assert "Choose a device first" in said
        assert "name:" not in said


def test_a_type_that_is_too_large_for_a_page_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(PastedRulesError, match="hvac replay --rules takes more"):
        parse_pasted("a: 1\n" * MOST_CHARACTERS)


@pytest.mark.parametrize(
    "sent",
    [
        7,
        {},
        {"fields": 3},
        {"fields": ["2"], "rules": {}},
        {"fields": ["2", None, None, None, None, None, None], "rules": 3},
        {"fields": ["2", {}, [], 7, {}, [], 7], "rules": {"value": 7}, "read": -5, "rows": [7, {}], "until": "soon"},
        {"fields": ["2", None, "", "", "", "", ""], "rules": {}, "read": 10**9, "until": 10**400},
        {
            "fields": ["2", None, "", "", "", "", ""],
            "rules": {},
            "rows": [{"device_id": "x", "counts": [1e308], "days": 1}],
        },
    ],
)
def test_what_no_page_sends_to_go_on_from_breaks_nothing(browser: Browser, sent: Any) -> None:
    said = browser.text("what-if-devices.children", what_if_next__data=sent)
    assert "failure" not in said


def test_who_sees_one_building_compares_its_devices_alone(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    for device, building in (("CH-001", "north"), ("RTU-001", "south")):
        store.connection.execute("UPDATE devices SET building_id=? WHERE device_id=?", (building, device))
    ben = Visitor(make_app(settings_of(tmp_path)), add_user(store, "ben", Role.VIEWER, ["south"], now_ms()))
    said, _ = by_device(ben, what_if_times__value="0.5")
    assert [row[0] for row in cells(said)] == ["RTU-001"]
    assert "1 of 1 devices read" in said
    assert "There is no chiller, whose rules these are" in by_device(ben, rules=STRICT)[0]


def test_the_methods_that_a_page_offers_are_those_that_there_are(browser: Browser) -> None:
    for method in method_names():
        assert "By device" in by_device(browser, what_if_methods__value=[method])[0]
