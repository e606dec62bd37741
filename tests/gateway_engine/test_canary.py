"""A planted key shows nowhere: not in errors, logs, reprs or tracebacks, whatever fails."""

from __future__ import annotations

import io
import logging
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx
import pytest
from trio.testing import MockClock

from openai_gateway import Account, Gateway, GatewayError, Settings, log, open_gateway
from openai_gateway.routing.key_source import TTL, KeyCommand
from openai_gateway.routing.settings import Retries
from openai_gateway.secret import MARK, Redactor, Secret
from tests.gateway_engine.loopback import Connection, loopback, whole_answer
from tests.gateway_engine.scripted import (
    CANARY,
    FOREVER,
    WAYS,
    Answer,
    Script,
    ask,
    chunk,
    event,
    provider,
    refusal,
    row,
    settings,
    stream,
    whole,
)

HEADER_SECRET = "header-canary-9876543210"
PROXY_SECRET = "proxy-canary-5555566666"
SECRETS = (CANARY, HEADER_SECRET, PROXY_SECRET)

QUOTE = f"Incorrect API key provided: {CANARY}; you sent Bearer {CANARY} and {HEADER_SECRET}"

FAILURES = {
    "401": refusal(401, QUOTE),
    "403": refusal(403, QUOTE, code=CANARY, param=HEADER_SECRET),
    "400": refusal(400, QUOTE),
    "429": refusal(429, QUOTE),
    "500, no JSON": Answer(status=500, body=(QUOTE.encode(),)),
    "redirect": Answer(status=302, headers={"location": f"https://x.example/?key={CANARY}"}),
    "reset": Answer(before=(httpx.ReadError(QUOTE),)),
    "no connection": Answer(connect=httpx.ConnectError(QUOTE)),
    "protocol": Answer(before=(httpx.RemoteProtocolError(QUOTE),)),
    "connect clock": Answer(connect=FOREVER),
    "first byte clock": Answer(before=(FOREVER,)),
    "not JSON": whole(body=(QUOTE.encode(),)),
    "not an object": whole(body=(f'["{CANARY}"]'.encode(),)),
    "an error in a 200": whole(body=(f'{{"error": {{"message": "{QUOTE}"}}}}'.encode(),)),
    "encoding": whole(headers={"content-encoding": CANARY}),
    "error event": stream(event({"error": {"message": QUOTE, "code": CANARY}})),
    "error event after content": stream(chunk("Hi"), event({"error": QUOTE})),
    "cut": stream(chunk("Hi"), httpx.ReadError(QUOTE)),
    "bad events": stream(event(QUOTE.encode())),
    "no events": stream(QUOTE.encode()),
}


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """What a log at DEBUG has taken, the HTTP client's own included, through our handler."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    log.set_up("debug", Redactor(Secret(value, name="X") for value in SECRETS), stream)
    yield stream
    root.handlers[:], root.level = handlers, level


def planted(*, proxy_port: int = 9, kind: str = "openai") -> Settings:
    """Secrets in a key, a header and a proxy's password."""
    proxy = f"http://me:{PROXY_SECRET}@127.0.0.1:{proxy_port}"
    one = provider(kind=kind, headers={"x-secret": HEADER_SECRET}, proxy=proxy)
    made = settings(row(), providers=(one,), retries=Retries(max_retries=1))
    extra = (Secret(HEADER_SECRET, name="header"), Secret(PROXY_SECRET, name="proxy"))
    return attrs.evolve(made, secrets=(*made.secrets, *extra))


def everything_about(error: BaseException) -> str:
    """All that a person or a program could come to see of an error, its causes and contexts included."""
    texts = [str(error), repr(error), *traceback.format_exception(error)]
    if isinstance(error, GatewayError):
        texts += [repr(error.to_openai()), repr(error.body), repr(attrs.asdict(error))]
    return "\n".join(texts)


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text
        assert secret[:16] not in text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failing", FAILURES)
@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic"])
async def test_no_failure_shows_a_secret(
    autojump_clock: MockClock, logs: io.StringIO, kind: str, failing: str, way: str
) -> None:
    made = planted(kind=kind)
    caught: GatewayError | None = None
    accounts: list[Account] = []
    script = Script(*[FAILURES[failing]] * 3)
    async with open_gateway(made, transport=script, record=accounts.append) as gateway:
        try:
            await WAYS[way](gateway)
        except GatewayError as error:
            caught = error

        assert caught is not None
        assert_clean(everything_about(caught))
        assert_clean(repr(vars(gateway)) + repr(made) + str(made) + repr(gateway.health()))
    assert CANARY in str(script.requests[0].headers.raw)
    assert_clean("".join(repr(attrs.asdict(account)) for account in accounts))
    assert_clean(logs.getvalue())


