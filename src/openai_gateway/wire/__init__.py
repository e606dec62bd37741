"""Bytes to values and back: strict JSON, strict structuring, server-sent events, HTTP/1.1."""
