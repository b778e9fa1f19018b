"""What README and docs name exists: commands, options, variables, targets, links, paths; what they show as code holds.

Figures may vary from machine to machine, so they are not compared. Names may not.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from typer.testing import CliRunner

from devtools import PROJECT_ROOT
from hvac_platform.cli import output
from hvac_platform.cli.main import app
from hvac_platform.config import Settings
from hvac_platform.devices.registry import parse_device_type
from hvac_platform_tests.detection.methods import test_methods

PAGES = [
    PROJECT_ROOT / "README.md",
    PROJECT_ROOT / "CONTRIBUTING.md",
    PROJECT_ROOT / "SECURITY.md",
    *sorted((PROJECT_ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\b(?:HVAC|KAFKA|SCYLLA|OLLAMA)_[A-Z0-9_]*[A-Z0-9]\b")
COMMAND_AFTER = ("&&", "||", "|", ";")
ROOMS = (
    *("hvac_platform", "hvac_platform_tests", "sensors", "schema", "devtools", "deploy", "benchmarks", "docs"),
    *(".github", ".ci"),
)
"""Folders of the repository; what in backticks begins with one of them is a path."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def page_name(page: Path) -> str:
    return str(page.relative_to(PROJECT_ROOT))


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        indent, language, body = found.groups()
        lines = "\n".join(line.removeprefix(indent) for line in body.splitlines())
        yield Block(page_name(page), text.count("\n", 0, found.start()) + 2, language, lines)


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def in_backticks(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose_of(page))


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def command_lines(block: Block) -> Iterator[str]:
    """Lines that are typed: all of a console or bash block, those after ``$`` of a text block; continued ones joined."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    for line in joined.splitlines():
        if block.language in ("console", "bash", "sh"):
            yield line.removeprefix("$ ")
        elif line.startswith("$ "):
            yield line[2:]


def words_after(program: str, line: str) -> Iterator[list[str]]:
    """Arguments of each call of a program in a line of a shell."""
    try:
        words = shlex.split(line.replace("…", ""), comments=True)
    except ValueError:
        words = line.split()
    rest = words
    while program in rest:
        at = rest.index(program)
        before, rest = rest[:at], rest[at + 1 :]
        typed = not before or before[-1] in COMMAND_AFTER or all("=" in word for word in before) or before[-1] == "--"
        end = next((i for i, word in enumerate(rest) if word in COMMAND_AFTER), len(rest))
        if typed:
            yield rest[:end]


def spoken_commands() -> list[tuple[str, str]]:
    """Command lines with their place: in blocks, and in backticks of the text."""
    found = [(str(block), line) for block in BLOCKS for line in command_lines(block)]
    return found + [(page_name(page), text) for page in PAGES for text in in_backticks(page)]


HVAC_CALLS = sorted(
    {(where, " ".join(words)) for where, line in spoken_commands() for words in words_after("hvac", line)}
)
TARGETS = sorted(
    {
        (where, word)
        for where, line in spoken_commands()
        for words in words_after("make", line)
        for word in words
        if re.fullmatch(r"[a-z][a-z-]*", word)
    }
)


def test_there_is_something_to_check():
    assert len(HVAC_CALLS) > 60
    assert sum(len(labels(output)) for _, _, output in shown_outputs()) > 15
    assert len(TARGETS) > 15
    assert len(BLOCKS) > 50


@pytest.mark.parametrize(("where", "call"), HVAC_CALLS)
def test_a_command_exists_with_its_options(where, call):
    command: Any = typer.main.get_command(app)
    words = shlex.split(call.replace("'", ""))
    path = "hvac"
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            break
        word = words.pop(0).strip(",")
        command, path = command.get_command(None, word), f"{path} {word}"
        assert command is not None, f"{where}: there is no command {path}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.strip("[],.").split("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)}
    assert used <= known | {"--help"}, f"{where}: {path} has no {', '.join(sorted(used - known))}"


@pytest.mark.parametrize(("where", "target"), TARGETS)
def test_a_make_target_exists(where, target):
    targets = re.findall(r"^([a-z][a-z-]*):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target in targets, where


def test_make_help_tells_of_every_target_that_people_call():
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    quiet = ["make", "--no-print-directory", "help"]  # a make inside of a make says which folder it enters
    done = subprocess.run(quiet, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    told = {line.split()[1] for line in done.stdout.splitlines()}
    assert told == set(phony.split()) - {"other-python"}


def names_in_code() -> set[str]:
    """Variables of the environment that settings, code, tests, deployment or the example of ``.env`` read."""
    found = {name.upper() for name in Settings.model_fields}
    files = [path for room in ROOMS for path in (PROJECT_ROOT / room).rglob("*")] + list(PROJECT_ROOT.iterdir())
    for path in files:
        read = path.name.endswith((".py", ".yml", ".yaml", ".sh", ".example", "Dockerfile", "Makefile"))
        if read and path.name != "test_docs.py" and path.is_file():
            found |= set(VARIABLE.findall(path.read_text(encoding="utf-8", errors="replace")))
    return found


@pytest.fixture(scope="module")
def known_variables():
    return names_in_code()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_variable_exists(page, known_variables):
    text = page.read_text(encoding="utf-8")
    # A name with a star stands for all that begin so.
    stems = set(re.findall(r"\b((?:HVAC|KAFKA|SCYLLA|OLLAMA)_[A-Z0-9_]*)\*", text))
    named = {name for name in VARIABLE.findall(text) if f"{name}_" not in stems}
    assert named <= known_variables
    for stem in stems:
        assert any(name.startswith(stem) for name in known_variables), stem


def test_every_setting_is_told_with_its_default():
    """The table of operations, or .env.example where it refers to that, names each setting."""
    told = (PROJECT_ROOT / "docs/operations.md").read_text() + (PROJECT_ROOT / ".env.example").read_text()
    assert {name.upper() for name in Settings.model_fields} <= set(VARIABLE.findall(told))
    for name, default in re.findall(r"^\| `([A-Z_]+)` \| (\S+) \|", told, re.MULTILINE):
        field = Settings.model_fields[name.lower()]
        if default != "–":
            shown = str(default).strip("`")
            assert shown in (str(field.default), f"{field.default:g}" if isinstance(field.default, float) else ""), name


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors_of(found), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_path_in_backticks_exists(page):
    """What begins with a folder of the repository is a path of it, or of a file there from the page's own subject."""
    for text in in_backticks(page):
        found = re.fullmatch(r"([\w.-]+)/[\w./-]*", text)
        if found and found[1] in ROOMS and not text.endswith("/"):
            assert (PROJECT_ROOT / text).exists(), text
        if found and found[1] in ROOMS and text.endswith("/"):
            assert (PROJECT_ROOT / text).is_dir(), text


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_python_name_in_backticks_exists(page):
    for text in in_backticks(page):
        found = re.fullmatch(r"((?:hvac_platform|devtools)(?:\.\w+)+)(?:\(.*\))?", text)
        if found:
            parts = found[1].split(".")
            whole = PROJECT_ROOT.joinpath(*parts)
            holder = PROJECT_ROOT.joinpath(*parts[:-1])
            source = holder.with_suffix(".py") if holder.with_suffix(".py").exists() else holder / "__init__.py"
            assert whole.is_dir() or whole.with_suffix(".py").exists() or parts[-1] in source.read_text(), text


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("yaml", "yml")], ids=str)
def test_a_yaml_block_parses(block):
    assert yaml.safe_load(block.text) is not None


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "json"], ids=str)
def test_a_json_block_parses(block):
    assert json.loads(block.text)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_a_python_block_parses(block):
    ast.parse(block.text)


