"""Logging to stderr, with every secret struck out; imported by composition roots only."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

from openai_gateway.secret import Redactor

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_TALKATIVE: Final = ("httpx", "httpcore", "hpack", "h11")
"""At DEBUG these write whole request heads, credential included; what they know above it we say ourselves."""

_ACCEPTING: Final = "trio.serve_listeners"
_SAY_EVERY: Final = 60.0  # seconds

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(
    level: str, redactor: Redactor, stream: TextIO | None = None, *, told: Callable[[str], str] | None = None
) -> None:
    """Send the log of this process to `stream` (default stderr) from `level` on: debug, info, warn or error.

    A person at a command is `told` what there is to say, without its time and room. May be called again when the
    configuration is known: the new redactor takes the place of the old.
    """
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.addFilter(_Shortage())
    handler.setFormatter(_Formatter(redactor, told))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def harmless(text: str) -> str:
    """The text with its control characters spelled out: a terminal obeys them, and whoever wrote it may mean harm."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Nothing: a log line that nobody takes must not end the server, and the report of it may hold the secret."""


class _Shortage(logging.Filter):
    """Without a descriptor left trio tells of it ten times a second, with a traceback: a line a minute is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._says_next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != _ACCEPTING:
            return True
        now = time.monotonic()
        if now < self._says_next:
            return False
        self._says_next = now + _SAY_EVERY
        record.exc_info = record.exc_text = None
        return True


class _Formatter(logging.Formatter):
    """One line a record, a traceback after it; the finished text goes through the redactor, so nothing gets past it."""

    def __init__(self, redactor: Redactor, told: Callable[[str], str] | None) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s" if told is None else "%(message)s")
        self._redactor = redactor
        self._told = told

    def format(self, record: logging.LogRecord) -> str:
        text = harmless(self._redactor.redact(super().format(record)))
        return text if self._told is None else self._told(text)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """One line: a line break in a message would let a peer write log lines of its own."""
        return super().formatMessage(record).replace("\n", "\\n")
