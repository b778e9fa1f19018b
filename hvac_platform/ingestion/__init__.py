"""From messages to snapshots: who reads what, decoding, windows."""
