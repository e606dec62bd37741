"""What went wrong on the network, in the words that help a person."""

from __future__ import annotations

import errno
import os
import re
import ssl
from typing import Final

_OPENSSL: Final = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")

_NO_TLS: Final = "what answers there does not speak TLS"
_REASONS: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "the connection was closed during the TLS handshake",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not know who issued the client certificate",
}
"""OpenSSL's reasons that its own words leave in the dark."""


def innermost(error: BaseException) -> str:
    """The words of the innermost cause: they name the refused port or the certificate, the outer ones often nothing."""
    words = str(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        words = _own(cause) or words
        cause = cause.__cause__ or cause.__context__  # httpcore raises "from None" what it was told; the context stays
    return words


def _own(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):  # without OpenSSL's code and the line of CPython's source
        return _REASONS.get(getattr(error, "reason", "")) or _OPENSSL.sub("", error.strerror or str(error))
    if not isinstance(error, OSError):
        return str(error)
    number = error.errno or 0
    # trio and asyncio put the address before the words; a resolver's numbers are of another kind.
    return os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
