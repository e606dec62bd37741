"""How the HTTP client's own words and exceptions become ours."""

from __future__ import annotations

import ssl

import httpx
import pytest
from trio.testing import MockClock

from openai_gateway import GatewayError, open_gateway
from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.upstream import CAUSES, Exchange, Upstream, mapped
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from tests.gateway_engine.scripted import Script, ask, chunk, provider, settings, stream


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (httpx.PoolTimeout(""), Cause.CONNECT_CLOCK),
        (httpx.ConnectTimeout(""), Cause.CONNECT_CLOCK),
        (httpx.ReadTimeout(""), Cause.FIRST_BYTE_CLOCK),
        (httpx.ConnectError(""), Cause.CONNECT),
        (httpx.ProxyError(""), Cause.CONNECT),
        (httpx.ReadError(""), Cause.RESET),
        (httpx.WriteError(""), Cause.RESET),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), Cause.RESET),
        (httpx.RemoteProtocolError("illegal status line"), Cause.MALFORMED),
        (httpx.UnsupportedProtocol(""), Cause.MALFORMED),
    ],
)
def test_each_exception_has_its_cause(error: httpx.TransportError, cause: Cause) -> None:
    with pytest.raises(Broke) as caught, mapped():
        raise error

    assert caught.value.cause is cause
    assert caught.value.__suppress_context__


def test_every_transport_error_has_a_row() -> None:
    assert any(issubclass(httpx.TransportError, kind) for kind, _ in CAUSES)


def raise_from_within(outer: Exception, inner: Exception) -> None:
    try:
        raise inner
    except Exception:  # noqa: BLE001 - as httpcore does
        raise outer from None


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ExceptionGroup("many", [OSError(101, "Network is unreachable"), OSError(111, "x")]), "Network is unreachable"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate verify failed"),
        (OSError(), "outer"),
    ],
)
def test_the_innermost_words_are_told(inner: Exception, words: str) -> None:
    with pytest.raises(Broke) as caught, mapped():
        raise_from_within(httpx.ConnectError("outer"), inner)

    assert caught.value.detail == words


def test_an_answer_for_blocking_readers_is_a_fault_of_the_transport() -> None:
    class Blocking(httpx.SyncByteStream):
        pass

    with pytest.raises(TypeError, match="asynchronous"):
        Exchange(httpx.Response(200, stream=Blocking()), None)  # type: ignore[arg-type]  # no clock runs yet


async def test_a_stream_of_small_pieces_that_never_waits_is_left_at_a_limit(autojump_clock: MockClock) -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator without a checkpoint
            try:
                while True:
                    yield b"x"
            finally:
                ended.append(True)

    ended: list[bool] = []
    exchange = Exchange(httpx.Response(200, stream=Endless()), Clocks(connect=1, first_byte=1, idle=1))
    assert await exchange.read() == b"x"
    pieces = exchange._pieces
    await exchange.aclose()
    await exchange.aclose()

    assert ended == []
    await pieces.aclose()  # type: ignore[union-attr]  # it is a generator


async def test_empty_pieces_are_no_end(autojump_clock: MockClock) -> None:
    class WithEmpty(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator
            for piece in (b"", b"a", b"", b"b", b""):
                yield piece

    exchange = Exchange(httpx.Response(200, stream=WithEmpty()), Clocks(connect=1, first_byte=1, idle=1))
    assert await exchange.read_all() == b"ab"
    await exchange.aclose()


async def test_a_close_that_fails_is_no_failure_of_the_call(autojump_clock: MockClock) -> None:
    class Grumpy(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator
            yield b"{}"

        async def aclose(self) -> None:
            raise httpx.CloseError("no")

    exchange = Exchange(httpx.Response(200, stream=Grumpy()), Clocks(connect=1, first_byte=1, idle=1))
    assert await exchange.read_all() == b"{}"
    await exchange.aclose()


async def test_a_client_certificate_that_is_none_is_named() -> None:
    request = UpstreamRequest(method="GET", url="https://one.example/v1/models", headers=())
    upstream = Upstream()
    with pytest.raises(Broke, match="connection failed") as caught:
        await upstream.open(provider(client_cert=__file__), request, Clocks(connect=1, first_byte=1, idle=1))

    assert "certificates cannot be used" in caught.value.detail


async def test_the_farewell_gives_way_to_the_total_clock(autojump_clock: MockClock) -> None:
    from tests.gateway_engine.scripted import DONE, FOREVER, STOP

    script = Script(stream(chunk("a"), 9.95, STOP, DONE, FOREVER))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask(deadline=10.0)) as parts:
        try:
            assert len([part async for part in parts]) == 3
        except GatewayError:
            pytest.fail("the answer was complete")

    assert script.log[-1] == "closed 0"
