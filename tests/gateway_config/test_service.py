"""The settings of a service: flags, the environment, the file, the default, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openai_gateway import config
from openai_gateway.errors import ConfigError
from openai_gateway.routing.service_settings import ServiceSettings, Tls

HOME = {"HOME": "/home/me"}


def of(tmp_path: Path, serve: str, environ: dict[str, str] | None = None, **flags: Any) -> ServiceSettings:
    path = tmp_path / "gateway.toml"
    path.write_text(f"[serve]\n{serve}\n")
    path.chmod(0o600)
    return config.load_service({**HOME, **(environ or {})}, config_path=str(path), flags=flags)


def test_with_nothing_said_it_listens_on_this_machine_and_keeps_its_data_at_home() -> None:
    found = config.load_service(HOME)
    assert found == ServiceSettings(data="/home/me/.local/state/openai-gateway")
    assert (found.host, found.port, found.no_auth) == ("127.0.0.1", 4000, False)
    assert config.load_service({**HOME, "XDG_STATE_HOME": "/state"}).data == "/state/openai-gateway"
    assert config.load_service({**HOME, "XDG_STATE_HOME": "relative"}).data == found.data
    with pytest.raises(ConfigError, match="--data"):
        config.load_service({})


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    environ = {"GATEWAY_DATA": "/from/environment"}
    assert of(tmp_path, 'data = "/from/file"').data == "/from/file"
    assert of(tmp_path, 'data = "/from/file"', environ).data == "/from/environment"
    assert of(tmp_path, 'data = "/from/file"', environ, data="/from/flag").data == "/from/flag"
    assert of(tmp_path, "port = 1", port=None).port == 1
    assert of(tmp_path, "port = 1", port=2).port == 2


def test_each_key_of_the_file_is_read(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        """
host = "0.0.0.0"
port = 0
tls_certificate = "c.pem"
tls_key = "k.pem"
client_ca = "ca.pem"
repair = true
origins = ["https://chat.example"]
hosts = ["ai.example"]
grace = 2.5
max_connections = 5
max_body_bytes = 1024
retention_days = 1
retention_rows = 1000
store = "rediss://cache.example:6380/1?ssl_ca_certs=/ca.pem"
on_store_failure = "allow"
""",
    )
    assert found == ServiceSettings(
        host="0.0.0.0", port=0, data=found.data, tls=Tls(certificate="c.pem", key="k.pem", client_ca="ca.pem"),  # noqa: S104 - nothing is bound
        repair=True, origins=("https://chat.example",), hosts=("ai.example",), grace=2.5, max_connections=5,
        max_body_bytes=1024, retention_days=1, retention_rows=1000,
        store="rediss://cache.example:6380/1?ssl_ca_certs=/ca.pem", on_store_failure="allow",
    )  # fmt: skip


@pytest.mark.parametrize(("serve", "words"), [
    ("prot = 1", "Did you mean 'port'"), ("port = 70000", "0 to 65535"), ('repair = "yes"', "true or false"),
    ('hosts = "x"', "a list of texts"), ('tls_key = "k"', "TLS needs both"), ("grace = -1", "at least 0"),
    ('client_ca = "x"', "TLS needs both"), ('on_store_failure = "maybe"', '"refuse" or "allow"'),
    ('store = "gateway.db"', "the address of a Redis"), ('store = "redis://"', "the address of a Redis"),
    ('store = "redis://me:pw@h"', "GATEWAY_STORE_PASSWORD"), ('store = "redis://h?password=x"', "'password'"),
])  # fmt: skip
def test_what_is_wrong_in_it_is_said(tmp_path: Path, serve: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        of(tmp_path, serve)


def test_the_address_of_the_store_is_said_by_a_flag_the_environment_or_the_file(tmp_path: Path) -> None:
    environ = {"GATEWAY_STORE": "redis://b", "GATEWAY_STORE_PASSWORD": "password-of-the-store"}
    assert of(tmp_path, 'store = "redis://c"').store == "redis://c"
    found = of(tmp_path, 'store = "redis://c"', environ)
    assert found.store == "redis://b"
    assert found.store_password is not None
    assert "password-of-the-store" not in repr(found)
    assert of(tmp_path, "", environ, store="unix:///a").store == "unix:///a"
    with pytest.raises(ConfigError) as caught:
        of(tmp_path, "", store="redis://:canary-password@h")
    assert "canary-password" not in str(caught.value)


def test_the_token_of_the_metrics_comes_from_the_environment_or_a_file() -> None:
    found = config.load_service({**HOME, "GATEWAY_METRICS_TOKEN": "token-of-the-metrics"})
    assert found.metrics_token is not None
    assert found.metrics_token.reveal() == "token-of-the-metrics"
    assert "token-of-the-metrics" not in repr(found)
