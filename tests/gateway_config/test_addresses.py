"""Base URLs and proxies as people write them."""

from __future__ import annotations

import pytest

from openai_gateway.config.addresses import (
    anthropic_url,
    azure_url,
    base_url,
    checked_proxy,
    is_loopback,
    proxy_of,
    shown,
)
from openai_gateway.errors import ConfigError


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://api.openai.com/", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions/", "https://api.openai.com/v1"),
        ("https://gateway.example/llm", "https://gateway.example/llm/v1"),
        ("https://api.example/chat/completions", "https://api.example"),
        ("https://g.example/v1beta/openai", "https://g.example/v1beta/openai"),
        ("https://g.example/api/paas/v4", "https://g.example/api/paas/v4"),
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
    ],
)
def test_a_base_url_is_made_one(raw: str, normal: str) -> None:
    assert base_url(raw, "X") == normal
    assert base_url(normal + "/chat/completions", "X") == normal


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1/messages/", "https://api.anthropic.com/v1"),
        ("https://claude.example/anthropic", "https://claude.example/anthropic/v1"),
        ("https://claude.example/messages", "https://claude.example"),
    ],
)
def test_an_address_of_the_messages_api_is_made_one(raw: str, normal: str) -> None:
    assert anthropic_url(raw, "X") == normal


@pytest.mark.parametrize(
    ("raw", "dated", "newer"),
    [
        ("https://x.openai.azure.com/", "https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1"),
        ("https://x.example/openai", "https://x.example", "https://x.example/openai/v1"),
        ("https://x.example/openai/v1/", "https://x.example/openai/v1", "https://x.example/openai/v1"),
        (
            "https://x.example/openai/v1/chat/completions",
            "https://x.example/openai/v1",
            "https://x.example/openai/v1",
        ),
        (
            "https://x.example/a/openai/deployments/my%20d/chat/completions",
            "https://x.example/a",
            "https://x.example/a/openai/v1",
        ),
    ],
)
def test_an_address_of_azure_is_that_of_the_surface_which_is_asked(raw: str, dated: str, newer: str) -> None:
    assert azure_url(raw, "X", api_version="2024-10-21") == dated
    assert azure_url(raw, "X", api_version=None) == newer


def test_azure_and_anthropic_go_in_the_open_only_if_that_is_allowed() -> None:
    with pytest.raises(ConfigError, match="plain http"):
        azure_url("http://x.example", "X", api_version=None)
    with pytest.raises(ConfigError, match="plain http"):
        anthropic_url("http://x.example", "X")
    assert anthropic_url("http://x.example", "X", allow_insecure=True) == "http://x.example/v1"


@pytest.mark.parametrize(
    "raw",
    [
        "api.openai.com",
        "ftp://a.example",
        "https://",
        "https:///v1",
        "https://a.example:port",
        "https://a.example:0",
        "https://a..example",
        f"https://{'a' * 64}.example",
        "https://[::1",
        "https://a b.example",
        "https://a.example/\n",
        "https://a.example?x=1",
        "https://a.example#x",
    ],
)
def test_what_is_no_base_url_is_told(raw: str) -> None:
    with pytest.raises(ConfigError, match=r"^X is "):
        base_url(raw, "X")


def test_a_password_in_a_base_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        base_url("https://user:hunter2@a.example", "X")

    assert "hunter2" not in str(caught.value)


def test_a_key_in_the_query_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        base_url("https://a.example/v1?key=hunter2", "X")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["far.example", "10.0.0.7", "localhost.example", "127.0.0.1.example", "8.8.8.8"])
def test_plain_http_stays_on_this_machine_unless_allowed(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_insecure"):
        base_url(f"http://{host}", "X")

    assert base_url(f"http://{host}", "X", allow_insecure=True) == f"http://{host}/v1"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])  # noqa: S104 - nothing is bound to them
def test_where_a_server_listens_is_not_where_it_is_asked(host: str) -> None:
    with pytest.raises(ConfigError, match=r"On this machine it is asked at 127\.0\.0\.1"):
        base_url(f"http://{host}:4000", "X")
    assert base_url(f"http://{host}:4000", "X", allow_insecure=True) == f"http://{host}:4000/v1"


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_known_by_its_literal_names(host: str) -> None:
    assert is_loopback(host)


def test_what_is_shown_of_a_url_holds_no_password() -> None:
    assert shown("http://me:secret@proxy.example:1?x=secret") == "http://…@proxy.example:1?…"


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({"HTTPS_PROXY": PROXY}, "https://a.example", PROXY),
        ({"https_proxy": PROXY}, "https://a.example", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://a.example", None),
        ({"HTTP_PROXY": PROXY}, "http://a.example", PROXY),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://a.example", None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http://a.example", PROXY),
        ({"ALL_PROXY": PROXY}, "https://a.example", PROXY),
        ({"ALL_PROXY": PROXY}, "https://localhost", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "*"}, "https://a.example", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "b.example, a.example"}, "https://a.example", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": ".example"}, "https://a.example", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "*.example"}, "https://a.example", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "ample"}, "https://a.example", PROXY),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example:8443"}, "https://a.example:8443", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example:8443"}, "https://a.example", PROXY),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8,,"}, "https://a.example", PROXY),
        ({}, "https://a.example", None),
    ],
)
def test_the_environments_proxy_for_a_url(environ: dict[str, str], url: str, proxy: str | None) -> None:
    assert proxy_of(environ, url) == proxy


def test_a_proxy_may_lack_its_scheme() -> None:
    assert checked_proxy("proxy.example:3128", "X") == PROXY


@pytest.mark.parametrize("raw", ["socks5://proxy.example", "http://", "http://a:port", "http://[::1", "http://a..b"])
def test_what_is_no_proxy_is_told(raw: str) -> None:
    with pytest.raises(ConfigError, match=r"^X is "):
        checked_proxy(raw, "X")
