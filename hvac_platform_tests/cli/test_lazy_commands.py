"""The list of commands is kept apart from the commands, so that help comes at once; the two must not drift apart."""

import subprocess
import sys

import pytest
import typer

from hvac_platform.cli.commands import COMMANDS
from hvac_platform.cli.main import app


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_there_and_says_the_same_of_itself(name):
    command = typer.main.get_command(app).get_command(None, name)
    assert command.name == name
    assert " ".join((command.help or "").split("\n\n")[0].split()) == COMMANDS[name].help


def loaded(arguments, modules):
    """Which of some modules a command has loaded, and what it printed."""
    code = (
        f"import sys; sys.argv = {['hvac', *arguments]!r}\n"
        "from hvac_platform.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {modules!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *printed, last = done.stdout.splitlines()
    return last, printed


def test_help_loads_nothing_that_a_command_needs():
    found, printed = loaded(["--help"], ("numpy", "pandas", "pydantic", "kafka", "dagster", "apsw", "dash"))
    assert found == "[]"
    assert "Commands:" in printed


def test_a_look_at_the_embedded_log_loads_no_client_of_a_server(home):
    assert loaded(["lag"], ("kafka", "cassandra", "pandas", "dagster", "dash"))[0] == "[]"
