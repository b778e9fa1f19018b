"""The embedded store keeps leases and the ledger as every store does."""

from __future__ import annotations

from hvac_platform_tests.stores.ledger_contract import LedgerContract


class TestEmbeddedLedger(LedgerContract):
    """The store is the shared fixture."""
