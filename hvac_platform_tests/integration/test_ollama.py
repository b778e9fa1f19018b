"""The text encoder on a real Ollama: the model's own vectors, its refusals, and a server that is gone for a while."""

from __future__ import annotations

import numpy as np
import pytest

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.ollama import MODEL, Ollama
from hvac_platform.devices.registry import device_types
from hvac_platform.embedding.base import EncoderUnavailableError
from hvac_platform.embedding.ollama import OllamaEncoder, RefusedTextError
from hvac_platform.execution import ingest_everything
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform_tests.conftest import MINUTE_MS, NOON_MS, readings, rows


@pytest.fixture(scope="module")
def ollama(tmp_path_factory):
    """A server that tests may kill; whoever does starts it again."""
    started = Ollama(DEFAULT_FOLDER / "cache", tmp_path_factory.mktemp("ollama"), free_port())
    started.up()
    yield started
    started.down()


@pytest.fixture
def encoder(ollama):
    return OllamaEncoder(ollama.url, MODEL)


def fullest_states(n=3):
    """States of every device type with all its metrics; the longest sentences there are."""
    for declared in device_types().values():
        normal = [declared.point(name).normal or (1e5, 2e5) for name in declared.metric_names]
        values = np.array([[low + (high - low) * (i + 1) / (n + 1.5) for low, high in normal] for i in range(n)])
        counts = np.ones(values.shape, dtype=np.int64)
        times = np.arange(n) * MINUTE_MS
        yield SnapshotSeries(
            "BUILDING-12-FLOOR-3-UNIT-0001", declared.name, times, declared.metric_names, values, counts, *[values] * 3
        )


def test_every_declared_device_type_fits_into_the_models_context(encoder):
    for series in fullest_states():
        vectors = encoder.encode(series)
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-5)
        assert len({row.tobytes() for row in vectors}) == len(series)


def test_texts_of_like_meaning_are_nearer_than_others_and_a_batch_changes_nothing(encoder):
    texts = ["the chiller is very hot", "the water chiller overheats", "a poem about the sea"]
    vectors = encoder.embed(texts)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    alone = np.concatenate([encoder.embed([text]) for text in texts])
    assert (np.sum(vectors * alone, axis=1) > 0.99999).all()


def test_the_model_refuses_what_it_would_otherwise_cut_off(encoder):
    with pytest.raises(RefusedTextError, match="exceeds maximum context length"):
        encoder.embed(["word " * 400])
    assert encoder.embed(["word " * 200]).shape == (1, 384)


def test_a_model_that_is_not_there_comes_with_the_command_that_gets_it(ollama):
    with pytest.raises(EncoderUnavailableError, match="run `ollama pull no-such-model`"):
        OllamaEncoder(ollama.url, "no-such-model").embed(["x"])


def test_ingestion_goes_on_while_the_server_is_killed_and_restarted_and_no_snapshot_stays_without_its_vector(
    ollama, platform, instance, monkeypatch, say
):
    monkeypatch.setenv("HVAC_EMBEDDING", "text")
    monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
    sent, methods = 0, []
    for minute in range(6):
        if minute == 2:
            ollama.kill()
        if minute == 4:
            ollama.up()
        messages = readings("RTU-001", NOON_MS + minute * MINUTE_MS, 1)
        sent += len(messages)
        platform.log.append(platform.topic, messages)
        list(ingest_everything(instance, platform))
        columns = rows(platform.store, "device_state_snapshots", "embedding_method")
        methods.append([method for (method,) in columns])
    text = f"text-1/{MODEL}"
    assert methods[3] == [text, text, None, None]
    assert methods[4] == [text] * 5
    assert methods[5] == [text] * 6
    stored = platform.store.count("device_metrics_raw")
    assert rows(platform.store, "embedding_backlog") == []
    say(f"{sent} sent, {stored} stored, lost {sent - stored}")
    assert stored == sent
