"""The IO manager between assets and the store."""