@pytest.mark.parametrize("failing", [name for name in FAILURES if "event" not in name and name != "cut"])
async def test_no_failure_of_the_list_shows_a_secret(
    autojump_clock: MockClock, logs: io.StringIO, failing: str
) -> None:
    caught: GatewayError | None = None
    async with open_gateway(planted(), transport=Script(FAILURES[failing])) as gateway:
        try:
            await gateway.models()
        except GatewayError as error:
            caught = error

    assert caught is not None
    assert_clean(everything_about(caught) + logs.getvalue())
    assert "did not list its models" in logs.getvalue()


async def test_the_http_client_at_debug_shows_no_secret(logs: io.StringIO) -> None:
    async def serve(connection: Connection) -> None:
        request = await connection.request()
        assert CANARY.encode() in request
        await connection.stream.send_all(whole_answer(b'{"choices": []}').replace(b"200 OK", b"401 No"))

    async with loopback(serve) as server:
        one = provider(base_url=server.base_url)
        made = settings(row(), providers=(one,))
        with pytest.raises(GatewayError) as caught:
            await _call(made)

    assert_clean(everything_about(caught.value) + logs.getvalue())
    assert logs.getvalue()


async def test_a_proxy_that_refuses_shows_no_password(logs: io.StringIO) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(GatewayError, match=r"(?i)refused") as caught:
            await _call(planted(proxy_port=unused.getsockname()[1]))

    assert_clean(everything_about(caught.value) + logs.getvalue())


async def _call(made: Settings) -> None:
    async with open_gateway(made) as gateway:
        await WAYS["call"](gateway)


OLD, NEW = "old-canary-1111122222aaaa", "new-canary-3333344444bbbb"


def next_key(directory: Path) -> KeyCommand:
    """A program that prints what stands in a file, and complains about it."""
    code = "import sys; key = open(sys.argv[1]).read(); print(key); print('here is', key, file=sys.stderr)"
    return KeyCommand(argv=(sys.executable, "-c", code, str(directory / "keys")), set_by="api_key of one")


@pytest.mark.parametrize("way", WAYS)
async def test_a_key_that_is_read_late_shows_nowhere_before_and_after_it_is_replaced(
    mock_clock: MockClock, tmp_path: Path, way: str
) -> None:
    script = Script(refusal(401, f"bad key: {OLD}"), refusal(401, f"bad key: {OLD}, {NEW}", code=OLD, param=NEW))
    made = settings(providers=(provider(api_key=None, key_source=next_key(tmp_path)),))
    redactor, stream = Redactor(), io.StringIO()
    shown: list[str] = []
    with log_at_debug(redactor, stream):
        async with open_gateway(made, transport=script, redactor=redactor) as gateway:
            for key in (OLD, NEW):
                (tmp_path / "keys").write_text(key)
                mock_clock.jump(TTL)
                with pytest.raises(GatewayError, match="bad key: ") as caught:
                    await WAYS[way](gateway)
                shown += everything_about(caught.value), repr(vars(gateway)), repr(await gateway.key_of("one"))
        logging.getLogger("x").error("later: %s, %s", OLD, NEW)

    assert [request.headers["authorization"] for request in script.requests] == [f"Bearer {OLD}", f"Bearer {NEW}"]
    assert f"later: {MARK}, {MARK}" in stream.getvalue()
    text = "\n".join((*shown, stream.getvalue()))
    for secret in (OLD, NEW):
        assert secret[:16] not in text


SOURCES = {
    "it prints and fails": "print(key); print(key, file=sys.stderr); sys.exit(1)",
    "it prints two keys": "print(key); print(key)",
    "it prints a header": "print('Authorization: Bearer ' + key)",
    "it prints too much": "print(key * 5000)",
    "it raises": "raise Exception(key)",
}


@pytest.mark.parametrize("failing", SOURCES)
async def test_no_failure_of_a_command_shows_what_it_printed(failing: str) -> None:
    code = f"import sys; key = '{OLD[:12]}' + '{OLD[12:]}'; {SOURCES[failing]}"
    source = KeyCommand(argv=(sys.executable, "-c", code), set_by="api_key of one")
    made = settings(providers=(provider(api_key=None, key_source=source),))
    redactor, stream = Redactor(), io.StringIO()
    with log_at_debug(redactor, stream):
        async with open_gateway(made, transport=Script(), redactor=redactor) as gateway:
            with pytest.raises(GatewayError) as caught:
                await gateway.call(ask())
    text = everything_about(caught.value) + stream.getvalue()
    assert OLD[:13] not in text
    assert OLD[12:] not in text


@contextmanager
def log_at_debug(redactor: Redactor, stream: io.StringIO) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.set_up("debug", redactor, stream)
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level


def test_a_gateway_made_by_hand_still_knows_its_keys() -> None:
    made = attrs.evolve(planted(), secrets=())
    gateway = Gateway(made, None, lambda: 0.0)  # type: ignore[arg-type]  # nothing is sent

    assert CANARY not in gateway._current.router.redactor.redact(f"x {CANARY} y")
