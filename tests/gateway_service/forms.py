"""Forms as a client writes them, and as the standard library's mail parser reads them."""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from email import message_from_bytes
from email.message import EmailMessage

Part = tuple[str, str | None, bytes]
"""The name of the field, the name of the file or None, and what is in it."""


def written(parts: Sequence[Part], boundary: str = "b0und4ry", *, ends: bool = True) -> bytes:
    body = b""
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: audio/wav'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + (f"--{boundary}--\r\n".encode() if ends else b"")


def headers(boundary: str = "b0und4ry") -> dict[str, str]:
    return {"content-type": f"multipart/form-data; boundary={boundary}"}


def parts_of(request: bytes) -> list[Part]:
    """The parts of a whole HTTP request."""
    head, _, body = request.partition(b"\r\n\r\n")
    (kind,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type:")]
    message = message_from_bytes(kind + b"\r\n\r\n" + body, policy=email.policy.HTTP)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    found: list[Part] = []
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((part["content-disposition"].params["name"], part.get_filename(), content))
    return found
