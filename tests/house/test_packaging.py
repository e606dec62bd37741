"""The files of packages and images say what the project says: its version, its name, its settings."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from openai_gateway import __version__
from openai_gateway_mcp.config import SETTINGS
from openai_gateway_mcp.features.tools import MODEL_VARIABLES, TOOLS
from openai_gateway_mcp.http_config import HTTP_SETTINGS

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "docs" / "packaging"
NAME = "io.github.openai-gateway-mcp/openai-gateway-mcp"
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
IMAGE = f"openai-gateway-mcp:{__version__}"


def parsed(name: str) -> Any:
    text = (PACKAGING / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def test_all_versions_are_the_one() -> None:
    server, bundle = parsed("server.json"), parsed("mcpb/manifest.json")
    project = tomllib.loads((PACKAGING / "mcpb" / "pyproject.toml").read_text())["project"]
    label = re.search(r'image\.version="([^"]+)"', CONTAINERFILE)
    assert label is not None
    found = [
        server["version"],
        *(one["version"] for one in server["packages"]),
        bundle["version"],
        project["version"],
        label[1],
    ]
    assert set(found) == {__version__}
    assert project["dependencies"] == [f"openai-gateway-mcp=={__version__}"]
    assert parsed("catalog.yaml")["registry"]["openai-gateway"]["image"] == IMAGE
    assert parsed("compose.yaml")["services"]["openai-gateway-mcp"]["image"] == IMAGE
    assert IMAGE in (PACKAGING / "README.md").read_text(encoding="utf-8")


def test_the_registry_finds_its_name_where_it_looks_for_it() -> None:
    server = parsed("server.json")
    assert server["name"] == NAME
    assert len(server["description"]) <= 100
    assert f"mcp-name: {NAME}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'io.modelcontextprotocol.server.name="{NAME}"' in CONTAINERFILE


def test_every_variable_is_one_that_is_read_and_every_tool_one_that_is_offered() -> None:
    known = {row.variable for row in (*SETTINGS, *HTTP_SETTINGS) if row.variable} | {"MCP_TOKEN"}
    known |= {f"{name}_FILE" for name in ("GATEWAY_API_KEY", "MCP_TOKEN")}
    (package,) = parsed("server.json")["packages"]
    bundle = parsed("mcpb/manifest.json")
    entry = parsed("catalog.yaml")["registry"]["openai-gateway"]
    said = {one["name"] for one in package["environmentVariables"]} | set(bundle["server"]["mcp_config"]["env"])
    said |= {one["name"] for one in entry["env"]} | {one["env"] for one in entry["secrets"]}
    said |= set(parsed("compose.yaml")["services"]["openai-gateway-mcp"]["environment"])
    assert said <= known
    offered = [name for name, variable in MODEL_VARIABLES.items() if variable is None]
    assert [tool["name"] for tool in bundle["tools"]] == [tool["name"] for tool in entry["tools"]] == offered
    assert all(TOOLS[name] for name in offered)


def test_the_secrets_are_marked_as_such() -> None:
    (package,) = parsed("server.json")["packages"]
    assert [one["name"] for one in package["environmentVariables"] if one.get("isSecret")] == ["GATEWAY_API_KEY"]
    options = parsed("mcpb/manifest.json")["user_config"]
    assert [name for name, one in options.items() if one.get("sensitive")] == ["gateway_api_key"]


def test_the_image_is_nobodys_root_and_starts_the_server() -> None:
    assert re.search(r"^USER 1001:1001$", CONTAINERFILE, re.MULTILINE)
    assert CONTAINERFILE.rstrip().endswith('ENTRYPOINT ["openai-gateway-mcp"]')
    assert 'CMD ["openai-gateway-mcp", "doctor", "--health"]' in CONTAINERFILE
    service = parsed("compose.yaml")["services"]["openai-gateway-mcp"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
