"""How the HTTP client's own words and exceptions become ours."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway import GatewayError, Kind, open_gateway
from openai_gateway.engine import httpx_client, native_client
from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.httpx_client import CAUSES, HttpxAnswer, mapped
from openai_gateway.engine.native_client import Place, broke_of, place_of
from openai_gateway.engine.upstream import Exchange, Upstream
from openai_gateway.net.client import Unreachable
from openai_gateway.net.connection import Gone, NetError, Unreadable, Unsendable
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from openai_gateway.routing.plan import Provider
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.scripted import Answer, Script, ask, chunk, provider, settings, stream, whole


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
        (httpx.LocalProtocolError("Illegal header value b'sk-…'"), Cause.NOT_CONFIGURED),
        (httpx.InvalidURL(""), Cause.CONNECT),
        (UnicodeError(""), Cause.CONNECT),
    ],
)
def test_each_exception_has_its_cause(error: Exception, cause: Cause) -> None:
    with pytest.raises(Broke) as caught, mapped():
        raise error

    assert caught.value.cause is cause
    assert caught.value.__suppress_context__


def test_every_transport_error_has_a_row() -> None:
    assert any(issubclass(httpx.TransportError, kind) for kind, _ in CAUSES)


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (Unreachable("x"), Cause.CONNECT, "x"),
        (Gone("x"), Cause.RESET, "x"),
        (Unreadable("x"), Cause.MALFORMED, "x"),
        (Unsendable("x"), Cause.NOT_CONFIGURED, "x"),
        (UnicodeError("label too long"), Cause.CONNECT, "label too long"),
    ],
)
def test_each_exception_of_our_client_has_its_cause(error: Exception, cause: Cause, words: str) -> None:
    broke = broke_of(error)

    assert (broke.cause, broke.detail) == (cause, words)


def test_every_error_of_our_client_has_a_row() -> None:
    assert set(NetError.__subclasses__()) <= {kind for kind, _ in native_client.CAUSES}


SAFE = st.text("abz09AZ._~:@/+,=&?-%", max_size=12)
HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9.-]{1,12}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda one: f"[{one}]"),
    st.sampled_from(["bücher.example", "xn--bcher-kva.example", "EXAMPLE.com", "", "a b", "999.1.1.1", "1.2", "[::g]"]),
)


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    port=st.sampled_from(["", ":80", ":443", ":8080", ":0", ":65536", ":x"]),
    rest=st.one_of(SAFE.map(lambda text: f"/{text}"), st.text(max_size=8)),
)
@example("https", "api.example.com", "", "/v1/chat/completions")
@example("http", "127.0.0.1", ":11434", "/v1/models?limit=2")
@example("http", "[::1]", ":80", "/v1")
@example("https", "a", "", "/a/../b")
@example("https", "a", "", "/%zz%41")
def test_a_place_is_the_one_that_httpx_reads(scheme: str, host: str, port: str, rest: str) -> None:
    url = f"{scheme}://{host}{port}{rest}"

    assert read(place_of, url) == read(httpx_client.place_of, url)


def read(reader: Callable[[str], Place], url: str) -> Place | str:
    try:
        return reader(url)
    except Broke as broke:
        return broke.detail


def test_a_provider_that_our_client_reaches_needs_no_httpx() -> None:
    code = """
import sys, trio
before = set(sys.modules)  # a coverage tool brings some of its own
from openai_gateway import Call, GatewayError, open_gateway
from openai_gateway.config import load

async def main():
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "k", "MAX_RETRIES": "0"}
    async with open_gateway(load(environ)) as gateway:
        try:
            await gateway.call(Call.chat(model="gpt-4", messages=[{"role": "user", "content": "Hi"}]))
        except GatewayError as error:
            print(error.kind.name)

trio.run(main)
print([name for name in ("httpx", "httpcore", "click", "rich") if name in set(sys.modules) - before])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["NETWORK", "[]"]


@pytest.mark.parametrize("url", ["https://api.example.com/v1/models", "http://10.0.0.7:8000/v1", "http://[::1]:1/"])
def test_a_plain_address_needs_no_httpx(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx_client, "place_of", None)
    place_of.cache_clear()

    assert place_of(url).target == httpx.URL(url).raw_path


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
        HttpxAnswer(httpx.Response(200, stream=Blocking()))


async def test_a_stream_of_small_pieces_that_never_waits_is_left_at_a_limit(autojump_clock: MockClock) -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator without a checkpoint
            try:
                while True:
                    yield b"x"
            finally:
                ended.append(True)

    ended: list[bool] = []
    answer = HttpxAnswer(httpx.Response(200, stream=Endless()))
    exchange = Exchange(answer, Clocks(connect=1, first_byte=1, idle=1))
    assert await exchange.read() == b"x"
    pieces = answer._pieces
    await exchange.aclose()
    await exchange.aclose()

    assert ended == []
    await pieces.aclose()  # type: ignore[union-attr]  # it is a generator