def test_the_heat_pump_of_the_docs_loads_small_and_whole():
    """The second block goes on where the first one ends."""
    small, whole = (b.text for b in blocks_of(PROJECT_ROOT / "docs/adding-a-device-type.md") if b.language == "yaml")
    for text in (small, whole):
        assert parse_device_type(text, "heat_pump.yaml").name == "heat_pump"
    assert whole.startswith(small)


def test_the_rule_of_the_contributing_guide_loads():
    (rule,) = (b.text for b in blocks_of(PROJECT_ROOT / "CONTRIBUTING.md") if b.language == "yaml")
    chiller = yaml.safe_load((PROJECT_ROOT / "hvac_platform/devices/types/chiller.yaml").read_text())
    added = yaml.safe_load(rule)
    chiller["parameters"] |= added["parameters"]
    chiller["rules"] += added["rules"]
    parsed = parse_device_type(yaml.safe_dump(chiller, sort_keys=False), "chiller.yaml").rules[-1]
    assert (parsed.id, *parsed.metrics) == ("ch-99", "condenser_water_return_temp", "condenser_water_supply_temp")


def test_the_method_of_the_docs_is_the_one_that_passes_the_contract():
    page = (PROJECT_ROOT / "docs/adding-a-method.md").read_text()
    assert inspect.getsource(test_methods.SeasonalNaive).strip() in page


