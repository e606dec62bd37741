"""What a line says, and what is left open by the standards."""

from __future__ import annotations

import pytest

from openai_gateway_mcp.fuzz.reading import MOST_BYTES, Kind, Reading, read


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"", Kind.BLANK),
        (b" \t\r", Kind.BLANK),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', Kind.REQUEST),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}\r', Kind.REQUEST),
        (b'{"jsonrpc":"2.0","method":"notifications/x"}', Kind.NOTIFICATION),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', Kind.RESPONSE),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', Kind.BATCH),
        (b"[]", Kind.INVALID),
        (b"7", Kind.INVALID),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', Kind.INVALID),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', Kind.INVALID),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', Kind.INVALID),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', Kind.INVALID),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', Kind.INVALID),
        (b"{", Kind.UNREADABLE),
        (b"nonsense", Kind.UNREADABLE),
        (b"\xff{}", Kind.OPEN),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', Kind.OPEN),
        (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', Kind.OPEN),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', Kind.OPEN),
        (b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}', Kind.OPEN),
        (b'{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', Kind.OPEN),
        (b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', Kind.OPEN),
        (b"[" * 70 + b"]" * 70, Kind.OPEN),
        (b"[" * 100_000, Kind.OPEN),
        (b"9" * 5_000, Kind.OPEN),
        (b" " * (MOST_BYTES + 1), Kind.OPEN),
    ],
)
def test_a_line_is_read_as_its_standard_says(line: bytes, kind: Kind) -> None:
    assert read(line).kind is kind


def test_what_can_be_answered_keeps_its_id() -> None:
    assert read(b'{"jsonrpc":"2.0","id":"1","method":7}') == Reading(kind=Kind.INVALID, id="1")
    first, second = read(b'[{"jsonrpc":"2.0","id":1,"method":"ping"},7]').entries
    assert (first.id, first.method, second.kind) == (1, "ping", Kind.INVALID)
