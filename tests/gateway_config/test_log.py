"""The log: to stderr, one line a record, and no secret in it."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator

import pytest

from openai_gateway import log
from openai_gateway.secret import Redactor, Secret

CANARY = "sk-canary-0123456789abcdefghij"
REDACTOR = Redactor((Secret(CANARY, name="KEY"),))


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "hpack", "h11")}
    yield
    root.handlers[:], root.level = handlers, level
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def logged(level: str = "debug") -> io.StringIO:
    stream = io.StringIO()
    log.set_up(level, REDACTOR, stream)
    return stream


def fail() -> None:
    raise ValueError(f"bad key {CANARY}")


def test_a_secret_is_struck_out_of_messages_arguments_and_tracebacks() -> None:
    stream = logged()
    logging.getLogger("x").warning("Bearer %s", CANARY, extra={"key": CANARY})
    try:
        fail()
    except ValueError:
        logging.getLogger("x").exception("it failed")

    text = stream.getvalue()
    assert "it failed" in text
    assert "ValueError" in text
    assert CANARY not in text
    assert "canary" not in text


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", "dbug info warn fail"), ("info", "info warn fail"), ("warn", "warn fail"), ("error", "fail")],
)
def test_the_level_chooses(level: str, shown: str) -> None:
    stream = logged(level)
    logger = logging.getLogger("x")
    logger.debug("dbug")
    logger.info("info")
    logger.warning("warn")
    logger.error("fail")

    assert " ".join(line.rsplit(": ")[-1] for line in stream.getvalue().splitlines()) == shown


@pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "httpcore.connection", "hpack", "h11"])
def test_the_http_client_does_not_write_its_heads(name: str) -> None:
    stream = logged("debug")
    logging.getLogger(name).debug("send_request_headers authorization: x")
    logging.getLogger(name).info("HTTP Request: POST")

    assert stream.getvalue() == ""


def test_a_message_stays_on_its_line_and_obeys_no_terminal() -> None:
    stream = logged()
    logging.getLogger("x").info("one\ntwo \x1b[31mred\x1b[0m \u2028 \r")

    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("x: one\\ntwo \\x1b[31mred\\x1b[0m \\x2028 \\x0d\n")


def test_setting_up_again_takes_the_place_of_the_first() -> None:
    first, second = logged(), logged()
    logging.getLogger("x").info("hello")

    assert (first.getvalue(), second.getvalue().count("hello")) == ("", 1)


def test_without_a_stream_it_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", REDACTOR)
    logging.getLogger("x").info("hello")

    captured = capsys.readouterr()
    assert (captured.out, "hello" in captured.err) == ("", True)


def test_a_log_that_nobody_takes_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    stream = logged()
    stream.close()
    logging.getLogger("x").error("key %s", CANARY)

    assert capsys.readouterr() == ("", "")


def test_that_no_descriptor_is_left_is_told_once_a_minute_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = logged("error")
    for seconds in (0.0, 0.1, 59.8, 0.2):
        now += seconds
        try:
            fail()
        except ValueError:
            logging.getLogger("trio.serve_listeners").exception("accept returned EMFILE")
        logging.getLogger("x").error("another")
    told = [line.rpartition(": ")[2] for line in stream.getvalue().splitlines()]
    assert told == ["accept returned EMFILE", *["another"] * 3, "accept returned EMFILE", "another"]
