"""Which transport a provider has: what the file may say, and with what it does not go together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from openai_gateway.routing.plan import SYSTEM_STORE, Provider
from tests.gateway_config.test_file import fault, load

HEAD = '[providers.one]\nkind = "openai"\nbase_url = "https://one.example"\n'


def made(directory: Path, text: str, authorities: str = "") -> Provider:
    return load(directory, HEAD + text, SSL_CERT_FILE=authorities).table.providers["one"]


@pytest.mark.parametrize(
    ("text", "transport", "http2"),
    [
        ("", None, False),
        ('transport = "native"', "native", False),
        ('transport = "httpx"', "httpx", False),
        ("http2 = true", None, True),
        ('transport = "httpx"\nhttp2 = true\nproxy = "http://proxy.example:1"', "httpx", True),
    ],
)
def test_the_transport_may_be_chosen(tmp_path: Path, text: str, transport: str | None, http2: bool) -> None:
    provider = made(tmp_path, text)
    assert (provider.transport, provider.http2) == (transport, http2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('transport = "own"', "line 4: transport 'own' in [providers.one] is unknown; allowed is native or httpx"),
        ('transport = "native"\nhttp2 = true', "line 4: transport 'native' in [providers.one] speaks no HTTP/2"),
        ('transport = "native"\nproxy = "http://p.example:1"', "goes through no proxy, and there is one"),
        ('http2 = "yes"', "line 4"),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, text: str, words: str) -> None:
    assert words in fault(tmp_path, HEAD + text)


def test_a_proxy_of_the_environment_counts_as_one(tmp_path: Path) -> None:
    message = fault(tmp_path, HEAD + 'transport = "native"', HTTPS_PROXY="http://proxy.example:1")
    assert "goes through no proxy" in message


def test_http2_without_its_extra_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)  # as if it were not installed

    message = fault(tmp_path, HEAD + "http2 = true")
    assert "line 4: http2 in [providers.one] needs the extra `http2`: pip install 'openai-gateway" in message


def test_the_system_store_goes_by_its_name(tmp_path: Path) -> None:
    assert made(tmp_path, 'ca_bundle = "system"', "/etc/other.pem").ca_bundle == SYSTEM_STORE
