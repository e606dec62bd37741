"""Strict JSON: what a slow and plain reading of the same rules says, and what is written reads back as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openai_gateway.wire.strict import JsonError, dumps, loads
from tests.fuzz import reference_json
from tests.fuzz.test_strict_json import TEXTS
from tests.guided.target import Target, by_choices, examples

RULES = (
    b'{"id": 1, "id": 2}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"a": 1e999}',
    b"[NaN]",
    b'"\xff"',
    b"\xef\xbb\xbf{}",
    b'{"a": "\\ud800"}',
    b"[" * 200 + b"]" * 200,
    b"9" * 5000,
)


def target(read: Callable[..., Any] = loads) -> Target:
    def check(data: bytes) -> None:
        for unique in (True, False):
            theirs = reference(data, unique_envelope=unique)
            ours = reading(read, data, unique_envelope=unique)
            assert ours == theirs

    return Target(
        name="strict-json",
        of_bytes=check,
        of_choices=by_choices(check, data=TEXTS),
        # What is drawn depends on all modules that are imported (hypothesis takes their constants), so that one case of
        # each rule is not left to it.
        sound=lambda: [*RULES, *examples(TEXTS, 150)],
    )


def reference(data: bytes, *, unique_envelope: bool) -> str | None:
    """The value as repr shows it, which tells 1 from 1.0; None for what is refused."""
    try:
        return repr(reference_json.read(data, unique_envelope=unique_envelope))
    except ValueError:
        return None


def reading(read: Callable[..., Any], data: bytes, *, unique_envelope: bool) -> str | None:
    """The same of the reader under test. It may raise JsonError alone, which shows nothing of the text."""
    try:
        value = read(data, unique_envelope=unique_envelope)
    except JsonError as error:
        shows_nothing(error, data)
        return None
    written = dumps(value)
    assert written.isascii()
    assert b"\n" not in written
    assert repr(read(written)) == repr(value)
    assert dumps(read(written)) == written
    return repr(value)


def shows_nothing(error: JsonError, data: bytes) -> None:
    assert error.position is None or 0 <= error.position <= len(data)
    assert len(str(error)) < 100
    assert str(error).isprintable()
    assert error.__cause__ is error.__context__ is None
