"""The Helm values and the config map against the code and dagster-k8s."""

from __future__ import annotations

import re

import yaml
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.version import __version__ as dagster_k8s_version

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
TEXT = (FOLDER / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
ENVIRONMENT = yaml.safe_load((FOLDER / "environment.yaml").read_text())
SECRET_KEYS = {"SCYLLA_PASSWORD", "KAFKA_SASL_PASSWORD"}

(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]


def test_the_chart_has_the_version_of_dagster():
    pinned = re.findall(r'"dagster==([\d.]+)"', (PROJECT_ROOT / "pyproject.toml").read_text())
    libraries = re.findall(
        r'"dagster-(?:celery|k8s|postgres)==([\d.]+)"', (PROJECT_ROOT / "pyproject.toml").read_text()
    )
    assert re.findall(r"--version ([\d.]+)", TEXT) == pinned
    assert set(libraries) == {dagster_k8s_version}
    assert dagster_k8s_version.split(".")[2] == pinned[0].split(".")[2]


def test_runs_get_the_environment_of_the_code_and_it_parses():
    assert DEPLOYMENT["includeConfigInLaunchedRuns"]["enabled"]
    assert {"name": ENVIRONMENT["metadata"]["name"]} in DEPLOYMENT["envConfigMaps"]
    settings = Settings(_env_file=None, **{name.lower(): value for name, value in ENVIRONMENT["data"].items()})
    assert {name.lower() for name in ENVIRONMENT["data"]} <= set(Settings.model_fields)
    assert settings.scylla_replication_factor == 3
    assert settings.kafka_partitions == Settings.model_fields["kafka_partitions"].default


def test_secrets_come_from_secrets():
    assert {name.lower() for name in SECRET_KEYS} <= set(Settings.model_fields)
    assert not SECRET_KEYS & set(ENVIRONMENT["data"])
    assert DEPLOYMENT["envSecrets"]
    assert VALUES["global"]["postgresqlSecretName"]
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert "postgresqlPassword" not in VALUES["postgresql"]


def test_the_server_of_the_code_is_started_as_in_the_workspace():
    own = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    arguments = DEPLOYMENT["codeServerArgs"]
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert given == {"--module-name": own["module_name"], "--location-name": own["location_name"]}


def test_dagster_k8s_accepts_the_configuration_of_runs():
    launcher = VALUES["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    given = launcher["config"]["k8sRunLauncher"]["runK8sConfig"]
    snake_case = {re.sub(r"([A-Z])", lambda m: f"_{m[1].lower()}", name): value for name, value in given.items()}
    understood = UserDefinedDagsterK8sConfig.from_dict(snake_case)
    assert understood.container_config["resources"]["limits"]["memory"] == "2Gi"
    assert understood.job_spec_config["ttl_seconds_after_finished"] == 3600
    user = re.search(r"useradd --uid (\d+)", (PROJECT_ROOT / "Dockerfile").read_text())
    assert user is not None
    assert understood.pod_spec_config["security_context"]["run_as_user"] == int(user[1])
