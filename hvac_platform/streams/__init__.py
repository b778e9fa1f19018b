"""The message log: decoding, validation, offset ranges, windows."""
