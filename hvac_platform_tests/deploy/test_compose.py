"""docker-compose.yml, Dockerfile and .env.example against the code: images, ports, variables, health, volumes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from devtools import PROJECT_ROOT
from devtools.services.maven import jars
from devtools.services.ollama import VERSION as OLLAMA_VERSION
from hvac_platform.config import Settings

COMPOSE = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
PLATFORM = {"code-server", "daemon", "webserver", "dashboard"}
ONCE = {"ollama-model"}
SECRETS = {"DAGSTER_POSTGRES_PASSWORD"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<text>[^}]*))?\}")
DOCKERFILE = (PROJECT_ROOT / "Dockerfile").read_text()


def variables(text):
    """(name, default) of each variable in a text; None where there is no default."""
    return {m["name"]: m["text"] if m["how"] == "-" else None for m in VARIABLE.finditer(text)}


def filled_in(text, environment):
    """A value with its variables replaced, as Compose does it."""
    return VARIABLE.sub(lambda m: environment.get(m["name"]) or (m["text"] if m["how"] == "-" else ""), str(text))


def platform_environment(**environment):
    """Environment of the platform's containers."""
    return {name: filled_in(value, environment) for name, value in SERVICES["daemon"]["environment"].items()}


def settings_of(environment):
    """The platform's settings under an environment, whatever this process's own says."""
    names = Settings.model_fields
    return Settings(_env_file=None, **{n: environment[n.upper()] for n in names if environment.get(n.upper())})


# -- images, ports, health, volumes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_to_a_version(name):
    image = filled_in(SERVICES[name]["image"], {})
    repository, _, tag = image.rpartition(":")
    assert repository
    assert re.match(r"\d+\.\d+", tag), image


def test_servers_have_the_versions_that_the_tests_run_against():
    images = {filled_in(service["image"], {}) for service in SERVICES.values()}
    assert f"ollama/ollama:{OLLAMA_VERSION}" in images
    kafka = jars("kafka", Path()).name.removeprefix("kafka-")
    assert f"apache/kafka:{kafka}" in images
    base = re.search(r"^FROM python:(\d+\.\d+)\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert base[1] == "3.11"  # the oldest that pyproject.toml allows, and what requirements.lock is made for


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name):
    for port in SERVICES[name].get("ports", []):
        address, host, container = filled_in(port, {}).split(":")
        assert address == "127.0.0.1"
        assert host == container  # by default as in the documentation; each can be moved
        assert variables(port), f"port {port} can't be moved"


