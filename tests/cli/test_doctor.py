"""Doctor's findings, each with its way to mend it."""

from __future__ import annotations

import errno
import functools
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Settings as GatewaySettings
from openai_gateway import open_gateway
from openai_gateway.routing.key_source import KeyCommand, KeySource
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable
from openai_gateway.secret import Redactor
from openai_gateway_mcp.doctor import Finding, Health, NetworkProbe, examine
from tests.features.scripted import CANARY, REMOTE, Upstream, lists, refuses, settings_of


@attrs.define
class ScriptedProbe:
    """Each look gives its answer, or raises it, or never comes back."""

    addresses: int | OSError | None = 2
    version: str | OSError | None = "TLSv1.3"
    asked: list[Any] = attrs.field(factory=list)

    async def resolve(self, host: str, port: int) -> int:
        self.asked.append((host, port))
        return int(await self._say(self.addresses))

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> str:
        self.asked.append(tls is not None)
        return str(await self._say(self.version))

    async def _say(self, answer: Any) -> Any:
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, OSError):
            raise answer
        return answer


async def findings_of(
    environ: dict[str, str], upstream: Upstream | None = None, probe: ScriptedProbe | None = None
) -> list[Finding]:
    found: list[Finding] = []
    opener = functools.partial(open_gateway, transport=upstream or Upstream(models=lists("gpt-3.5-turbo")))
    await examine(settings_of(environ).gateway, found.append, probe=probe or ScriptedProbe(), opener=opener)
    assert CANARY not in str(found)
    return found


def about(findings: list[Finding], what: str) -> Finding:
    (finding,) = (one for one in findings if one.about == what)
    return finding


async def test_all_well_is_all_ok_and_shows_the_effective_url(autojump_clock: MockClock) -> None:
    probe = ScriptedProbe()
    findings = await findings_of(REMOTE, probe=probe)
    assert {finding.health for finding in findings} == {Health.OK}
    texts = [finding.text for finding in findings]
    assert texts == [
        "asked at https://gateway.example/v1",
        "its key comes from GATEWAY_API_KEY",
        "gateway.example has 2 addresses",
        "gateway.example is trusted (TLSv1.3)",
        "1 listed in 0 ms",
        "gpt-3.5-turbo is served.",
    ]
    assert probe.asked == [("gateway.example", 443), True]


async def test_without_a_gateway_the_one_finding_says_what_to_set(autojump_clock: MockClock) -> None:
    (finding,) = await findings_of({})
    assert finding.health is Health.WRONG
    assert "GATEWAY_URL" in finding.mend


async def test_a_missing_key_is_a_warning_that_names_its_variable(autojump_clock: MockClock) -> None:
    findings = await findings_of({"GATEWAY_URL": "http://127.0.0.1:8080"}, probe=(probe := ScriptedProbe()))
    finding = next(one for one in findings if one.health is Health.WARNING)
    assert "GATEWAY_API_KEY" in finding.mend
    assert probe.asked == [("127.0.0.1", 8080), False]
    assert about(findings, "connection").text == "127.0.0.1:8080 takes connections, without TLS"


async def test_a_name_without_address_ends_the_looks_at_that_provider(autojump_clock: MockClock) -> None:
    probe = ScriptedProbe(addresses=socket.gaierror(-2, "Name or service not known"))
    upstream = Upstream(models=lists("a"))
    findings = await findings_of(REMOTE, upstream, probe)
    finding = about(findings, "DNS")
    assert finding.health is Health.WRONG
    assert "Name or service not known" in finding.text
    assert "spelling" in finding.mend
    assert findings[-1] == finding


async def test_silence_is_waited_for_ten_seconds(autojump_clock: MockClock) -> None:
    for probe, what in ((ScriptedProbe(addresses=None), "DNS"), (ScriptedProbe(version=None), "TLS")):
        began = trio.current_time()
        assert "within 10 s" in about(await findings_of(REMOTE, probe=probe), what).text
        assert trio.current_time() - began == pytest.approx(10)


async def test_an_untrusted_certificate_names_the_authority_setting(autojump_clock: MockClock) -> None:
    error = ssl.SSLCertVerificationError("self-signed certificate")
    finding = about(await findings_of(REMOTE, probe=ScriptedProbe(version=error)), "TLS")
    assert finding.health is Health.WRONG
    assert "SSL_CERT_FILE" in finding.mend


async def test_a_refused_connection_names_host_and_port(autojump_clock: MockClock) -> None:
    probe = ScriptedProbe(version=ConnectionRefusedError(errno.ECONNREFUSED, "Error connecting to ('::1', 1)"))
    finding = about(await findings_of({"GATEWAY_URL": "http://localhost:1"}, probe=probe), "connection")
    assert "no connection to localhost:1: Connection refused" in finding.text


