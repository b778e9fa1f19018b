"""Encoders from a snapshot to a 384-float unit vector."""
