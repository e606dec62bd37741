"""`doctor --health`: what a container's health check is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from openai_gateway.config.service import SERVE_KEYS
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway_mcp.health import _SERVERS, Address, address_of, is_well, of_process
from openai_gateway_mcp.http_config import HTTP_SETTINGS
from tests.cli.test_http import EVERYWHERE, serving

MCP = ["/opt/bin/python", "/opt/bin/openai-gateway-mcp"]
GATEWAY = ["/opt/bin/python", "/opt/bin/openai-gateway", "serve"]


def at(
    host: str = "127.0.0.1", port: int = 3000, *, is_secure: bool = False, asks_certificate: bool = False
) -> Address:
    return Address(host=host, port=port, is_secure=is_secure, asks_certificate=asks_certificate)


@pytest.mark.parametrize(
    ("args", "environ", "address"),
    [
        (MCP, {}, None),
        ([*MCP, "--embedded"], {}, None),
        (["/bin/sh", "-c", "sleep 9"], {}, None),
        ([""], {}, None),
        ([*MCP, "http"], {}, at()),
        (["/sbin/docker-init", "--", *MCP, "http"], {}, at()),
        ([*MCP, "http", "--port", "8080", "--host", EVERYWHERE], {}, at(port=8080)),
        ([*MCP, "http", "--port=8080", "--host=::"], {"MCP_PORT": "1"}, at(port=8080)),
        ([*MCP, "http"], {"MCP_PORT": "81", "MCP_HOST": "10.0.0.7"}, at("10.0.0.7", 81)),
        ([*MCP, "http", "--port"], {}, at()),
        ([*MCP, "http", "--tls-cert", "c", "--tls-client-ca", "a"], {}, at(is_secure=True, asks_certificate=True)),
        ([*MCP, "http"], {"MCP_TLS_CERT": "c"}, at(is_secure=True)),
        (GATEWAY, {}, at(port=4000)),
        ([*GATEWAY, "--port", "4001", "--tls-certificate", "c"], {}, at(port=4001, is_secure=True)),
        ([*GATEWAY, "--config", "/nowhere.toml"], {}, at(port=4000)),
    ],
)
def test_where_a_command_line_says_that_it_serves(
    args: list[str], environ: dict[str, str], address: Address | None
) -> None:
    assert address_of(args, environ) == address


def test_the_gateways_file_says_it_too(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[serve]\nport = 4321\nclient_ca = "a.pem"\ntls_certificate = "c.pem"\n')
    assert address_of([*GATEWAY, "--config", str(path)], {}) == at(port=4321, is_secure=True, asks_certificate=True)
    assert address_of([*GATEWAY, "--config", str(path), "--port", "5"], {}) == at(
        port=5, is_secure=True, asks_certificate=True
    )


def test_a_process_is_read_and_one_that_cannot_be_seen_is_taken_for_well(tmp_path: Path) -> None:
    assert of_process(tmp_path / "nobody") is None
    (tmp_path / "cmdline").write_bytes(b"\0".join(part.encode() for part in [*MCP, "http", ""]))
    (tmp_path / "environ").write_bytes(b"HOME=/\0MCP_PORT=99\0\0")
    assert of_process(tmp_path) == at(port=99)


def test_who_serves_is_well_and_who_does_not_is_not() -> None:
    with serving() as server:
        port = int(server.url.rsplit(":", 1)[1].partition("/")[0])
        assert trio.run(is_well, at(port=port))
        assert trio.run(is_well, at(port=port, asks_certificate=True))
        assert not trio.run(is_well, at(port=port, is_secure=True))
    assert not trio.run(is_well, at(port=port))
    assert not trio.run(is_well, at(port=port, asks_certificate=True))


def test_it_looks_where_the_servers_are_told() -> None:
    rows = {row.flag: row for row in HTTP_SETTINGS}
    mcp, gateway = _SERVERS["openai-gateway-mcp"], _SERVERS["openai-gateway"]
    said = {
        "--host": mcp.host_variable,
        "--port": mcp.port_variable,
        mcp.certificate_flag: mcp.certificate_variable,
        mcp.authorities[0]: mcp.authorities[1],
    }
    assert said == {flag: rows[flag].variable for flag in said}
    assert rows["--port"].default == str(mcp.port)
    keys = {flag.removeprefix("--").replace("-", "_") for flag in (gateway.certificate_flag, gateway.authorities[0])}
    assert keys | {"host", "port"} <= set(SERVE_KEYS)
    assert ServiceSettings().port == gateway.port