async def test_empty_pieces_are_no_end(autojump_clock: MockClock) -> None:
    class WithEmpty(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator
            for piece in (b"", b"a", b"", b"b", b""):
                yield piece

    exchange = Exchange(HttpxAnswer(httpx.Response(200, stream=WithEmpty())), Clocks(connect=1, first_byte=1, idle=1))
    assert await exchange.read_all() == b"ab"
    await exchange.aclose()


async def test_a_close_that_fails_is_no_failure_of_the_call(autojump_clock: MockClock) -> None:
    class Grumpy(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator
            yield b"{}"

        async def aclose(self) -> None:
            raise httpx.CloseError("no")

    exchange = Exchange(HttpxAnswer(httpx.Response(200, stream=Grumpy())), Clocks(connect=1, first_byte=1, idle=1))
    assert await exchange.read_all() == b"{}"
    await exchange.aclose()


async def test_a_client_certificate_that_is_none_is_named() -> None:
    request = UpstreamRequest(method="GET", url="https://one.example/v1/models", headers=())
    upstream = Upstream()
    with pytest.raises(Broke, match="not configured") as caught:
        await upstream.open(provider(client_cert=__file__), request, Clocks(connect=1, first_byte=1, idle=1))

    assert "certificates cannot be used" in caught.value.detail
    assert caught.value.detail.endswith(f": {__file__}")


@pytest.mark.parametrize(
    "odd",
    [
        provider(base_url="https://\u2603.example/v1"),
        provider(base_url=f"http://{'a' * 64}.localhost/v1"),
        provider(base_url="http://xn--a.localhost/v1"),
        provider(proxy="http://\u2603:3"),
    ],
    ids=["no name in IDNA", "a label too long", "no punycode", "no proxy"],
)
async def test_an_address_that_cannot_be_one_is_an_error_of_ours(odd: Provider) -> None:
    async with open_gateway(settings(providers=(odd,), retries=Retries(max_retries=0))) as gateway:
        for asking in (gateway.call(ask()), gateway.models()):
            with pytest.raises(GatewayError) as caught:
                await asking
            assert caught.value.kind is Kind.NETWORK


@pytest.mark.parametrize(("transport", "kind"), [("native", Kind.CONFIGURATION), ("httpx", Kind.NETWORK)])
async def test_a_header_that_cannot_be_sent_is_an_error_of_ours(transport: str, kind: Kind) -> None:
    odd = provider(organization="\u00f6rg", transport=transport)
    async with open_gateway(settings(providers=(odd,), retries=Retries(max_retries=0))) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert caught.value.kind is kind


async def test_the_time_of_a_dead_connection_is_not_of_the_next(autojump_clock: MockClock) -> None:
    script = Script(
        Answer(connect=None, before=(7.0, httpx.RemoteProtocolError("Server disconnected"))), whole(connect=4.0)
    )
    async with open_gateway(settings(), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert (reply.served.attempts, script.times) == (1, [0, 7])


_CERTIFICATE = (
    "MIIBcDCCARWgAwIBAgIUCiTMDqupHBhj/N4+PEb6nwDxcGIwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBeDAgFw0yNjExMjMwNjE5"
    "NThaGA8yMTI2MTAzMDA2MTk1OFowDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJdYmkL4uNUdAfZsrygZ"
    "kpZ0YFTcIbzs7y2iD6GgqlhwHeuKOPhJdkEG4Zag0VeZ2PjV3BSFLiqQ4I3naaLtJ+6jUzBRMB0GA1UdDgQWBBSr2yRZqfSTeC4r"
    "Hrx6YGXeKX0VwzAfBgNVHSMEGDAWgBSr2yRZqfSTeC4rHrx6YGXeKX0VwzAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kA"
    "MEYCIQDmusjyT8jjabDkatnYOJBU1xlHIHfn9eraxnm3UcHy5gIhAMjeg5lAGaI1SnHzpyF8DrRPAP8/P35AkEPYikmg/F68"
)
_LOCKED_KEY = (  # made for this test, with a password that nobody needs
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiqyD/mcU0e8QICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoE"
    "ENjLgjf7NqSjfn18gbQmKnsEgZD3X/JxXInjVRvQZBd1z4Y7j3nvXXMTFXHiP5KZuCpqaJNfDTfJzxV/HHiQXKXE1wQpdTsYr5+1"
    "4n+LsLhZ662Vl5AR+sqbIJcbJaLr7+ZaKhaAojVMnpB8oazpD/uUbg1MzbrFUCI589M6ALFqxC1Ds1cXK4V7+0u7/CsgPmxTeYoS"
    "DG2K3qwgGkaCQe8ZbFo="
)


async def test_a_client_certificate_with_a_password_asks_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "client.pem"
    file.write_text(pem("CERTIFICATE", _CERTIFICATE) + pem("ENCRYPTED PRIVATE KEY", _LOCKED_KEY))
    request = UpstreamRequest(method="GET", url="https://one.example/v1/models", headers=())
    with pytest.raises(Broke, match="not configured"):
        await Upstream().open(provider(client_cert=str(file)), request, Clocks(connect=1, first_byte=1, idle=1))

    assert capfd.readouterr() == ("", "")


def pem(label: str, content: str) -> str:
    return f"-----BEGIN {label}-----\n{content}\n-----END {label}-----\n"


async def test_the_farewell_gives_way_to_the_total_clock(autojump_clock: MockClock) -> None:
    from tests.gateway_engine.scripted import DONE, FOREVER, STOP

    script = Script(stream(chunk("a"), 9.95, STOP, DONE, FOREVER))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask(deadline=10.0)) as parts:
        try:
            assert len([part async for part in parts]) == 3
        except GatewayError:
            pytest.fail("the answer was complete")

    assert script.log[-1] == "closed 0"
