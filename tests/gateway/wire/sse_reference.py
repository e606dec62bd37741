"""Server-sent events once more, as the text of WHATWG HTML 9.2.5 and 9.2.6 says it, over the whole stream at once.

An oracle for wire/sse.py: written from the standard alone, slow and without any state between two calls.
"""

from __future__ import annotations

import re


def interpreted(stream: bytes) -> list[tuple[bytes, str, str]]:
    """Data, event type and last event id of each event that is dispatched."""
    # Decoding UTF-8 "strips one leading UTF-8 Byte Order Mark (BOM), if any".
    body = stream[3:] if stream[:3] == b"\xef\xbb\xbf" else stream
    # "Lines must be separated by either a CRLF pair, a single LF, or a single CR." What follows the last is no line.
    *lines, _incomplete = re.split(rb"\r\n|\n|\r", body)
    dispatched: list[tuple[bytes, str, str]] = []
    data, event_type, last_event_id = b"", b"", b""
    for line in lines:
        if line == b"":
            # "If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string
            # and return." Else "if the data buffer's last character is a LF, remove" it, and dispatch.
            if data:
                dispatched.append((data[:-1], _text(event_type), _text(last_event_id)))
            data, event_type = b"", b""
            continue
        if line[:1] == b":":
            continue
        name, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if name == b"event":
            event_type = value
        elif name == b"data":
            data += value + b"\n"
        elif name == b"id" and b"\0" not in value:
            last_event_id = value
    # "Once the end of the file is reached, any pending data must be discarded."
    return dispatched


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
