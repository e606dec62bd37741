"""From bytes to lines and back: newlines, byte order mark, limits, and bytes cut anywhere."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from tests.playbook import EOF, Playbook, failure, handed, playbook, request, response
from tests.protocol.offering import FULL

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.lines import LineBuffer, TooLong
from openai_gateway_mcp.protocol.model import Text, ToolResult

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
BOM = b"\xef\xbb\xbf"


def lines_of(*pieces: bytes, max_bytes: int = 100) -> list[bytes | TooLong]:
    buffer = LineBuffer(max_bytes)
    for piece in pieces:
        buffer.receive_data(piece)
    buffer.receive_eof()
    return list(iter(buffer.next_line, None))


@pytest.mark.requirement("stdio/one-line-a-message")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b" \t\r\n\r\n   \n"])
def test_a_message_is_a_line_and_blank_lines_are_ignored(play: Playbook, end: bytes) -> None:
    play >> PING + end << response(1, {})
    play >> end + PING + end + PING + end << response(1, {}) << response(1, {})


def test_white_space_around_a_message_is_ignored(play: Playbook) -> None:
    play >> b" \t" + PING + b"\t \r\n" << response(1, {})


@pytest.mark.parametrize("space", [b"\x0b", b"\x0c", b"X"])
def test_what_is_no_white_space_in_json_is_a_part_of_the_message(play: Playbook, space: bytes) -> None:
    play >> space + PING + b"\n" << failure(None, -32700)
    play >> PING + space + b"\n" << failure(None, -32700)


def test_the_last_line_needs_no_newline(play: Playbook) -> None:
    play >> PING
    play >> EOF << response(1, {})


def test_a_half_message_at_the_end_is_a_parse_error(play: Playbook) -> None:
    play >> PING[:-1]
    play >> EOF << failure(None, -32700)


def test_a_byte_order_mark_before_the_first_line_is_skipped(play: Playbook) -> None:
    play >> BOM + PING + b"\n" << response(1, {})
    play >> BOM + PING + b"\n" << failure(None, -32700)


def test_a_byte_order_mark_alone_is_a_blank_line(play: Playbook) -> None:
    play >> BOM + b"\n" + PING + b"\n" << response(1, {})


@pytest.mark.requirement("transports/utf-8")
@pytest.mark.requirement("legacy/utf-8")
@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\u200b", "\ufeff", "\U0001f600"])
def test_only_a_newline_ends_a_line(play: Playbook, separator: str) -> None:
    text = f"a{separator}b"
    line = json.dumps(request(1, "tools/call", name="chat", arguments={"a": text}), ensure_ascii=False)
    play >> line.encode() + b"\n" << handed(ToolCalled, 1, arguments={"a": text})


def test_a_bare_carriage_return_ends_no_line(play: Playbook) -> None:
    play >> PING + b"\r" + PING + b"\n" << failure(None, -32700)


@pytest.mark.requirement("stdio/one-line-a-message")
@pytest.mark.requirement("stdio/only-messages-out")
@pytest.mark.requirement("tools/output-sanitised")
@pytest.mark.requirement("legacy/one-line-a-message")
@pytest.mark.parametrize("text", ["a\nb\r\nc", "\u2028\u2029\x85", "\ud800", "\x00\x1f", '"\\', "\U0001f600"])
def test_what_goes_out_is_one_ascii_line_whatever_the_text(text: str) -> None:
    connection = Connection(FULL)
    connection.receive_data(json.dumps(request(text, "tools/call", name="chat")).encode() + b"\n")
    event = connection.next_event()
    assert isinstance(event, ToolCalled)
    connection.answer(event.call, ToolResult(content=(Text(text),)))
    data = connection.data_to_send()
    assert data.isascii()
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert b"\r" not in data
    assert json.loads(data)["id"] == text
    assert json.loads(data)["result"]["content"] == [{"type": "text", "text": text}]


@pytest.mark.parametrize("size", range(1, 12))
def test_bytes_may_be_cut_anywhere(size: int) -> None:
    message = json.dumps(request("☃\u2028", "ping"), ensure_ascii=False).encode()
    data = BOM + message + b"\r\n \r\n{\n" + b"x" * 200 + b"\n" + message
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert lines_of(*pieces) == lines_of(data) == [message, b"{", TooLong.TOO_LONG, message]


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "fits"), [(99, True), (100, True), (101, False), (10_000, False)])
def test_a_line_of_the_limit_fits_and_one_byte_more_does_not(length: int, fits: bool) -> None:
    line = b"x" * length
    expected = line if fits else TooLong.TOO_LONG
    assert lines_of(line + b"\n") == [expected]
    assert lines_of(line) == [expected]
    assert lines_of(*(line[at : at + 1] for at in range(length)), b"\n") == [expected]


def test_the_usual_limit_is_16_mib(play: Playbook) -> None:
    play >> b"x" * (16 * 2**20)
    play >> b"x" << failure(None, -32700, "longer than 16777216 bytes")


def test_a_line_too_long_is_answered_once_and_reading_goes_on() -> None:
    with playbook(FULL, max_message_bytes=100) as play:
        play >> b"x" * 101 << failure(None, -32700, "longer than 100 bytes")
        play >> b"y" * 1_000
        play >> b"z" * 1_000 + b"\n"
        play >> PING + b"\n" << response(1, {})


def test_the_rest_of_a_line_too_long_is_no_line_of_its_own() -> None:
    assert lines_of(b"x" * 150, PING, b"\n", PING, b"\n") == [TooLong.TOO_LONG, PING]
    assert lines_of(b"x" * 150, b"\n\n", PING) == [TooLong.TOO_LONG, PING]


def test_every_line_too_long_is_told() -> None:
    assert lines_of((b"x" * 101 + b"\n") * 3) == [TooLong.TOO_LONG] * 3


def test_a_line_too_long_at_the_end_is_told_once() -> None:
    assert lines_of(b"x" * 101) == [TooLong.TOO_LONG]


def test_a_byte_order_mark_after_a_line_too_long_is_no_beginning() -> None:
    assert lines_of(b"x" * 101 + b"\n" + BOM + b"a\n") == [TooLong.TOO_LONG, BOM + b"a"]


def test_no_more_than_the_limit_is_held() -> None:
    buffer = LineBuffer(100)
    for _ in range(1_000):
        buffer.receive_data(b"x" * 64)
        assert len(buffer._held) <= 100


def test_a_line_in_tiny_pieces_takes_little_more_room_than_it_has() -> None:
    """A list of the pieces would take thirty times as much."""
    buffer = LineBuffer(1_000_000)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            buffer.receive_data(b"".join((b"a", b"b")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