def test_published_ports_are_those_of_the_platforms_own_defaults():
    published = {name: filled_in(s["ports"][0], {}).rsplit(":", 1)[1] for name, s in SERVICES.items() if "ports" in s}
    defaults = Settings(_env_file=None)
    assert published == {
        "scylla": str(Settings.model_fields["scylla_port"].default),
        "kafka": "9092",
        "ollama": defaults.ollama_base_url.rsplit(":", 1)[1],
        "webserver": "3000",
        "dashboard": "8050",
    }


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_every_long_running_service_tells_its_health_and_comes_back(name):
    service = SERVICES[name]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits(name):
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_the_health_of_what_it_needs(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert other not in ONCE
        # What a profile adds can't be required by what is always there.
        behind_a_profile = "profiles" in SERVICES[other] and "profiles" not in SERVICES[name]
        assert how.get("required", True) is not behind_a_profile


def test_volumes_are_declared_and_used_and_mounted_files_exist():
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (PROJECT_ROOT / source).is_file()
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_servers_keep_their_data_in_volumes_of_their_own():
    kept = [v.split(":")[0] for n, s in SERVICES.items() if n not in PLATFORM for v in s.get("volumes", [])]
    named = [source for source in kept if not source.startswith(".")]
    assert len(named) == len(set(named)) == len(set(SERVICES) - PLATFORM - ONCE - {"vector-store"})


# -- the platform's environment -----------------------------------------------------------------------------------------


def test_every_variable_is_one_that_the_platform_or_its_instance_reads():
    instance = (PROJECT_ROOT / "deploy" / "docker" / "dagster.yaml").read_text()
    of_dagster = set(re.findall(r"env: (\w+)", instance))
    of_platform = {name.upper() for name in Settings.model_fields}
    given = set(SERVICES["daemon"]["environment"])
    assert given - of_platform == of_dagster
    assert all(SERVICES[name]["environment"] == SERVICES["daemon"]["environment"] for name in PLATFORM)


def test_everything_that_can_be_tuned_can_be_tuned_here():
    needs_files_of_the_host = {"HVAC_DEVICE_TYPES"}
    tunable = {name.upper() for name in Settings.model_fields if name.startswith("hvac_")} - needs_files_of_the_host
    assert tunable <= set(SERVICES["daemon"]["environment"])


def test_values_parse_and_defaults_are_the_platforms_own():
    settings, own = settings_of(platform_environment()), Settings(_env_file=None)
    passed_on = [name for name, value in SERVICES["daemon"]["environment"].items() if name in variables(str(value))]
    tunable = [name.lower() for name in passed_on if name.lower() in Settings.model_fields]
    assert len(tunable) >= 10
    assert {name: getattr(settings, name) for name in tunable} == {name: getattr(own, name) for name in tunable}


def test_addresses_are_services_of_this_file():
    settings = settings_of(platform_environment())
    assert settings.scylla_hosts in SERVICES
    assert settings.scylla_replication_factor == 1
    host, port = settings.kafka_bootstrap_servers.split(":")
    advertised = SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INTERNAL://{host}:{port}" in advertised
    assert settings.ollama_base_url == f"http://ollama:{Settings(_env_file=None).ollama_base_url.rsplit(':', 1)[1]}"
    assert platform_environment()["DAGSTER_POSTGRES_HOST"] in SERVICES


def test_an_env_file_for_servers_elsewhere_does_not_lead_containers_astray():
    """The same .env serves commands on the host, where KAFKA_BOOTSTRAP_SERVERS is another address."""
    elsewhere = {
        "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
        "SCYLLA_HOSTS": "localhost",
        "SCYLLA_REPLICATION_FACTOR": "3",
    }
    assert platform_environment(**elsewhere) == platform_environment()


def test_the_profile_with_three_nodes_has_a_rack_for_each():
    nodes = [name for name in SERVICES if name.startswith("scylla")]
    assert [name for name in nodes if "profiles" in SERVICES[name]] == ["scylla-2", "scylla-3"]
    settings = settings_of(platform_environment(SCYLLA_NODES="3", SCYLLA_CONTACT_POINTS=",".join(nodes)))
    assert settings.scylla_replication_factor == len(nodes)
    assert settings.scylla_hosts.split(",") == nodes
    places = []
    for name in nodes:
        (mounted,) = [v for v in SERVICES[name]["volumes"] if v.startswith(".")]
        lines = (PROJECT_ROOT / mounted.split(":")[0]).read_text().splitlines()
        places.append(dict(line.split("=") for line in lines if not line.startswith("#")))
    assert len({place["rack"] for place in places}) == len(nodes)
    assert {place["dc"] for place in places} == {"datacenter1"}


def test_secrets_have_no_default_and_stand_nowhere():
    text = (PROJECT_ROOT / "docker-compose.yml").read_text()
    assert {name for name, default in variables(text).items() if default is None} == SECRETS
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "SECRET" in name:
                reference = VARIABLE.fullmatch(str(value))
                assert reference is not None, f"{name} stands in the file"
                assert reference["name"] in SECRETS
    assert not re.search(r"(PASSWORD|SECRET|TOKEN)\s*=", DOCKERFILE)


def test_the_example_of_an_env_file_names_every_variable_and_holds_no_secret():
    lines = (PROJECT_ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    used = set(variables((PROJECT_ROOT / "docker-compose.yml").read_text()))
    assert used <= set(given)
    assert {given[name] for name in SECRETS} == {""}


# -- the image ----------------------------------------------------------------------------------------------------------


def test_what_the_image_copies_exists_and_reaches_the_builder():
    ignored = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {source for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]}
    assert copied == sent
    for source in copied:
        assert (PROJECT_ROOT / source).exists()
    for source in re.findall(r"\bdeploy/\S+\.yaml", DOCKERFILE):
        assert (PROJECT_ROOT / source).is_file()


def test_the_image_installs_as_the_makefile_does_and_runs_as_nobody_special():
    makefile = (PROJECT_ROOT / "Makefile").read_text().replace("@$(BIN)/", "")
    for words in (
        "pip install --require-hashes -r requirements-installer.lock",
        "uv pip install --require-hashes -r requirements.lock",
        "pip install --no-deps --no-build-isolation --editable .",
    ):
        for text in (DOCKERFILE, makefile):
            assert any(set(words.split()) <= set(line.split()) for line in text.splitlines())
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["hvac"]


@pytest.mark.parametrize("name", sorted(PLATFORM))
def test_commands_use_programs_and_files_that_the_image_has(name):
    program, *arguments = SERVICES[name]["command"]
    assert shutil.which(program, path=str(Path(sys.executable).parent)) is not None
    for file in (word for word in arguments if word.startswith("/opt/dagster/docker/")):
        assert (PROJECT_ROOT / "deploy" / "docker" / Path(file).name).is_file()


def test_the_workspace_points_at_the_code_server():
    workspace = yaml.safe_load((PROJECT_ROOT / "deploy" / "docker" / "workspace.yaml").read_text())
    (server,) = (entry["grpc_server"] for entry in workspace["load_from"])
    command = shlex.join(SERVICES[server["host"]]["command"])
    assert f"--port={server['port']}" in command
    assert f"--location-name={server['location_name']}" in command
    own = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert (server["location_name"], f"--module-name={own['module_name']}" in command) == (own["location_name"], True)


# -- Compose's own opinion ----------------------------------------------------------------------------------------------


def compose():
    """A Compose that knows this format: version 2.24 or newer, as a plug-in of docker or on its own."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
        version = re.match(r"v?(\d+)\.(\d+)", said.stdout)
        if said.returncode == 0 and version and (int(version[1]), int(version[2])) >= (2, 24):
            return command
    return None


@pytest.mark.parametrize("profile", [(), ("--profile", "cluster")])
def test_compose_accepts_the_file(profile, tmp_path):
    command = compose()
    if command is None:
        pytest.skip("needs Docker Compose 2.24 or newer")
    file = ["--file", str(PROJECT_ROOT / "docker-compose.yml"), "--env-file", os.devnull]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    config = [*command, *file, *profile, "config", "--format", "json"]
    refused = subprocess.run(config, capture_output=True, text=True, env=environment)
    assert refused.returncode != 0
    assert "DAGSTER_POSTGRES_PASSWORD" in refused.stderr
    environment["DAGSTER_POSTGRES_PASSWORD"] = "chosen"
    accepted = subprocess.run(config, capture_output=True, text=True, env=environment)
    assert accepted.returncode == 0, accepted.stderr
    services = json.loads(accepted.stdout)["services"]
    wanted = {name for name, service in SERVICES.items() if profile or "profiles" not in service}
    assert set(services) == wanted
    assert {p["host_ip"] for s in services.values() for p in s.get("ports", [])} == {"127.0.0.1"}
    told = services["daemon"]["environment"]
    assert told == platform_environment(DAGSTER_POSTGRES_PASSWORD="chosen")
