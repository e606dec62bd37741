"""Bytes to values and back: strict JSON, strict structuring, server-sent events."""