def test_the_public_api_is_there_and_its_examples_print_what_they_show(tmp_path):
    page = PROJECT_ROOT / "docs/public-api.md"
    for names, module in re.findall(r"^\| (`[^|]+`) \| `([\w.]+)` \|", page.read_text(), re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            code = f"from {module} import {name}"
            ast.parse(code)
            exec(code, {})
    shown = [block for block in blocks_of(page) if block.language in ("python", "text")]
    own = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    for code, printed in zip(shown[::2], shown[1::2], strict=True):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code.text],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(PROJECT_ROOT), "HVAC_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert shape(done.stdout) == shape(printed.text)


def shape(text: str) -> list[str]:
    """Printed text without what may vary: numbers and the width of columns."""
    return [re.sub(r"\d+", "0", " ".join(line.split())) for line in text.strip().splitlines()]


# -- what commands print -----------------------------------------------------------------------------------------------


def labels(text: str) -> set[tuple[str, ...]]:
    """Names of the columns of tables, and of the fields of rows that are printed one below the other; without digits."""
    found = set()
    for group in re.split(r"\n(?! {2}| ─)|\n\s*\n", text):
        lines = [line.rstrip() for line in group.splitlines() if line.startswith(" ")]
        rules = [i for i, line in enumerate(lines) if set(line.strip()) == {"─"}]
        fields = [re.match(r"  (\w[\w ]*?)(?:  +\S|$)", line) for line in lines]
        if rules:
            found.add(tuple(re.split(r"\s{2,}", lines[rules[0] - 1].strip())))
        elif len(lines) > 3 and all(fields):
            found.add(tuple(field[1] for field in fields if field))
    return {tuple(re.sub(r"\d+", "0", name) for name in names) for names in found}


def test_labels_are_those_of_tables_and_of_rows_as_blocks():
    table = "Title\n\n  device   windows   left out\n ──────────────\n  RTU-001      1440   2\n\nnote\n"
    blocks = "Title\n\n  device  a b\n  from    2026\n  left out  -\n  why  x\n"
    assert labels(table) == {("device", "windows", "left out")}
    assert labels(blocks) == {("device", "from", "left out", "why")}


AT_TIMES = {"note", "rules"}
"""What is said where there is anything to say: notes on a file, the rules that fired in an incident."""