async def test_an_error_without_words_is_named_by_its_type(autojump_clock: MockClock) -> None:
    finding = about(await findings_of(REMOTE, probe=ScriptedProbe(addresses=TimeoutError())), "DNS")
    assert finding.text.endswith("TimeoutError")


async def test_certificates_that_cannot_be_read_are_found(autojump_clock: MockClock, tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    finding = about(await findings_of(REMOTE | {"SSL_CERT_FILE": str(missing)}), "TLS")
    assert finding.health is Health.WRONG
    assert "No such file" in finding.text
    assert "SSL_CERT_FILE" in finding.mend


async def test_a_client_certificate_that_cannot_be_read_is_found(autojump_clock: MockClock, tmp_path: Path) -> None:
    settings = settings_of(REMOTE).gateway
    provider = attrs.evolve(settings.table.providers["gateway"], client_cert=str(tmp_path / "none.pem"))
    table = attrs.evolve(settings.table, providers={"gateway": provider})
    found: list[Finding] = []
    opener = functools.partial(open_gateway, transport=Upstream(models=lists("a")))
    await examine(attrs.evolve(settings, table=table), found.append, probe=ScriptedProbe(), opener=opener)
    assert about(found, "TLS").health is Health.WRONG


async def test_behind_a_proxy_name_and_connection_are_its_affair(autojump_clock: MockClock) -> None:
    probe = ScriptedProbe()
    findings = await findings_of(REMOTE | {"HTTPS_PROXY": "http://me:pass@proxy.example:3128"}, probe=probe)
    assert about(findings, "proxy").text == "gateway.example is reached through the proxy proxy.example"
    assert probe.asked == []
    assert "pass" not in str(findings)


async def test_a_rejected_key_is_found_and_not_shown(autojump_clock: MockClock) -> None:
    findings = await findings_of(REMOTE, Upstream(models=refuses(401, f"bad key {CANARY}")))
    finding = about(findings, "models of gateway")
    assert finding.health is Health.WRONG
    assert "GATEWAY_API_KEY" in finding.mend
    assert findings[-1] == finding


async def findings_with(source: KeySource, redactor: Redactor | None = None) -> list[Finding]:
    """Of a gateway whose key has a source. A real command needs the real clock."""
    settings = settings_of({"GATEWAY_URL": "https://gateway.example"}).gateway
    provider = attrs.evolve(settings.table.providers["gateway"], key_source=source)
    made = attrs.evolve(settings, table=attrs.evolve(settings.table, providers={"gateway": provider}))
    found: list[Finding] = []
    opener = functools.partial(open_gateway, transport=Upstream(models=lists("gpt-3.5-turbo")), redactor=redactor)
    await examine(made, found.append, probe=ScriptedProbe(), opener=opener, redactor=redactor)
    assert CANARY not in str(found)
    return found


def prints(code: str) -> KeyCommand:
    return KeyCommand(argv=(sys.executable, "-c", code), set_by="api_key of gateway")


async def test_a_key_that_is_read_when_it_is_needed_is_read_and_told_by_its_length() -> None:
    source = prints(f"print('{CANARY}')")
    findings = await findings_with(source, redactor := Redactor())

    assert f"its key comes from {source.name}; {len(CANARY)} characters came" in [one.text for one in findings]
    assert {finding.health for finding in findings} == {Health.OK}
    assert redactor.strike_known(CANARY) != CANARY


async def test_a_key_that_cannot_be_read_is_found_and_ends_the_looks_at_that_provider() -> None:
    findings = await findings_with(prints(f"import sys; print('{CANARY}'); sys.exit(4)"))

    assert [finding.text for finding in findings] == ["asked at https://gateway.example/v1", "its key cannot be read"]
    assert findings[-1].health is Health.WRONG
    assert "exit status 4" in findings[-1].mend


async def test_an_empty_list_and_a_default_that_is_not_in_it_are_found(autojump_clock: MockClock) -> None:
    findings = await findings_of(REMOTE, Upstream(models=lists()))
    assert about(findings, "models of gateway").health is Health.WARNING
    assert about(findings, "default model").mend == "Set DEFAULT_MODEL."


@pytest.mark.parametrize(
    ("chosen", "health", "words"),
    [
        ({}, Health.WARNING, "DEFAULT_MODEL is not set"),
        ({"DEFAULT_MODEL": "nope"}, Health.WRONG, "DEFAULT_MODEL nope"),
    ],
)
async def test_a_default_model_that_is_not_listed_is_wrong_if_somebody_chose_it(
    chosen: dict[str, str], health: Health, words: str, autojump_clock: MockClock
) -> None:
    finding = about(await findings_of(REMOTE | chosen, Upstream(models=lists("a", "b"))), "default model")
    assert finding.health is health
    assert finding.text.startswith(words)
    assert "such as a" in finding.mend


async def test_a_provider_that_lacks_something_is_named_and_the_others_are_looked_at(autojump_clock: MockClock) -> None:
    findings = await findings_of({"OPENAI_API_KEY": CANARY, "AZURE_OPENAI_API_KEY": CANARY + "a"})
    assert about(findings, "default model").health is Health.OK
    assert "AZURE_OPENAI_ENDPOINT is not set" in about(findings, "provider azure").text
    assert about(findings, "models of openai").health is Health.OK


async def test_where_every_provider_lacks_something_nothing_can_be_asked(autojump_clock: MockClock) -> None:
    findings = await findings_of({"AZURE_OPENAI_API_KEY": CANARY})
    assert findings[-1].health is Health.WRONG
    assert "OPENAI_API_KEY" in findings[-1].mend


async def test_a_kind_with_a_protocol_of_its_own_is_named_with_its_address_and_key(autojump_clock: MockClock) -> None:
    findings = await findings_of({"ANTHROPIC_API_KEY": CANARY}, Upstream(models=lists("claude-opus-5-5")))
    texts = [finding.text for finding in findings if finding.about == "provider anthropic"]
    assert texts == [
        "Anthropic's Messages API, asked at https://api.anthropic.com/v1",
        "its key comes from ANTHROPIC_API_KEY",
    ]
    assert about(findings, "models of anthropic").text == "2 listed in 0 ms"  # under both its names


async def test_azure_lists_its_rows_and_says_how_to_name_more(autojump_clock: MockClock) -> None:
    environ = {"AZURE_OPENAI_API_KEY": CANARY, "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    named = await findings_of(environ | {"AZURE_OPENAI_DEPLOYMENT": "mine"})
    # Not "1 listed": nothing was asked, and a wrong key would look well.
    said = "1 named by the configuration; Azure lists none, so that the first call tries the key"
    assert about(named, "models of azure") == Finding(health=Health.OK, about="models of azure", text=said)
    finding = about(await findings_of(environ), "models of azure")
    assert finding.health is Health.WARNING
    assert "AZURE_OPENAI_DEPLOYMENT" in finding.mend


async def test_a_provider_without_a_model_is_a_warning(autojump_clock: MockClock) -> None:
    settings = settings_of(REMOTE).gateway
    spare = attrs.evolve(settings.table.providers["gateway"], name="spare")
    table = attrs.evolve(settings.table, providers={**settings.table.providers, "spare": spare})
    found: list[Finding] = []
    opener = functools.partial(open_gateway, transport=Upstream(models=lists("gpt-3.5-turbo")))
    await examine(attrs.evolve(settings, table=table), found.append, probe=ScriptedProbe(), opener=opener)
    assert about(found, "models of spare").health is Health.WARNING
    assert about(found, "default model").health is Health.OK


async def test_a_list_that_fails_the_second_time_is_still_a_finding(autojump_clock: MockClock) -> None:
    findings = await findings_of(REMOTE, Upstream(models=[lists("a"), refuses(403, "no")]))
    assert about(findings, "default model").health is Health.WRONG


async def test_the_network_probe_sees_a_listener_and_its_absence() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        probe = NetworkProbe()
        assert await probe.resolve("127.0.0.1", port) == 1
        assert await probe.connect("127.0.0.1", port, None) == ""
        with pytest.raises(OSError):
            await probe.connect("127.0.0.1", port, ssl.create_default_context())
        nursery.cancel_scope.cancel()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(OSError, match="refused"):
            await probe.connect("127.0.0.1", unused.getsockname()[1], None)


async def test_the_network_probe_gives_the_reason_of_ssl_for_what_is_no_tls() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(ssl.SSLError):
            await NetworkProbe().connect("127.0.0.1", port, ssl.create_default_context())
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("model", "more", "warned"),
    [
        ("o3", {}, True),
        ("o4-mini", {}, True),
        ("openai/gpt-5-mini", {}, True),
        ("deepseek-r1:8b", {}, True),
        ("qwen3-thinking", {}, True),
        ("o3", {"first_byte": 300.0}, False),
        ("gpt-4o", {}, False),
        ("o365-helper", {}, False),
        ("gpt-50", {}, False),
    ],
)
async def test_a_model_that_thinks_long_is_to_be_given_its_time(
    autojump_clock: MockClock, model: str, more: dict[str, float], warned: bool
) -> None:
    row = ModelRow(name="m", provider="echo", model=model, **more)  # type: ignore[arg-type]  # one field of it
    table = RouteTable(providers={"echo": Provider(name="echo", kind="echo")}, rows=(row,))
    found: list[Finding] = []
    await examine(GatewaySettings(table=table), found.append, probe=ScriptedProbe())

    assert any(finding.about == "model m" and "30 s" in finding.text for finding in found) is warned
