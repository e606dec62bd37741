"""MCP client → openai-gateway-mcp → openai-gateway → provider, over TLS: and what the client is told when it is no."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import trustme

from tests.gateway_service.process import command, configuration, environment, made_key, served
from tests.peers.fake_upstream import running


class Client:
    """An MCP client in lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._id = 0

    def ask(self, method: str, **params: Any) -> Any:
        self._id += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        while True:
            said = json.loads(self._process.stdout.readline())
            if said.get("id") == self._id:
                return said["result"]

    def chat(self, prompt: str = "Hello!", **more: Any) -> tuple[bool, str]:
        """Whether it is an error, and the text."""
        result = self.ask("tools/call", name="chat", arguments={"prompt": prompt, "model": "echo", **more})
        return bool(result.get("isError")), result["content"][0]["text"]


def test_one_conversation_meets_a_limit_a_budget_and_a_revoked_key(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem, ca, key_file = tmp_path / "server.pem", tmp_path / "ca.pem", tmp_path / "key"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(ca))
    data = tmp_path / "data"
    key_file.write_text(made_key(data, "--name", "laptop", "--rpm", "4", "--budget", "1.5"))
    key_file.chmod(0o600)
    with running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        with served(data, "--config", str(config), "--tls-certificate", str(pem), "--tls-key", str(pem)) as service:
            process = subprocess.Popen(
                [sys.executable, "-m", "openai_gateway_mcp"],
                env=environment(GATEWAY_URL=service.url, GATEWAY_API_KEY_FILE=str(key_file), SSL_CERT_FILE=str(ca)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                converse(Client(process), data)
            finally:
                process.kill()
                process.communicate()


def converse(client: Client, data: Path) -> None:
    client.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"})
    assert client.chat() == (False, "Hello!")
    is_error, said = client.chat("a" * 5000, max_tokens=1)
    assert is_error
    assert "The budget of $1.50 a month of the key laptop can never pay for this call" in said
    for _ in range(3):
        assert client.chat()[0] is False
    is_error, said = client.chat()
    assert is_error
    assert "The limit of 4 requests a minute (rpm) of the key laptop is reached; it frees up in" in said
    assert command("keys", "revoke", "laptop", data=data).returncode == 0
    for _ in range(10_000):  # a second at most, for as long a key is known without being looked up
        is_error, said = client.chat()
        if "revoked" in said:
            break
    assert is_error
    assert "was revoked" in said
    assert "Ask whoever runs the gateway for a new one" in said
    usage = json.loads(command("usage", "--by", "model", "--json", data=data).stdout)
    assert [(one["name"], one["calls"] - one["failed"]) for one in usage] == [("echo", 4)]