def beginnings(text: str) -> set[str]:
    """Words with a colon that lines outside of tables begin with, such as ``limits``."""
    return set(re.findall(r"^ {0,2}([a-z]+): ", text, re.MULTILINE))


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each command of the docs prints, of a day of a chiller with faults in its second half."""
    home = tmp_path_factory.mktemp("docs")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    (home / "readings.csv").write_text("timestamp,device_id,speed\n2026-06-10T00:00:00Z,FAN-1,5\n")
    said: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setenv("HVAC_HOME", str(home))
        patch.chdir(home)
        patch.setattr(output.console, "width", 80)  # as most terminals

        def run(*words: str) -> str:
            result = CliRunner().invoke(app, list(words))
            assert result.exit_code == 0, result.output
            said[" ".join(word for word in words[:2] if not word.startswith("-"))] = result.stdout
            return result.stdout

        fleet = ("--devices", "CH-001:chiller", "--interval", "60", "--seed", "5")
        run("simulate", *fleet, "--start", "2026-06-10", "--end", "2026-06-10T12:00")
        late = ("--start", "2026-06-10T12:00", "--end", "2026-06-11", "--anomaly-rate", "16")
        run("simulate", *fleet, *late, "--anomaly-devices", "CH-001")
        run("ingest")
        run("profiles", "build", "--until", "2026-06-10T12:00")
        run("profiles", "list")
        run("profiles", "show", "CH-001")
        run("detect", "--from", "2026-06-10T12:00", "--until", "2026-06-11")
        run("compare", "--device", "CH-001")
        run("similar", "--device", "CH-001", "--at", "2026-06-10T20:00", "--limit", "2")
        incidents = run("incidents", "list", "--devices", "CH-001", "--from", "2026-06-10")
        # The newest is looked at: it has earlier ones to be like.
        run("incidents", "show", re.findall(r"CH-001/\d+", incidents)[0])
        (home / "alerts.yaml").write_text("receivers: {screen: {console: true}}\nroute: {receivers: [screen]}\n")
        patch.setenv("HVAC_ALERTS", "alerts.yaml")
        run("alerts", "test", "screen")
        run("alerts", "explain", re.findall(r"CH-001/\d+", incidents)[0])
        patch.delenv("HVAC_ALERTS")
        run("check")
        run("lag")
        run("import", "readings.csv", "--device-type", "fan")
    return said


def shown_outputs() -> list[tuple[str, str, str]]:
    """Place, command and what follows it, of each command in a text block that starts with ``$``."""
    found = []
    for block in BLOCKS:
        if block.language == "text" and block.text.startswith("$ hvac"):
            joined = re.sub(r"\\\n\s*", " ", block.text)
            for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                found.append((str(block), line, output))
    return found


@pytest.mark.parametrize(("where", "line", "output"), shown_outputs())
def test_a_printed_table_has_the_columns_that_the_command_prints(printed, where, line, output):
    words = line.split()[1:]
    keys = (" ".join(words[:2]), words[0], *(key for key in printed if key.startswith(f"{words[0]} ")))
    real = next((printed[key] for key in keys if key in printed), None)
    assert real is not None, f"{where}: {line} is not run here"
    assert labels(output) <= labels(real), where
    said, really = beginnings(output), beginnings(real)
    assert said <= really if "…" in output else said ^ really <= AT_TIMES, (where, said ^ really)


def test_beginnings_are_those_of_lines_that_say_of_what_they_are():
    text = "limits: similarity 0.1\nurgency 7 (severity +5)\n  metrics: a, b\n  10:31 no\nCH-1: acknowledged\n"
    assert beginnings(text) == {"limits", "metrics"}


def test_the_versions_of_python_are_the_same_wherever_they_stand():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    declared = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python ::" in c]
    tested = yaml.safe_load((PROJECT_ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    assert tested["strategy"]["matrix"]["python"] == declared
    assert project["requires-python"] == f">={declared[0]}"
    for page in ("README.md", "docs/quickstart.md"):
        assert f"({declared[0]} to {declared[-1]} are tested)" in (PROJECT_ROOT / page).read_text()


def test_the_layout_of_the_readme_is_that_of_the_repository():
    readme = (PROJECT_ROOT / "README.md").read_text()
    (layout,) = re.findall(r"^## Layout\n+```text\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    top = set(re.findall(r"^(\w+)/", layout, re.MULTILINE))
    inside = set(re.findall(r"^  (\w+)/", layout, re.MULTILINE))
    package = PROJECT_ROOT / "hvac_platform"
    folders = {path.name for path in package.iterdir() if path.is_dir() and not path.is_symlink()}
    assert inside == folders - {"__pycache__"}
    assert top == {room for room in ROOMS if not room.startswith(".")}


def test_the_report_of_the_readme_agrees_with_its_last_line_and_with_the_docs():
    readme = (PROJECT_ROOT / "README.md").read_text()
    (last,) = re.findall(r"^demo: (.*)$", readme, re.MULTILINE)
    told = dict(pair.split("=") for pair in last.split())
    methods = re.findall(r"^│ ([a-z ]+?) +│ +(\d+) │ +(\d+) │ +([\d.]+) │", readme, re.MULTILINE)
    found = {name: (count, alarms) for name, count, _, alarms in methods}
    assert list(found) == ["rules", "profile", "vector", "consensus", "any method"]
    assert found["any method"] == (told["found"], told["false_alarms_per_device_day"])
    assert {int(count) + int(missed) for _, count, missed, _ in methods} == {int(told["faults"])}
    repeated = " ".join((PROJECT_ROOT / "docs/detection-methods.md").read_text().split())
    figures = ", ".join(f"{name} {found[name][0]}" for name in ("rules", "profile", "vector"))
    assert f"rules found {figures.removeprefix('rules ')}, and all together {told['found']}" in repeated
