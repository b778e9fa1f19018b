"""A server that ends every connection, as a broker does that refuses a user faster than the client reads why."""

import socketserver
import threading

import pytest

from hvac_platform.log.base import LogError
from hvac_platform.log.kafka.kafka_log import KafkaLog, KafkaSecurity


@pytest.fixture
def address():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("SASL_PLAINTEXT", "hangs up while user 'hvac' logs in: check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and"),
        ("PLAINTEXT", "no usable answer .* KAFKA_SECURITY_PROTOCOL=PLAINTEXT fit"),
    ],
)
def test_what_may_not_fit_is_named(address, protocol, message):
    log = KafkaLog(address, security=KafkaSecurity(protocol, username="hvac"), answer_seconds=2)
    with pytest.raises(LogError, match=message):
        log.end_offsets("metrics")
    log.close()
