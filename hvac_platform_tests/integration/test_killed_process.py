"""Ingestion from Kafka into Cassandra whose process is killed again and again: nothing lost, nothing twice."""

from __future__ import annotations

import os
import random
import time

from hvac_platform.ingestion import ranges
from hvac_platform.lost_runs import OWNS_AFTER_SECONDS, end_lost_ingestion
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import open_dagster, start_process
from hvac_platform_tests.integration.traffic import account, assert_nothing_lost, ingest_until_in

KILLS = 20


def _ingest(environment):
    """Body of a process: what the sensor would launch."""
    os.environ.update(environment)
    ranges.FIRST_RETRY_SECONDS = 0
    platform = PlatformResource()
    with open_dagster(platform.settings.hvac_home) as instance:
        ingest_until_in(instance, platform)
    platform.log.close()


def test_twenty_kills_of_the_ingesting_process_at_random_moments(home, servers, traffic, environment, say):
    died = 0
    with open_dagster(home) as instance:
        for _ in range(KILLS):
            traffic.send(minutes=2, bad_messages=5)
            runs = instance.get_runs_count()
            process = start_process(home, _ingest, environment)
            while instance.get_runs_count() == runs and process.is_alive():
                time.sleep(0.01)
            process.join(random.uniform(0.05, 4.0))
            process.kill()
            process.join(60)
            died += len(end_lost_ingestion(instance, servers, now_ms() + 1000 * OWNS_AFTER_SECONDS + 1000))
        assert ingest_until_in(instance, servers) == []
    counted = account(servers, traffic)
    say(counted, f"{KILLS} kills, {died} of them in the middle of a run")
    assert_nothing_lost(counted)
    assert died >= KILLS // 4
