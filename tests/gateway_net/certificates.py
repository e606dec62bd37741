"""An authority of the tests' own, made anew in each run."""

from __future__ import annotations

import ssl
from typing import Final

import trustme

CA: Final = trustme.CA()


def server_context(*names: str) -> ssl.SSLContext:
    """What a server with these names shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*names).configure_cert(context)
    return context
