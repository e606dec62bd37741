"""docs/clients.md shows of each client what `install` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from openai_gateway_mcp.clients.document import Format, with_entries
from openai_gateway_mcp.clients.table import CLIENTS, KeyWay, Launch, Places

ROOT = Path(__file__).parents[2]
HOME = Path("/home/you")
KEY_FILE = "/home/you/.config/openai-gateway/client-keys/openai-gateway/gateway_api_key"
FENCES = {Format.JSON: "json", Format.TOML: "toml", Format.YAML: "yaml"}


def shown(client: str) -> str:
    """Its file and the whole of what is written into an empty one."""
    row = CLIENTS[client]
    env = {"GATEWAY_URL": "https://gateway.example"}
    if row.key_way is KeyWay.FILE:
        env["GATEWAY_API_KEY_FILE"] = KEY_FILE
    launch = Launch(
        name="openai-gateway", command="/home/you/.local/bin/openai-gateway-mcp", env=env, key="GATEWAY_API_KEY"
    )
    text = with_entries(b"", row.format, row.entries(launch, row.key_way)).decode()
    files = [
        f"{title}: `{str(row.file(Places(home=HOME, environ={}, platform=platform), None)).replace(str(HOME), '~')}`"
        for title, platform in (("Linux", "linux"), ("macOS", "darwin"), ("Windows", "win32"))
    ]
    where = files[0].removeprefix("Linux: ") if len({file.split(": ")[1] for file in files}) == 1 else "; ".join(files)
    return f"{where}\n\n```{FENCES[row.format]}\n{text}```"


@pytest.mark.parametrize("client", CLIENTS)
def test_the_page_shows_what_is_written(client: str) -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {CLIENTS[client].title}\n")[2].partition("\n## ")[0]
    assert f"`openai-gateway-mcp install {client}`" in section
    assert shown(client) in section, f"docs/clients.md should show:\n{shown(client)}"
    assert CLIENTS[client].after in section
