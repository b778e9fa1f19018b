"""The table store behind the assets: one protocol, an embedded and a CQL implementation."""
