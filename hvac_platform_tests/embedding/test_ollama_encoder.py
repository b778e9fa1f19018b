"""The text encoder: unit vectors of sentences, refusals that name what is refused, outages that stop nothing."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pytest

from hvac_platform.embedding.base import EncoderUnavailableError
from hvac_platform.embedding.ollama import OllamaEncoder, RefusedTextError
from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.monitoring.pending import pending as pending_windows
from hvac_platform.schedules import partition_tags
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import DAY, MINUTE_MS, NOON_MS, reading, readings, rows
from hvac_platform_tests.embedding.ollama_protocol import MODEL, OllamaProtocol

TEXT_METHOD = f"text-1/{MODEL}"


@pytest.fixture
def server():
    started = OllamaProtocol()
    started.up()
    yield started
    started.down()


@pytest.fixture
def encoder(server):
    return OllamaEncoder(server.url, MODEL, request_seconds=0.5, attempts=2)


@pytest.fixture
def text_platform(server, platform, monkeypatch):
    """The platform with HVAC_EMBEDDING=text."""
    monkeypatch.setenv("HVAC_EMBEDDING", "text")
    monkeypatch.setenv("OLLAMA_BASE_URL", server.url)
    return platform


def states(values, device_type="chiller", metric="power_consumption"):
    mean = np.array(values, dtype=np.float64).reshape(len(values), -1)
    names = (metric, *(f"m{j}" for j in range(1, mean.shape[1])))
    times = np.arange(len(mean)) * MINUTE_MS
    return SnapshotSeries("CH-1", device_type, times, names, mean, np.ones(mean.shape, dtype=int), mean, mean, mean)


# -- vectors -----------------------------------------------------------------------------------------------------------


def test_every_text_gets_a_unit_vector_of_its_own(encoder):
    vectors = encoder.embed(["a", "b", "a"])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert vectors[0] @ vectors[1] < 0.5


def test_no_texts_need_no_server():
    assert OllamaEncoder("http://127.0.0.1:9", MODEL).embed([]).shape == (0, 384)


def test_a_series_of_any_length_comes_back_in_its_order_and_each_sentence_is_asked_for_once(server, encoder):
    vectors = encoder.encode(states([float(i % 40) for i in range(100)]))
    assert len(server.texts) == len(set(server.texts)) == 40
    one_by_one = np.concatenate([encoder.encode(states([float(i)])) for i in range(40)])
    np.testing.assert_array_equal(vectors, one_by_one[np.arange(100) % 40])


def test_the_method_names_the_model_so_that_vectors_of_two_models_are_never_compared(encoder):
    assert encoder.method == TEXT_METHOD != OllamaEncoder("http://127.0.0.1:9", "nomic-embed-text").method


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused_by_its_place(encoder, text):
    with pytest.raises(RefusedTextError, match="text 1 is empty"):
        encoder.embed(["good", text])


def test_an_over_long_text_is_refused_rather_than_cut_off(encoder):
    with pytest.raises(RefusedTextError, match="exceeds maximum context length"):
        encoder.embed(["word " * 400, "short"])


def test_snapshots_that_cant_be_encoded_are_nan_and_the_others_are_not_made_to_suffer(encoder):
    wide = np.full((20, 120), 1.0)
    wide[:, 1:] = np.nan
    wide[:, 0] = np.arange(20)
    wide[3] = np.nan  # no metric at all
    wide[7] = 2.0  # a sentence of far too many words
    vectors = encoder.encode(states(wide))
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [3, 7]
    assert np.isnan(vectors[[3, 7]]).all()
    np.testing.assert_array_equal(vectors[4], encoder.encode(states(wide[4:5]))[0])


# -- outages -----------------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_named_with_what_to_check():
    encoder = OllamaEncoder("http://user:secret@127.0.0.1:9", MODEL, attempts=1)
    with pytest.raises(EncoderUnavailableError, match=r"http://127.0.0.1:9 did not embed.*OLLAMA_BASE_URL") as caught:
        encoder.embed(["x"])
    assert "secret" not in str(caught.value)


def test_a_missing_model_comes_with_the_command_that_gets_it(server):
    with pytest.raises(EncoderUnavailableError, match="has no model llama: run `ollama pull llama`"):
        OllamaEncoder(server.url, "llama").embed(["x"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("error", "llama runner process has terminated"),
        ("hang", "timed out"),
        ("short", "tables hold 384"),
        ("zero", "zero or not finite"),
    ],
)
def test_a_server_that_misbehaves_is_unavailable_and_never_gives_a_vector(server, encoder, fault, said):
    server.fault = fault
    with pytest.raises(EncoderUnavailableError, match=said):
        encoder.embed(["x"])


def test_a_passing_fault_is_tried_again(server, encoder):
    server.fault, server.faults_left = "error", 1
    assert np.isfinite(encoder.embed(["x"])).all()


# -- in the pipeline ---------------------------------------------------------------------------------------------------


def embedded(store, device_id="RTU-001"):
    """Method of every snapshot, in order of time."""
    return [method for (method,) in rows(store, "device_state_snapshots", "embedding_method", device_id=device_id)]


def verdict_methods(store):
    """(minute, method) of every verdict."""
    return {
        ((t - NOON_MS) // MINUTE_MS, method)
        for t, method in rows(store, "snapshot_verdicts", "snapshot_time", "method")
    }


def ends_with_messages(log, topic):
    """End offset of every partition that has messages."""
    return {p: end for p, end in log.end_offsets(topic).items() if end}


def judge(instance):
    run_job(
        "detection",
        instance,
        partition_tags(DAY, DAY),
        {"ops": {"anomaly_events": {"config": {"unjudged_only": True}}}},
    )


def check_results(instance, name="every_snapshot_embedded"):
    """Outcomes of the check, newest first."""
    events = instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=50, ascending=False
    )
    found = [record.event_log_entry.dagster_event.asset_check_evaluation_data for record in events]
    return [evaluation.passed for evaluation in found if evaluation.check_name == name]


def test_an_outage_stores_snapshots_without_vectors_and_the_next_run_makes_up_for_it(server, text_platform, instance):
    store, log, topic = text_platform.store, text_platform.log, text_platform.topic
    log.append(topic, readings("RTU-001", NOON_MS, 1))
    log.append(topic, readings("RTU-001", NOON_MS + 60 * MINUTE_MS, 2))
    list(ingest_everything(instance, text_platform))
    assert embedded(store) == [TEXT_METHOD] * 3
    assert check_results(instance) == [True]

    server.down()
    log.append(topic, readings("RTU-001", NOON_MS + 62 * MINUTE_MS, 5))
    log.append(topic, [reading("RTU-001", NOON_MS + 61 * MINUTE_MS + 1, "supply_air_temp", 99.0)])  # changes a window
    list(ingest_everything(instance, text_platform))
    assert embedded(store) == [TEXT_METHOD, TEXT_METHOD, *[None] * 6]
    assert [row[:2] for row in rows(store, "embedding_backlog", "device_id", "date")] == [("RTU-001", DAY)]
    assert {p: entry.next_offset for p, entry in store.ledger(topic).items()} == ends_with_messages(log, topic)
    assert check_results(instance)[0] is False
    judge(instance)
    assert {minute for minute, _ in verdict_methods(store)} == {0, *range(60, 67)}
    assert not pending(text_platform)

    server.up()
    log.append(topic, readings("RTU-001", NOON_MS + 67 * MINUTE_MS, 1))
    list(ingest_everything(instance, text_platform))
    assert embedded(store) == [TEXT_METHOD] * 9
    assert rows(store, "embedding_backlog") == []
    assert check_results(instance)[0] is True
    assert {m for m, method in verdict_methods(store) if method == "vector"} == {0, 60}
    assert pending(text_platform)
    judge(instance)
    assert verdict_methods(store) == {
        (minute, method) for minute in (0, *range(60, 68)) for method in ("rules", "profile", "vector")
    }


def pending(text_platform):
    """Whether detection has something to do."""
    return bool(pending_windows(text_platform.store, text_platform.settings, now_ms()).by_day)


def test_vectors_of_the_text_encoder_are_found_by_vector_search_and_by_no_other_encoder(text_platform, instance):
    store = text_platform.store
    text_platform.log.append(text_platform.topic, readings("RTU-001", NOON_MS, 4))
    list(ingest_everything(instance, text_platform))
    query = text_platform.encoders.common.encode(states([1.0]))
    found = store.nearest("RTU-001", query, 3, embedding_method=TEXT_METHOD)
    assert (found.times_ms[0] >= NOON_MS).all()
    assert (store.nearest("RTU-001", query, 3, embedding_method="state-1").times_ms == -1).all()


def test_a_withdrawn_vector_is_no_longer_found(server, text_platform, instance):
    store = text_platform.store
    text_platform.log.append(text_platform.topic, readings("RTU-001", NOON_MS, 1))
    list(ingest_everything(instance, text_platform))
    query = text_platform.encoders.common.encode(states([1.0]))
    store.update(
        "device_state_snapshots", {"device_id": ["RTU-001"], "snapshot_time": [NOON_MS], "embedding_method": [None]}
    )
    assert store.nearest("RTU-001", query, 1, embedding_method=TEXT_METHOD).times_ms[0, 0] == -1
